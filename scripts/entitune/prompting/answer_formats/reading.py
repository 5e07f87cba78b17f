"""The mentions in what a model answered."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, TypeAlias

from entitune.prompting.answer_formats import AnswerFormat
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
class Answer:
    """The mentions that an answer names, in the answer's order, duplicates kept, and how the answer was read.

    `ok`: the answer has exactly the format that the prompt asked for. `repaired`: it was read in spite of a deviation.
    `unparseable`: no answer could be found, so `mentions` is empty. A mention has `start` and `end` where the format
    itself says which place in the sentence is meant; grounding finds the others.
    """

    mentions: tuple[Mention, ...]
    status: AnswerStatus


def read_answer(answer_format: AnswerFormat, raw: str, text: str) -> Answer:
    """Read the answer `raw` to the sentence `text`. Never raises; takes time linear in the lengths of both.

    Reasoning is no answer: see `without_reasoning`. Of a cut-off answer the complete mentions are kept. That an answer
    was cut off is known from the engine's finish reason only, so the status `truncated` is the caller's to give. Labels
    are kept as they are, unknown ones too.
    """
    reader = _READERS[answer_format]
    mentions = reader.strictly(raw, text)
    if mentions is not None:
        return Answer(mentions, "ok")
    answer = without_reasoning(raw)
    mentions = None if answer is None else reader.loosely(answer, text)
    return Answer((), "unparseable") if mentions is None else Answer(mentions, "repaired")


_THINK_TAG = re.compile(r"<(/?)think>")


def without_reasoning(raw: str) -> str | None:
    """An answer without the reasoning in it, or None if the reasoning never ends.

    Reasoning is what stands between `<think>` and `</think>`, and everything before a `</think>` that was not opened,
    because some chat templates put the `<think>` into the prompt.
    """
    kept: list[str] = []
    start, inside = 0, False
    for tag in _THINK_TAG.finditer(raw):
        if tag[1]:
            if not inside:
                kept.clear()
            start, inside = tag.end(), False
        elif not inside:
            kept.append(raw[start : tag.start()])
            inside = True
    return None if inside else "".join(kept) + raw[start:]


@dataclass(frozen=True, slots=True)
class _Reader:
    """Two functions of an answer and its sentence. Both return the mentions in the answer's order, or None.

    None means from `strictly` that the answer has not exactly the format, from `loosely` that nothing can be read.
    """

    strictly: Callable[[str, str], tuple[Mention, ...] | None]
    loosely: Callable[[str, str], tuple[Mention, ...] | None]


_READERS: dict[AnswerFormat, _Reader] = {
    "json": _Reader(read_json_strictly, read_json_loosely),
    "brackets": _Reader(read_brackets_strictly, read_brackets_loosely),
    "occurrence": _Reader(read_occurrence_strictly, read_occurrence_loosely),
}
