"""Split long sentences into windows that fit, and join the mentions of the windows.

Training, prediction, and the client of the server use this. They define what "fits": it depends on the prompt and on
the model's tokens.

A window ends at the last sentence end that fits, and the next one begins there. If no sentence end fits, the window
ends at a comma or a space in its second half, or else anywhere. The next window then begins up to a quarter of a window
earlier, so a mention at the cut is complete in one of the two windows if it is not longer than the overlap.
"""

from __future__ import annotations

import math
import re
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby, pairwise
from typing import Any, NamedTuple

from entitune.prompting.answer_formats import AnswerFormat
from entitune.records import Entity, Mention, Sentence

SENTENCE_END = r"""[。！？]+[”’」』）》"']*|[.!?]+[”’」』）》"')]*(?=\s)|[\r\n\u2028\u2029]+"""
"""The end of a sentence. ASCII marks end one only before white space: those in 3.5 and example.com/?q do not."""
_SENTENCE_END = re.compile(rf"(?:{SENTENCE_END}|[；;]+)\s*")
_PAUSE = re.compile(r"[，,、：:]+|\s+")
_OVERLAP = 4
"""The largest overlap of two windows is the length of the first one, divided by this."""


class Span(NamedTuple):
    """The span of a window in its sentence: half-open offsets in Unicode code points."""

    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Window:
    """A part of a sentence that is a row of its own for training and prediction. Its offsets begin at 0.

    A line of a canonical file is read as a window that is the complete sentence.
    """

    id: str
    text: str
    entities: tuple[Entity, ...] | None = None
    sentence: str | None = None
    """The id of its sentence; None if the window is the complete sentence."""
    start: int = 0
    """The offset of the window in its sentence."""

    @property
    def span(self) -> Span:
        """The span of the window in its sentence."""
        return Span(self.start, self.start + len(self.text))

    @property
    def source(self) -> str:
        """The id of its sentence, also if the window is the complete sentence."""
        return self.id if self.sentence is None else self.sentence

    def to_sentence(self) -> Sentence:
        """Return the window as a sentence."""
        return Sentence(self.id, self.text, self.entities)

    def to_dict(self) -> dict[str, Any]:
        """Return the line of a file of windows. A complete sentence has no keys `sentence` and `start`."""
        record = self.to_sentence().to_dict()
        return record if self.sentence is None else {**record, "sentence": self.sentence, "start": self.start}


@dataclass(frozen=True)
class Room:
    """The room for the prompt and the answer of a window, in the model's tokens."""

    max_model_len: int
    max_tokens: int
    """The length of the longest answer."""
    empty_prompt: int
    """The length of the prompt of an empty sentence."""
    answer_format: AnswerFormat

    def has(self, prompt: int) -> bool:
        """Return whether there is room for a prompt of `prompt` tokens and its answer.

        In the format `brackets`, an answer repeats the sentence with markup. It gets twice the sentence's tokens.
        """
        repeated = 2 * (prompt - self.empty_prompt) if self.answer_format == "brackets" else 0
        return prompt + self.max_tokens <= self.max_model_len and repeated <= self.max_tokens


def split(text: str, fits: Callable[[int, int], bool]) -> list[Span]:
    """Split a text into windows that fit, or into one window if the complete text fits.

    Args:
        text: the text.
        fits: returns whether the part from a start to an end fits. If a part fits, each part of it must fit. For each
            window it is called about 2 log2(n) times, n being the number of the window's sentences.

    Returns:
        The windows in order. Together they cover the text, and each ends after the previous one.

    Raises:
        ValueError: not even one character fits.
    """
    if not text or fits(0, len(text)):
        return [Span(0, len(text))]
    ends = sorted({*(match.end() for match in _SENTENCE_END.finditer(text)), len(text)})
    pauses = [match.end() for match in _PAUSE.finditer(text)]
    spans: list[Span] = []
    start = covered = 0
    while covered < len(text):
        end = _longest(ends[bisect_right(ends, covered) :], start, fits)
        if end is not None:
            spans.append(Span(start, end))
            start = covered = end
            continue
        end = _longest(range(covered + 1, len(text)), start, fits)
        if end is None and start < covered:  # the overlap leaves no room for another character
            start = covered
            continue
        if end is None:
            raise ValueError(f"not even one character fits at offset {start}")
        end = _last_between(pauses, max(covered, (start + end) // 2), end) or end
        spans.append(Span(start, end))
        overlap = end - (end - start) // _OVERLAP
        covered, start = end, next((pause for pause in pauses if overlap <= pause < end), overlap)
    return spans


def _longest(ends: Sequence[int], start: int, fits: Callable[[int, int], bool]) -> int | None:
    """Return the last of the ascending `ends` at which a window from `start` fits, or None if the first does not."""
    fitting, step = -1, 1
    while fitting + step < len(ends) and fits(start, ends[fitting + step]):
        fitting, step = fitting + step, 2 * step
    beyond = min(fitting + step, len(ends))
    while beyond - fitting > 1:
        middle = (fitting + beyond) // 2
        fitting, beyond = (middle, beyond) if fits(start, ends[middle]) else (fitting, middle)
    return ends[fitting] if fitting >= 0 else None


def _last_between(places: Sequence[int], low: int, high: int) -> int | None:
    """Return the last of the ascending `places` that is greater than `low` and at most `high`, or None."""
    position = bisect_right(places, high)
    return places[position - 1] if position and places[position - 1] > low else None


def windows_of(sentence: Sentence, spans: Sequence[Span]) -> list[Window]:
    """Return the windows of a sentence with these spans, each with the entities that are completely in it."""
    if len(spans) == 1:
        return [Window(sentence.id, sentence.text, sentence.entities)]
    return [
        Window(
            f"{sentence.id}@{span.start}-{span.end}",
            sentence.text[span.start : span.end],
            None if sentence.entities is None else entities_in(sentence, span),
            sentence.id,
            span.start,
        )
        for span in spans
    ]


def entities_in(sentence: Sentence, span: Span) -> tuple[Entity, ...]:
    """Return the entities that are completely in a window, with the window's offsets."""
    return tuple(
        replace(entity, start=entity.start - span.start, end=entity.end - span.start)
        for entity in sentence.entities or ()
        if span.start <= entity.start and entity.end <= span.end
    )


def lost_entities(sentence: Sentence, spans: Sequence[Span]) -> list[Entity]:
    """Return the entities of a sentence that are completely in none of its windows."""
    return [
        entity
        for entity in sentence.entities or ()
        if not any(span.start <= entity.start and entity.end <= span.end for span in spans)
    ]


def by_sentence(windows: Iterable[Window]) -> Iterator[list[Window]]:
    """Group consecutive windows by their sentence."""
    for _, group in groupby(windows, key=lambda window: window.source):
        yield list(group)


def join(spans: Sequence[Span], found: Sequence[Sequence[Mention]], length: int) -> tuple[Mention, ...]:
    """Join the mentions that were found in the windows of a text.

    A mention that two windows found is one mention. Two mentions conflict if they overlap and no window found both of
    them. Then the mention that is farther from the edges of its window is kept. The beginning and the end of the text
    are not edges. Mentions without a place are all kept.

    Args:
        spans: the windows, in order.
        found: the mentions of each window, with the window's offsets.
        length: the length of the text in characters.

    Returns:
        The mentions with the text's offsets, in the order of windows and of answers.
    """
    placed: dict[Mention, dict[int, float]] = {}  # mention -> window -> distance from the window's edges
    order: list[Mention] = []
    best: dict[Mention, Mention] = {}  # the mention of the window where it is farthest from an edge, with confidence
    for number, (span, mentions) in enumerate(zip(spans, found, strict=True)):
        for mention in mentions:
            if mention.start is None or mention.end is None:
                order.append(mention)
                continue
            left = mention.start if span.start > 0 else math.inf
            right = span.end - span.start - mention.end if span.end < length else math.inf
            moved = replace(mention, start=mention.start + span.start, end=mention.end + span.start)
            if moved not in placed:
                order.append(moved)
            if min(left, right) > max(placed.get(moved, {}).values(), default=-1):
                best[moved] = moved
            placed.setdefault(moved, {})[number] = min(left, right)
    refused = _refused(spans, placed)
    return tuple(best.get(mention, mention) for mention in order if mention not in refused)


def _refused(spans: Sequence[Span], placed: dict[Mention, dict[int, float]]) -> set[Mention]:
    """Return the mentions that lose a conflict. Conflicts exist only where windows overlap."""
    shared = [Span(after.start, before.end) for before, after in pairwise(spans) if after.start < before.end]
    disputed = [one for one in placed if any(_overlap(one, zone) for zone in shared)] if shared else []
    kept: list[Mention] = []
    refused: set[Mention] = set()
    for mention in sorted(disputed, key=lambda one: -max(placed[one].values())):
        rivals = (other for other in kept if not placed[mention].keys() & placed[other].keys())
        if any(_overlap(mention, Span(other.start or 0, other.end or 0)) for other in rivals):
            refused.add(mention)
        else:
            kept.append(mention)
    return refused


def _overlap(mention: Mention, span: Span) -> bool:
    if mention.start is None or mention.end is None:
        return False
    return mention.start < span.end and span.start < mention.end
