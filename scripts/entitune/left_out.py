"""What of a corpus a run's figures leave out: rows that were dropped, mentions that no row holds.

Each step that leaves something out writes a summary, `{split}.summary.json`, with the keys `rows` and `dropped`, or
`mentions` and `mentions_lost`, and the reasons as `kinds`. The score table, the manifest and the report show them.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from entitune.files import read_json

_COUNTED = {"rows": "dropped", "mentions": "mentions_lost"}


@dataclass(frozen=True)
class LeftOut:
    """What one step leaves out of a split."""

    split: str
    what: str
    """rows or mentions"""
    count: int
    of: int
    kinds: dict[str, int]
    """Reason -> how often."""

    def to_dict(self) -> dict[str, Any]:
        """Return the record as JSON holds it."""
        return asdict(self)

    def __str__(self) -> str:
        reasons = ", ".join(f"{reason} ({count})" for reason, count in self.kinds.items())
        return f"{self.split}: {self.count} of {self.of} {self.what} left out: {reasons}"


def read_left_out(summaries: Iterable[Path]) -> list[LeftOut]:
    """What the steps that wrote these summaries leave out; empty where all of the corpus is used."""
    found = []
    for path in summaries:
        summary = read_json(path)
        for what, counted in _COUNTED.items():
            if count := summary.get(counted):
                found.append(LeftOut(path.name.split(".")[0], what, count, summary[what], summary["kinds"]))
    return found
