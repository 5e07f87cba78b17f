"""Candidates: the checkpoints that the adapter is chosen from, each in a folder named after its step."""

from __future__ import annotations

from pathlib import Path

from entitune.cli import InputError
from entitune.manifests import ModelManifest, verify

PREFIX = "checkpoint-"
TRAINING_FILES = ("trainer_log.jsonl", "training_loss.png")
"""The files of a training that its candidates share."""


def steps_in(folder: Path) -> dict[int, Path]:
    """Return step -> folder for the checkpoints in `folder`, sorted by step."""
    found = {int(path.name.removeprefix(PREFIX)): path for path in folder.glob(f"{PREFIX}*")}
    return dict(sorted(found.items()))


def candidates_in(folder: Path) -> dict[int, Path]:
    """Return step -> folder for the finished candidates that the manifest of `folder` lists, sorted by step.

    Raises InputError if the manifest lists none, or if the files differ from the listed ones (only sizes are compared).
    """
    listed = {file.path.partition("/")[0] for file in ModelManifest.read(folder).files}
    found = {step: path for step, path in steps_in(folder).items() if path.name in listed}
    if not found:
        raise InputError(f"{folder}: its manifest lists no {PREFIX}STEP")
    verify(folder, deep=False)
    return found
