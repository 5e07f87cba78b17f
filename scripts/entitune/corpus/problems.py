"""Problems of a split, grouped by kind: a thousand lines with the same fault are one line of a message."""

from __future__ import annotations

from collections.abc import Iterator

from entitune.corpus.rows import Kind, Note, Problem

_PLACES = 5
"""How many places of a kind are named in addition to the first."""


class Problems:
    """The problems of a split: the first of each kind in full, the places of some others, and counts."""

    def __init__(self, source: str) -> None:
        """`source` is what messages call the split."""
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
        """Each kind in the order in which it was met, how often, and the first problem."""
        return ((kind, self.by_kind[kind], first) for kind, first in self._first.items())

    def lines(self, limit: int | None = None) -> Iterator[str]:
        """One line per kind, in the order in which they were met: the first problem, and how many more there are.

        With a `limit`, no more lines than that and one that says how many problems they leave out.
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
    """What was read past or changed in a split, as messages."""
    for note in notes:
        times = f" ({note.times} times)" if note.times > 1 else ""
        yield f"{note.file}:{note.line}: note: {note.text}{times}"
