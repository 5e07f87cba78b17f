"""Where in its sentence a mention stands that a model named by its text alone.

An answer is an array of (label, text), one element a mention, in text order. `ground` gives each its offsets:

1. Longest first: a long mention takes its place before a short one, and a short one takes a place that is not taken
   while there is one. So 北京 in 北京大学在北京 is the last two characters if 北京大学 is named too.
2. If every remaining place overlaps a mention, it takes one of those: nested mentions are allowed.
3. Among several places, those that keep the answer's order come first: not before the mention that precedes it in the
   answer, not behind the one that follows it. Among those, the first in the text. So repeated mentions are grounded in
   text order, and an answer that is not in text order still grounds.
4. A place is given once per label. The same surface under two labels takes two places if there are two, else both
   take the one.
5. An exact occurrence comes before one that is equal only after Unicode's NFKC normalisation (full-width and half-width
   forms, composed and decomposed characters). The latter is grounded at the offsets of the sentence's own characters,
   and never within one character: 株式 is not found in ㍿.
6. What finds no place (hallucinated, or named more often than it occurs) keeps `start` and `end` None.

Letter case and white space are never changed: another spelling is another surface.
"""

from __future__ import annotations

import unicodedata
from bisect import bisect_left, insort
from collections.abc import Iterable

from entitune.records import Mention


def ground(text: str, mentions: Iterable[tuple[str, str]]) -> list[Mention]:
    """Give each (label, text) of `mentions` its offsets in `text`; the order and the texts stay as they are."""
    mentions = list(mentions)
    places = _Places(text)
    taken = bytearray(len(text))  # 1 where a character belongs to a mention that has been grounded
    spans: dict[int, tuple[int, int]] = {}
    given: set[tuple[str, int, int]] = set()
    grounded: list[int] = []  # positions in the answer, sorted

    for index in sorted(range(len(mentions)), key=lambda index: -len(mentions[index][1])):
        label, surface = mentions[index]
        free = [place for place in places.of(surface) if (label, place[1], place[2]) not in given]
        if not free:
            continue
        low, high = 0, len(text)
        if len(free) > 1:
            neighbour = bisect_left(grounded, index)
            if neighbour > 0:
                low = spans[grounded[neighbour - 1]][0]
            if neighbour < len(grounded):
                high = spans[grounded[neighbour]][0]
        _, start, end = min(
            free, key=lambda place: (place[0], any(taken[place[1] : place[2]]), not low <= place[1] <= high, place[1])
        )
        spans[index] = (start, end)
        given.add((label, start, end))
        insort(grounded, index)
        taken[start:end] = b"\1" * (end - start)

    return [Mention(label, surface, *spans.get(index, (None, None))) for index, (label, surface) in enumerate(mentions)]


def occurring(surfaces: Iterable[str], text: str) -> set[str]:
    """Those of the surfaces that have a place in `text`, exactly or after NFKC."""
    places = _Places(text)
    return {surface for surface in surfaces if places.of(surface)}


class _Places:
    """The occurrences of surfaces in one text, found once each: (0 if exact else 1, start, end)."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._found: dict[str, list[tuple[int, int, int]]] = {}
        self._normalised: tuple[str, dict[int, int]] | None = None

    def of(self, surface: str) -> list[tuple[int, int, int]]:
        if surface not in self._found:
            size = len(surface)
            exact = [(0, start, start + size) for start in _occurrences(self._text, surface)]
            starts = {start for _, start, _ in exact}
            self._found[surface] = exact + [place for place in self._equivalent(surface) if place[1] not in starts]
        return self._found[surface]

    def _equivalent(self, surface: str) -> list[tuple[int, int, int]]:
        """The places that equal `surface` after NFKC."""
        if self._text.isascii() and surface.isascii():
            return []  # NFKC leaves ASCII as it is
        if self._normalised is None:
            self._normalised = _normalise(self._text)
        text, offsets = self._normalised
        if text == self._text and unicodedata.is_normalized("NFKC", surface):
            return []
        surface = unicodedata.normalize("NFKC", surface)
        return [
            (1, offsets[start], offsets[start + len(surface)])
            for start in _occurrences(text, surface)
            if start in offsets and start + len(surface) in offsets
        ]


def _occurrences(text: str, surface: str) -> list[int]:
    """Every start of `surface` in `text`, overlapping ones too; none for an empty surface."""
    starts = []
    start = text.find(surface) if surface else -1
    while start >= 0:
        starts.append(start)
        start = text.find(surface, start + 1)
    return starts


def _normalise(text: str) -> tuple[str, dict[int, int]]:
    """`text` after NFKC, and the offset in `text` of each offset at which a character of `text` begins or ends.

    A base character is normalised together with the marks that follow it, because they may become one character.
    """
    parts: list[str] = []
    offsets = {0: 0}
    size = 0
    start = 0
    for end in range(1, len(text) + 1):
        if end < len(text) and _continues(text[end]):
            continue
        part = unicodedata.normalize("NFKC", text[start:end])
        parts.append(part)
        size += len(part)
        offsets[size] = end
        start = end
    return "".join(parts), offsets


def _continues(character: str) -> bool:
    """Whether a character may become one with those before it: a mark, a voiced sound mark, a Hangul vowel."""
    first = unicodedata.normalize("NFKC", character)[0]
    return unicodedata.combining(first) != 0 or "\u1160" <= first <= "\u11ff"
