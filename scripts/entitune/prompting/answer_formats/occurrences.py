"""Occurrences by number, for the format `occurrence`.

They are counted from 1, also those that overlap: 哈哈 occurs twice in 哈哈哈.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator


class Occurrences:
    """The occurrences of texts in one sentence. Each text is searched for once, and only as far as is asked for."""

    def __init__(self, sentence: str) -> None:
        self._sentence = sentence
        self._searches: dict[str, tuple[list[int], Iterator[int]]] = {}

    def number(self, surface: str, start: int) -> int:
        """Which occurrence of `surface` begins at `start`. Raises ValueError if none does."""
        starts, search = self._search(surface)
        while (not starts or starts[-1] < start) and (found := next(search, None)) is not None:
            starts.append(found)
        index = bisect_left(starts, start)
        if starts[index : index + 1] != [start]:
            raise ValueError(f"{surface!r} does not occur at {start} in {self._sentence!r}")
        return index + 1

    def start(self, surface: str, number: int) -> int | None:
        """Where the `number`-th occurrence begins, counted from 1; None if there are fewer."""
        starts, search = self._search(surface)
        while len(starts) < number and (found := next(search, None)) is not None:
            starts.append(found)
        return starts[number - 1] if number <= len(starts) else None

    def _search(self, surface: str) -> tuple[list[int], Iterator[int]]:
        """The starts that were found already, and the search for those that follow."""
        if surface not in self._searches:
            self._searches[surface] = ([], _starts(surface, self._sentence))
        return self._searches[surface]


def _starts(surface: str, text: str) -> Iterator[int]:
    """Every start of `surface` in `text`, overlapping ones too, in time linear in both (Knuth, Morris & Pratt 1977)."""
    if surface not in text or not surface:
        return
    borders = [0]  # the longest proper prefix of each part from the beginning that is a suffix of it
    for character in surface[1:]:
        border = borders[-1]
        while border and surface[border] != character:
            border = borders[border - 1]
        borders.append(border + (surface[border] == character))
    matched = 0
    for offset, character in enumerate(text):
        while matched and (matched == len(surface) or surface[matched] != character):
            matched = borders[matched - 1]
        matched += surface[matched] == character
        if matched == len(surface):
            yield offset + 1 - len(surface)
