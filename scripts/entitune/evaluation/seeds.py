"""A figure over the seeds of a run."""

from __future__ import annotations

import statistics
from collections.abc import Sequence


def mean_and_deviation(values: Sequence[float]) -> tuple[float, float | None]:
    """The mean and the sample standard deviation; the deviation of a single seed is None."""
    return statistics.fmean(values), statistics.stdev(values) if len(values) > 1 else None
