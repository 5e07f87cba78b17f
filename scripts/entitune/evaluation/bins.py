"""Ranges of numbers (buckets) for tables. The last bucket of each list has no upper end."""

from __future__ import annotations

from typing import TypeAlias

Buckets: TypeAlias = tuple[tuple[int, int | None], ...]

ENTITY_LENGTHS: Buckets = ((1, 1), (2, 2), (3, 3), (4, 4), (5, 6), (7, 9), (10, None))
SENTENCE_LENGTHS: Buckets = ((0, 10), (11, 20), (21, 30), (31, 40), (41, 50), (51, 100), (101, None))
ENTITY_NUMBERS: Buckets = ((0, 0), (1, 1), (2, 2), (3, 3), (4, 4), (5, None))


def bucket(value: int, buckets: Buckets) -> str:
    """Return the name of the bucket that holds a value: `3`, `5-6` or `10+`."""
    return _name(*next(bounds for bounds in reversed(buckets) if value >= bounds[0]))


def names(buckets: Buckets) -> list[str]:
    """Return the names of the buckets, in order."""
    return [_name(*bounds) for bounds in buckets]


def _name(low: int, high: int | None) -> str:
    return f"{low}+" if high is None else str(low) if low == high else f"{low}-{high}"
