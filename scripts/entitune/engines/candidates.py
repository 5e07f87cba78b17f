"""Candidates: the checkpoints of a training that the adapter is chosen from, each in a folder named after its step."""

from __future__ import annotations

from pathlib import Path

from entitune.cli import InputError
from entitune.manifests import ModelManifest, verify

PREFIX = "checkpoint-"


def steps_in(folder: Path) -> dict[int, Path]:
    """Step -> folder of each checkpoint in `folder`, by step."""
    found = {int(path.name.removeprefix(PREFIX)): path for path in folder.glob(f"{PREFIX}*")}
    return dict(sorted(found.items()))


def candidates_in(folder: Path) -> dict[int, Path]:
    """The same of a folder whose manifest lists finished candidates.

    Raises InputError where it lists none, or where their files are not those that it lists; sizes alone are compared.
    """
    listed = {file.path.partition("/")[0] for file in ModelManifest.read(folder).files}
    found = {step: path for step, path in steps_in(folder).items() if path.name in listed}
    if not found:
        raise InputError(f"{folder}: its manifest lists no {PREFIX}STEP")
    verify(folder, deep=False)
    return found
