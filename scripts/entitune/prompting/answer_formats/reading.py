"""Read the mentions from a model's answer."""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Literal, TypeAlias

from entitune.prompting.answer_formats import AnswerFormat
from entitune.prompting.answer_formats.named import Named, Range
from entitune.prompting.answer_formats.reading_brackets import read_brackets_loosely, read_brackets_strictly
from entitune.prompting.answer_formats.reading_json import (
    read_json_loosely,
    read_json_strictly,
    read_occurrence_loosely,
    read_occurrence_strictly,
)
from entitune.records import Mention

AnswerStatus: TypeAlias = Literal["ok", "repaired", "unparseable"]


@dataclass(frozen=True, slots=True)
class ParsedAnswer:
    """The mentions that an answer names, in the answer's order and with duplicates, and how the answer was read.

    `ok`: the answer has exactly the format that the prompt asks for. `repaired`: it has another format, but could be
    read. `unparseable`: no answer was found, so `mentions` is empty. A mention has `start` and `end` if the answer
    format gives its place in the sentence; grounding finds the other places.
    """

    mentions: tuple[Mention, ...]
    status: AnswerStatus
    ranges: tuple[tuple[Range, ...], ...] = field(default=(), compare=False)
    """For each mention, the characters of the raw answer that name it."""


def read_answer(answer_format: AnswerFormat, raw: str, text: str) -> ParsedAnswer:
    """Read the answer `raw` to the sentence `text`. Never raises; takes time linear in the lengths of both.

    Reasoning is not part of the answer: see `outside_reasoning`. The complete mentions of a cut-off answer are kept.
    Only the engine's finish reason tells that an answer was cut off, so the caller sets the status `truncated`. Labels
    are not checked.
    """
    reader = _READERS[answer_format]
    named = reader.strictly(raw, text)
    if named is not None:
        return ParsedAnswer(tuple(one.mention for one in named), "ok", tuple(one.ranges for one in named))
    kept = outside_reasoning(raw)
    named = None if kept is None else reader.loosely("".join(raw[start:end] for start, end in kept), text)
    if kept is None or named is None:
        return ParsedAnswer((), "unparseable")
    ranges = tuple(tuple(_moved(one.ranges, kept)) for one in named)
    return ParsedAnswer(tuple(one.mention for one in named), "repaired", ranges)


_THINK_TAG = re.compile(r"<(/?)think>")


def outside_reasoning(raw: str) -> list[Range] | None:
    """Return the parts of an answer that are not reasoning, or None if the reasoning has no end.

    Reasoning is the text between `<think>` and `</think>`, and everything before a `</think>` without a `<think>`,
    because some chat templates put the `<think>` into the prompt.
    """
    kept: list[Range] = []
    start, inside = 0, False
    for tag in _THINK_TAG.finditer(raw):
        if tag[1]:
            if not inside:
                kept.clear()
            start, inside = tag.end(), False
        elif not inside:
            kept.append((start, tag.start()))
            inside = True
    return None if inside else [*kept, (start, len(raw))]


def _moved(ranges: Iterable[Range], kept: Sequence[Range]) -> Iterator[Range]:
    """Convert ranges in the joined parts of an answer to ranges in the complete answer."""
    befores = [0, *accumulate(end - start for start, end in kept)]  # where each part begins in the joined text
    for start, end in ranges:
        for part in range(bisect_right(befores, start) - 1, bisect_left(befores, end)):
            part_start, part_end = kept[part]
            shift = part_start - befores[part]
            yield max(start + shift, part_start), min(end + shift, part_end)


@dataclass(frozen=True, slots=True)
class _Reader:
    """Two functions that take an answer and its sentence, and return the mentions in the answer's order, or None.

    `strictly` returns None if the answer does not have exactly the format, `loosely` if nothing can be read.
    """

    strictly: Callable[[str, str], tuple[Named, ...] | None]
    loosely: Callable[[str, str], tuple[Named, ...] | None]


_READERS: dict[AnswerFormat, _Reader] = {
    "json": _Reader(read_json_strictly, read_json_loosely),
    "brackets": _Reader(read_brackets_strictly, read_brackets_loosely),
    "occurrence": _Reader(read_occurrence_strictly, read_occurrence_loosely),
}
