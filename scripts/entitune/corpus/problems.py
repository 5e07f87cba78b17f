"""The problems of a split, grouped by kind: a thousand lines with the same problem give one line of a message."""

from __future__ import annotations

from collections.abc import Iterator

from entitune.corpus.rows import Kind, Note, Problem

_PLACES = 5
"""How many places of a kind a message names in addition to the first."""


class Problems:
    """Collects the problems of a split: the first of each kind in full, the places of some others, and counts."""

    def __init__(self, source: str) -> None:
        """`source` is the name of the split in messages."""
        self.count = 0
        self.by_kind: dict[Kind, int] = {}
        self._source = source
        self._first: dict[Kind, str] = {}
        self._others: dict[Kind, list[str]] = {}

    def add(self, problem: Problem) -> str:
        """Count a problem and return it as a message."""
        file = problem.file or self._source
        message = f"{file}:{problem.line}: {problem.reason}"
        self.count += 1
        before = self.by_kind.get(problem.kind, 0)
        self.by_kind[problem.kind] = before + 1
        if not before:
            self._first[problem.kind] = message
        elif before <= _PLACES:
            place = f"{problem.file}:{problem.line}" if problem.file else f"line {problem.line}"
            self._others.setdefault(problem.kind, []).append(place)
        return message

    def examples(self) -> Iterator[tuple[Kind, int, str]]:
        """Return each kind in order of its first problem: the kind, its count, and the first problem as a message."""
        return ((kind, self.by_kind[kind], first) for kind, first in self._first.items())

    def lines(self, limit: int | None = None) -> Iterator[str]:
        """Yield one line per kind, in order of its first problem: this problem, and how many more there are.

        With a `limit`, yield at most that many lines, and one more with the number of problems that are left out.
        """
        kinds = list(self._first)
        for kind in kinds[:limit]:
            more = self.by_kind[kind] - 1
            places = self._others.get(kind, [])
            dots = ", ..." if more > len(places) else ""
            yield self._first[kind] + (f" ({more} more like this: {', '.join(places)}{dots})" if more else "")
        if left := sum(self.by_kind[kind] for kind in kinds[len(kinds[:limit]) :]):
            yield f"... and {left} more"


def note_lines(notes: list[Note]) -> Iterator[str]:
    """Yield notes as messages."""
    for note in notes:
        times = f" ({note.times} times)" if note.times > 1 else ""
        yield f"{note.file}:{note.line}: note: {note.text}{times}"
