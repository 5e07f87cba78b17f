"""Long sentences in windows: where a text is split so that each part fits, and how the parts' mentions are joined.

Training, prediction, the server's client and its page all split and join here. What "fits" means is theirs: it depends
on the prompt and on the model's own tokens.

A window ends at the last sentence end that fits, and the next one begins there. Where no sentence end fits, it ends at
a comma or a space in its second half, else anywhere, and the next window begins up to a quarter of a window earlier:
a mention that the cut goes through is whole in one of the two, if it is not longer than the overlap.
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
"""Where a sentence ends. ASCII marks end one only before white space: 3.5 and example.com/?q do not."""
_SENTENCE_END = re.compile(rf"(?:{SENTENCE_END}|[；;]+)\s*")
_PAUSE = re.compile(r"[，,、：:]+|\s+")
_OVERLAP = 4
"""Windows without a sentence end between them share a quarter of the first one's characters at most."""


class Span(NamedTuple):
    """The place of a window in its sentence: half-open offsets in Unicode code points."""

    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Window:
    """A part of a sentence that is trained on or asked as a row of its own, with offsets of its own.

    A canonical sentence is read as the one window of itself.
    """

    id: str
    text: str
    entities: tuple[Entity, ...] | None = None
    sentence: str | None = None
    """The id of the sentence that it is a part of; None where it is the whole sentence."""
    start: int = 0
    """Where it begins in the sentence."""

    @property
    def span(self) -> Span:
        """Its place in the sentence."""
        return Span(self.start, self.start + len(self.text))

    @property
    def source(self) -> str:
        """The id of the sentence that it is, or is a part of."""
        return self.id if self.sentence is None else self.sentence

    def to_sentence(self) -> Sentence:
        """The window as a sentence."""
        return Sentence(self.id, self.text, self.entities)

    def to_dict(self) -> dict[str, Any]:
        """Return the line of a file of windows; `sentence` and `start` only of a part of a sentence."""
        record = self.to_sentence().to_dict()
        return record if self.sentence is None else {**record, "sentence": self.sentence, "start": self.start}


@dataclass(frozen=True)
class Room:
    """The room for the prompt of a window that is asked, in the model's own tokens."""

    max_model_len: int
    max_tokens: int
    """The longest answer."""
    empty_prompt: int
    """The length of the prompt of an empty sentence."""
    answer_format: AnswerFormat

    def has(self, prompt: int) -> bool:
        """Whether there is room for a prompt of so many tokens and its answer.

        In brackets an answer repeats the sentence: it is given twice the sentence's tokens, for the markup.
        """
        repeated = 2 * (prompt - self.empty_prompt) if self.answer_format == "brackets" else 0
        return prompt + self.max_tokens <= self.max_model_len and repeated <= self.max_tokens


def split(text: str, fits: Callable[[int, int], bool]) -> list[Span]:
    """Split a text into windows that fit, in order; one window where all of it does.

    Args:
        text: the text.
        fits: whether the part from a start to an end fits. Supposed to be true of a part where it is true of a longer
            one, and asked for about twice the logarithm of a window's sentences.

    Returns:
        The windows. Together they cover the text, and each ends behind the one before.

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
        if end is None and start < covered:  # the overlap leaves no room for more
            start = covered
            continue
        if end is None:
            raise ValueError(f"not even one character fits, at {start}")
        end = _last_between(pauses, max(covered, (start + end) // 2), end) or end
        spans.append(Span(start, end))
        overlap = end - (end - start) // _OVERLAP
        covered, start = end, next((pause for pause in pauses if overlap <= pause < end), overlap)
    return spans


def _longest(ends: Sequence[int], start: int, fits: Callable[[int, int], bool]) -> int | None:
    """The last of the ascending `ends` up to which a window from `start` fits; None where the first does not."""
    fitting, step = -1, 1
    while fitting + step < len(ends) and fits(start, ends[fitting + step]):
        fitting, step = fitting + step, 2 * step
    beyond = min(fitting + step, len(ends))
    while beyond - fitting > 1:
        middle = (fitting + beyond) // 2
        fitting, beyond = (middle, beyond) if fits(start, ends[middle]) else (fitting, middle)
    return ends[fitting] if fitting >= 0 else None


def _last_between(places: Sequence[int], low: int, high: int) -> int | None:
    """The last of the ascending `places` that is behind `low` and not behind `high`."""
    position = bisect_right(places, high)
    return places[position - 1] if position and places[position - 1] > low else None


def windows_of(sentence: Sentence, spans: Sequence[Span]) -> list[Window]:
    """The windows of a sentence, each with the entities that are whole in it; a single one is the sentence itself."""
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
    """The entities that a window holds whole, at the window's offsets."""
    return tuple(
        replace(entity, start=entity.start - span.start, end=entity.end - span.start)
        for entity in sentence.entities or ()
        if span.start <= entity.start and entity.end <= span.end
    )


def lost_entities(sentence: Sentence, spans: Sequence[Span]) -> list[Entity]:
    """The entities of a sentence that no window holds whole."""
    return [
        entity
        for entity in sentence.entities or ()
        if not any(span.start <= entity.start and entity.end <= span.end for span in spans)
    ]


def by_sentence(windows: Iterable[Window]) -> Iterator[list[Window]]:
    """The windows of each sentence together, in order."""
    for _, group in groupby(windows, key=lambda window: window.source):
        yield list(group)


def join(spans: Sequence[Span], found: Sequence[Sequence[Mention]], length: int) -> tuple[Mention, ...]:
    """Join the mentions that were found in the windows of a text.

    A mention that two windows have is one mention. Two mentions conflict where they overlap, are of different windows,
    and neither is in the other's window too: the one that is farther from its window's edge is kept. The beginning and
    the end of the text are no edges. Mentions without a place are all kept.

    Args:
        spans: the windows, in order.
        found: the mentions of each window, at the window's offsets.
        length: the length of the text in characters.

    Returns:
        The mentions at the text's offsets, in the order of windows and of answers.
    """
    placed: dict[Mention, dict[int, float]] = {}  # mention -> window -> distance from its edges
    order: list[Mention] = []
    best: dict[Mention, Mention] = {}  # from the window where it is farthest from an edge: its confidence is kept
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
    """The mentions that lose a conflict. Only those in an overlap of windows can have one."""
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
