"""The scores of a training's checkpoints on held-out rows, by which the run's adapter is chosen."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import TypeAdapter, ValidationError

from entitune.cli import InputError
from entitune.tsv import COUNTS, MEASURES, read_tsv

SCORING = "spans"
"""The scoring whose micro F1 decides."""
COLUMNS = ("step", "sentences", *MEASURES, "f1_low", "f1_high", *COUNTS, "chosen")


@dataclass(frozen=True, slots=True)
class CheckpointScore:
    """A row of checkpoints.tsv; docs/contracts.md explains the columns."""

    step: int
    sentences: int
    precision: float
    recall: float
    f1: float
    f1_low: float
    f1_high: float
    support: int
    predicted: int
    correct: int
    chosen: Literal["yes", "no"]


def read_checkpoint_scores(path: str | Path) -> list[CheckpointScore]:
    """Read checkpoints.tsv. Raises InputError if it is not such a table, or if not exactly one checkpoint is chosen."""
    try:
        scores = TypeAdapter(list[CheckpointScore]).validate_python(read_tsv(path, COLUMNS))
    except ValidationError as error:
        problem = error.errors(include_url=False)[0]
        row, column = problem["loc"][:2]
        raise InputError(f"{path}:{int(row) + 2}: {column}: {problem['msg']}") from None
    if [score.chosen for score in scores].count("yes") != 1:
        raise InputError(f"{path}: expected exactly one row with `yes` in the column chosen")
    return scores
