"""Number the occurrences of texts in a sentence, for the format `occurrence`.

They are counted from 1, including overlapping ones: 哈哈 occurs twice in 哈哈哈.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator


class Occurrences:
    """The occurrences of texts in one sentence. Each text is searched for once, and only as far as needed."""

    def __init__(self, sentence: str) -> None:
        self._sentence = sentence
        self._searches: dict[str, tuple[list[int], Iterator[int]]] = {}

    def number(self, surface: str, start: int) -> int:
        """Return the number of the occurrence of `surface` at `start`. Raises ValueError if there is none."""
        starts, search = self._search(surface)
        while (not starts or starts[-1] < start) and (found := next(search, None)) is not None:
            starts.append(found)
        index = bisect_left(starts, start)
        if starts[index : index + 1] != [start]:
            raise ValueError(f"{surface!r} does not occur at {start} in {self._sentence!r}")
        return index + 1

    def start(self, surface: str, number: int) -> int | None:
        """Return the start of the `number`-th occurrence, counted from 1, or None if there are fewer."""
        starts, search = self._search(surface)
        while len(starts) < number and (found := next(search, None)) is not None:
            starts.append(found)
        return starts[number - 1] if number <= len(starts) else None

    def _search(self, surface: str) -> tuple[list[int], Iterator[int]]:
        """Return the starts that have been found, and an iterator over the next ones."""
        if surface not in self._searches:
            self._searches[surface] = ([], _starts(surface, self._sentence))
        return self._searches[surface]


def _starts(surface: str, text: str) -> Iterator[int]:
    """Yield every start of `surface` in `text`, overlapping ones included, in time linear in both lengths.

    The distance of two overlapping occurrences is a period of the surface, and at least the smallest one. So an
    occurrence at the smallest period is found by comparing its last characters instead of the complete surface.
    """
    start = text.find(surface) if surface else -1
    if start < 0:
        return
    period = len(surface) - _border(surface)
    last_period = surface[-period:]
    while start >= 0:
        yield start
        if text.startswith(last_period, start + len(surface)):
            start += period
        else:
            start = text.find(surface, start + 1)


def _border(text: str) -> int:
    """Return the length of the longest proper prefix that is also a suffix (Knuth, Morris & Pratt 1977)."""
    borders = [0]  # the border of each prefix
    for character in text[1:]:
        border = borders[-1]
        while border and text[border] != character:
            border = borders[border - 1]
        borders.append(border + (text[border] == character))
    return borders[-1]
