"""The parts of a corpus that a run leaves out: rows that were dropped, and mentions that no row holds.

Each step that leaves something out writes a summary, `{split}.summary.json`. Its keys are `rows` and `dropped`, or
`mentions` and `mentions_lost`, and `kinds` with the reasons. The score table, the manifest and the report show them.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from entitune.files import read_json

_COUNTED = {"rows": "dropped", "mentions": "mentions_lost"}


@dataclass(frozen=True)
class LeftOut:
    """The rows or mentions of a split that one step leaves out."""

    split: str
    what: str
    """rows or mentions"""
    count: int
    of: int
    kinds: dict[str, int]
    """Reason -> count."""

    def __str__(self) -> str:
        reasons = ", ".join(f"{reason} ({count})" for reason, count in self.kinds.items())
        return f"{self.split}: {self.count} of {self.of} {self.what} left out: {reasons}"


def read_left_out(summaries: Iterable[Path]) -> list[LeftOut]:
    """Return what the steps with these summaries leave out; empty if the complete corpus is used."""
    found = []
    for path in summaries:
        summary = read_json(path)
        for what, counted in _COUNTED.items():
            if count := summary.get(counted):
                found.append(LeftOut(path.name.split(".")[0], what, count, summary[what], summary["kinds"]))
    return found
