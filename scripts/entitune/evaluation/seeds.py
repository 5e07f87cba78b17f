"""Read scores, and average them over the seeds of a run."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from entitune.cli import InputError
from entitune.tsv import METRICS_COLUMNS, read_tsv


@dataclass(frozen=True, slots=True)
class Score:
    """A row of results/metrics.tsv; docs/contracts.md explains the columns."""

    run: str
    seed: int
    dataset: str
    split: str
    scoring: str
    label: str
    precision: float
    recall: float
    f1: float
    support: int
    predicted: int
    correct: int
    precision_low: float
    precision_high: float
    recall_low: float
    recall_high: float
    f1_low: float
    f1_high: float


@dataclass(frozen=True, slots=True)
class SeedMean:
    """The mean and the sample standard deviation (None for one seed) of the scores of all seeds of a run."""

    run: str
    dataset: str
    split: str
    scoring: str
    label: str
    seeds: int
    precision: float
    precision_sd: float | None
    recall: float
    recall_sd: float | None
    f1: float
    f1_sd: float | None
    f1_low: float
    """The lowest of the seeds' lower bounds."""
    f1_high: float
    """The highest of the seeds' upper bounds."""
    support: int


def read_scores(path: str | Path) -> list[Score]:
    """Read a table of scores. Raises InputError if it is not such a table."""
    rows = read_tsv(path, METRICS_COLUMNS)
    try:
        return TypeAdapter(list[Score]).validate_python(rows)
    except ValidationError as error:
        problem = error.errors(include_url=False)[0]
        row, column = problem["loc"][:2]
        raise InputError(f"{path}:{int(row) + 2}: {column}: {problem['msg']}") from None


def over_seeds(scores: Iterable[Score]) -> list[SeedMean]:
    """Return a mean for each run, dataset, split, scoring and label, in the order of first appearance.

    If only some seeds have a row for a label (OTHER), the mean is over those seeds.
    """
    groups: dict[tuple[str, ...], list[Score]] = {}
    for score in scores:
        key = (score.run, score.dataset, score.split, score.scoring, score.label)
        groups.setdefault(key, []).append(score)
    return [_mean(group) for group in groups.values()]


def _mean(group: Sequence[Score]) -> SeedMean:
    first = group[0]
    return SeedMean(
        *(first.run, first.dataset, first.split, first.scoring, first.label, len(group)),
        *mean_and_deviation([score.precision for score in group]),
        *mean_and_deviation([score.recall for score in group]),
        *mean_and_deviation([score.f1 for score in group]),
        min(score.f1_low for score in group),
        max(score.f1_high for score in group),
        max(score.support for score in group),
    )


def show_mean(mean: float, deviation: float | None, digits: int = 4) -> str:
    """Return a mean for readers, with its deviation over the seeds if there is one."""
    return f"{mean:.{digits}f}" if deviation is None else f"{mean:.{digits}f} ± {deviation:.{digits}f}"


def mean_and_deviation(values: Sequence[float]) -> tuple[float, float | None]:
    """Return the mean and the sample standard deviation, which is None for a single value."""
    return statistics.fmean(values), statistics.stdev(values) if len(values) > 1 else None
