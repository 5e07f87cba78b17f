"""Find the place of each mention in its sentence.

An answer names mentions in text order, by their texts. Some answer formats also give the place. `ground` finds offsets
by these rules:

1. If the answer format gives the place of a mention, the mention takes it. The rules below are for the others.
2. Longer mentions take their places before shorter ones. A mention takes a free place if there is one: a place that
   overlaps no other mention. So 北京 in 北京大学在北京 is the last two characters if 北京大学 is named too.
3. If no place is free, the mention takes one that overlaps another mention: mentions may be nested.
4. Among several places, those that keep the order of the answer are preferred: not before the previous mention of the
   answer, and not after the next one. Among those, the first in the text is taken. So repeated mentions are grounded in
   text order, and an answer that is not in text order is grounded too.
5. A place is taken once per label. If a surface is named with two labels, they take two places if there are two, and
   share one otherwise.
6. An exact occurrence is preferred to one that is equal only after NFKC normalisation (full-width and half-width forms,
   composed and decomposed characters). The latter gets the offsets of the sentence's original characters, and is never
   within one character: 株式 is not found in ㍿.
7. A mention without a place (hallucinated, or named more often than it occurs) keeps `start` and `end` None.

Letter case and white space must match: another spelling is another surface.

Places are searched for one at a time, and a refused place is skipped from then on. So the time is linear in the lengths
of sentence and answer, even for a sentence of 80,000 equal characters.
"""

from __future__ import annotations

import unicodedata
from bisect import bisect_left, insort
from collections.abc import Callable, Iterable, Iterator, Sequence

from entitune.records import Mention


def ground(text: str, mentions: Sequence[Mention]) -> tuple[Mention, ...]:
    """Give each mention its offsets in `text`. Order, labels and texts do not change.

    `start` and `end` of the given mentions are the place that the answer's format gives, or None.
    """
    places = _Places(text)
    spans: dict[int, tuple[int, int]] = {}
    for index, mention in enumerate(mentions):
        if mention.start is not None and mention.end is not None:
            span = (mention.start, mention.end)
            if places.is_free_for(mention.label, span):
                places.give(mention.label, span)
                spans[index] = span
    grounded = sorted(spans)  # positions in the answer

    remaining = [index for index in range(len(mentions)) if index not in spans]
    for index in sorted(remaining, key=lambda index: -len(mentions[index].text)):
        label, surface = mentions[index].label, mentions[index].text
        neighbour = bisect_left(grounded, index)
        low = spans[grounded[neighbour - 1]][0] if neighbour > 0 else 0
        high = spans[grounded[neighbour]][0] if neighbour < len(grounded) else len(text)
        place = places.best(label, surface, low, high)
        if place is not None:
            places.give(label, place)
            spans[index] = place
            insort(grounded, index)

    return tuple(
        Mention(mention.label, mention.text, *spans.get(index, (None, None))) for index, mention in enumerate(mentions)
    )


def occurring(surfaces: Iterable[str], text: str) -> set[str]:
    """Return the surfaces that occur in `text`, exactly or after NFKC."""
    places = _Places(text)
    return {surface for surface in surfaces if places.best("", surface, 0, len(text)) is not None}


class _Places:
    """The places in one text: which characters are taken, and which places each label has taken."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._taken = bytearray(len(text))  # 1 where a character belongs to a grounded mention
        self._given: set[tuple[str, int, int]] = set()
        self._searches: dict[tuple[str, bool, str | None], _Search] = {}
        self._exact = _View(text)
        self._is_normalised = unicodedata.is_normalized("NFKC", text)
        self._normalised: _NormalisedView | None = None

    def is_free_for(self, label: str, span: tuple[int, int]) -> bool:
        return (label, *span) not in self._given

    def give(self, label: str, span: tuple[int, int]) -> None:
        start, end = span
        self._given.add((label, start, end))
        self._taken[start:end] = b"\1" * (end - start)

    def best(self, label: str, surface: str, low: int, high: int) -> tuple[int, int] | None:
        """Choose a place for a surface by rules 2 to 6. Starts from `low` to `high` keep the order of the answer."""
        if not surface:
            return None
        for view in self._views(surface):
            for among_free in (True, False):
                search = self._search(view, surface, None if among_free else label)
                place = search.first(low)
                if place is None or place[0] > high:
                    place = search.first(0)
                if place is not None:
                    return place
        return None

    def _views(self, surface: str) -> Iterator[_View]:
        yield self._exact
        if not (self._is_normalised and unicodedata.is_normalized("NFKC", surface)):
            if self._normalised is None:
                self._normalised = _NormalisedView(self._text)
            yield self._normalised

    def _search(self, view: _View, surface: str, label: str | None) -> _Search:
        """Return the search for free places, or, given a label, for places that the label has not taken."""
        key = (surface, view is self._exact, label)
        if key not in self._searches:

            def resume(start: int, end: int) -> int | None:
                if view is not self._exact and self._text.startswith(surface, start):
                    return start + 1  # an exact occurrence, which has been refused
                if label is not None:
                    return start + 1 if (label, start, end) in self._given else None
                last = self._taken.rfind(1, start, end)
                if last < 0:
                    return None
                free = self._taken.find(0, last)
                return free if free >= 0 else len(self._text)

            self._searches[key] = _Search(view, surface, resume)
        return self._searches[key]


class _View:
    """A text to search, with a mapping between its offsets and the sentence's. In this class they are equal."""

    def __init__(self, text: str) -> None:
        self.text = text

    def form(self, surface: str) -> str:
        """Return the surface in the form in which this text would have it."""
        return surface

    def span(self, start: int, end: int) -> tuple[int, int] | None:
        """Map a span of this text to the sentence. Return None if it begins or ends within a character there."""
        return start, end

    def at_or_after(self, offset: int) -> int:
        """Return the first offset in this text that corresponds to `offset` or a later one in the sentence."""
        return offset


class _NormalisedView(_View):
    """The sentence after NFKC.

    A base character is normalised together with the marks that follow it, because they may become one character.
    """

    def __init__(self, sentence: str) -> None:
        parts: list[str] = []
        self._offsets = {0: 0}  # offset in this text -> in the sentence, at the bounds of the sentence's characters
        self._positions = [0]  # offset in the sentence -> at_or_after
        size = start = 0
        for end in range(1, len(sentence) + 1):
            if end < len(sentence) and _continues(sentence[end]):
                continue
            part = unicodedata.normalize("NFKC", sentence[start:end])
            parts.append(part)
            size += len(part)
            self._offsets[size] = end
            self._positions += [size] * (end - start)
            start = end
        super().__init__("".join(parts))

    def form(self, surface: str) -> str:
        return unicodedata.normalize("NFKC", surface)

    def span(self, start: int, end: int) -> tuple[int, int] | None:
        if start not in self._offsets or end not in self._offsets:
            return None
        return self._offsets[start], self._offsets[end]

    def at_or_after(self, offset: int) -> int:
        return self._positions[offset]


class _Search:
    """The places of one surface in text order, without the refused ones.

    `resume` takes the start and end of a place in the sentence. It returns None if the place is available, else the
    offset in the sentence from which the search continues. A refused place stays refused, so each part of the text is
    searched once: `_skips` maps an offset to a later one with no place between them (a union-find).
    """

    def __init__(self, view: _View, surface: str, resume: Callable[[int, int], int | None]) -> None:
        self._view = view
        self._form = view.form(surface)
        self._resume = resume
        self._skips: dict[int, int] = {}

    def first(self, low: int) -> tuple[int, int] | None:
        """Return the first place that starts at `low` in the sentence or after it."""
        passed: list[int] = []
        position = self._view.at_or_after(low)
        place = None
        while place is None:
            passed.append(position)
            if position in self._skips:
                position = self._skips[position]
                continue
            start = self._view.text.find(self._form, position)
            if start < 0:
                position = len(self._view.text) + 1
                break
            if start > position:
                position = start
                continue
            span = self._view.span(start, start + len(self._form))
            if span is None:
                position = start + 1
            elif (resumed := self._resume(*span)) is not None:
                position = max(start + 1, self._view.at_or_after(resumed))
            else:
                place = span
        for offset in passed:
            if offset < position:
                self._skips[offset] = position
        return place


def _continues(character: str) -> bool:
    """Return whether a character may combine with those before it: a mark, a voiced sound mark, a Hangul vowel."""
    first = unicodedata.normalize("NFKC", character)[0]
    return unicodedata.combining(first) != 0 or "\u1160" <= first <= "\u11ff"
