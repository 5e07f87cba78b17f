"""Reading the format `brackets`: a copy of the sentence with marks.

A model sometimes changes a sentence when it copies it: a space, a quotation mark, a repeated character. So a copy that
differs is aligned with the sentence, and a mention whose characters are all aligned has its place. The others are
grounded by their texts, like those of other formats.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import NamedTuple

from entitune.prompting.alignment import UNKNOWN, align
from entitune.prompting.answer_formats.loose_json import read_loosely
from entitune.prompting.answer_formats.markup import MAX_DEPTH
from entitune.prompting.answer_formats.surrogates import has_lone_surrogate, without_lone_surrogates
from entitune.records import Mention


def read_brackets_strictly(raw: str, text: str) -> tuple[Mention, ...] | None:
    """Exactly the sentence, every bracket and bar in it escaped or part of a mark."""
    copy = _read_exact_copy(raw)
    if copy is None or copy.text != text or any(has_lone_surrogate(mark.label) for mark in copy.marks):
        return None
    return tuple(Mention(mark.label, text[mark.start : mark.end], mark.start, mark.end) for mark in copy.marks)


def read_brackets_loosely(raw: str, text: str) -> tuple[Mention, ...] | None:
    """The marks in whatever resembles the sentence, or in any text; JSON where there is neither."""
    copy = _read_copy(without_lone_surrogates(raw))
    offsets = align(copy.text, text)
    if copy.marks:
        return tuple(_placed(mark, copy.text, offsets) for mark in copy.marks)
    if 2 * sum(offset != UNKNOWN for offset in offsets) >= len(text):
        return ()  # the sentence, changed, without marks
    named = read_loosely(raw)  # a model that was not trained on this format may answer in another one
    return None if named is None else tuple(Mention(one.label, one.text) for one in named)


class _Mark(NamedTuple):
    """A mention that is marked in a copy, by its offsets in the copy's text."""

    label: str
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class _Copy:
    """The copy of a sentence in an answer: its text without markup, and the marks sorted by start and end.

    Of two marks with the same start and end, the inner one comes first.
    """

    text: str
    marks: list[_Mark]


def _copy_of(pieces: list[str], marks: list[_Mark]) -> _Copy:
    """The copy, given its text in pieces and its marks in the order in which they close."""
    return _Copy("".join(pieces), sorted(marks, key=lambda mark: (mark.start, mark.end)))


# --- strictly -----------------------------------------------------------------------------------------------------

_EXACT = re.compile(
    r"(?P<text>[^\[\]|\\]++)|\\(?P<escaped>[\[\]|\\])|(?P<open>\[)|\|(?P<label>(?:[^\[\]|\\]|\\[\[\]|\\])++)\]"
)
_ESCAPED = re.compile(r"\\([\[\]|\\])")


def _read_exact_copy(raw: str) -> _Copy | None:
    """The copy in an answer in which every bracket belongs to a mark or is escaped, else None."""
    pieces: list[str] = []
    marks: list[_Mark] = []
    starts: list[int] = []  # of the marks that are open
    length = position = 0
    while position < len(raw):
        token = _EXACT.match(raw, position)
        if token is None:
            return None
        position = token.end()
        if token["open"]:
            if len(starts) == MAX_DEPTH:
                return None
            starts.append(length)
        elif label := token["label"]:
            if not starts or starts[-1] == length:
                return None
            marks.append(_Mark(_ESCAPED.sub(r"\1", label), starts.pop(), length))
        else:
            pieces.append(token["text"] or token["escaped"])
            length += len(pieces[-1])
    return None if starts else _copy_of(pieces, marks)


# --- tolerantly ---------------------------------------------------------------------------------------------------

_LOOSE = re.compile(
    r"(?P<text>[^\[\]|\\【】｜]++)|\\(?P<escaped>[\[\]|\\])|(?P<open>[\[【])|(?P<close>[\]】])|(?P<bar>[|｜])|\\"
)


def _read_copy(raw: str) -> _Copy:
    """The copy in any answer. A bracket or bar that belongs to no whole mark is a character of the text.

    Full-width brackets and bars are read as markup too, and white space around a label is dropped.
    """
    tokens = list(_LOOSE.finditer(raw))
    ends = _whole_marks(tokens)
    pieces: list[str] = []
    marks: list[_Mark] = []
    open_marks: list[tuple[int, _MarkEnd]] = []
    length = index = 0
    while index < len(tokens):
        if index in ends:
            open_marks.append((length, ends[index]))
        elif open_marks and open_marks[-1][1].bar == index:
            start, end = open_marks.pop()
            if start < length:
                marks.append(_Mark(end.label, start, length))
            index = end.close
        else:
            pieces.append(tokens[index]["escaped"] or tokens[index][0])
            length += len(pieces[-1])
        index += 1
    return _copy_of(pieces, marks)


class _MarkEnd(NamedTuple):
    """Where the mark that a token opens has its bar and its closing bracket, by their indices, and its label."""

    bar: int
    close: int
    label: str


def _whole_marks(tokens: list[re.Match[str]]) -> dict[int, _MarkEnd]:
    """The tokens that open a mark which has a bar, a label and a closing bracket."""
    found: dict[int, _MarkEnd] = {}
    open_tokens: list[tuple[int, int | None]] = []  # each with the last bar since then
    for index, token in enumerate(tokens):
        if token["open"] and len(open_tokens) < MAX_DEPTH:
            open_tokens.append((index, None))
        elif token["bar"] and open_tokens:
            open_tokens[-1] = (open_tokens[-1][0], index)
        elif token["close"] and open_tokens:
            opener, bar = open_tokens.pop()
            if bar is None:
                continue
            between = tokens[bar + 1 : index]
            label = "".join(one["escaped"] or one[0] for one in between).strip()
            if label and all(one["text"] or one["escaped"] for one in between):
                found[opener] = _MarkEnd(bar, index, label)
    return found


def _placed(mark: _Mark, copy: str, offsets: list[int]) -> Mention:
    """The mention of a mark, with its place in the sentence if all its characters are aligned, without a gap.

    White space at the edges of the mark counts only if it is in the sentence.
    """
    start, end = mark.start, mark.end
    surface = copy[start:end]
    if (place := _place(offsets[start:end])) is None and surface.strip():
        start += len(surface) - len(surface.lstrip())
        surface = surface.strip()
        place = _place(offsets[start : start + len(surface)])
    return Mention(mark.label, surface, *(place or (None, None)))


def _place(offsets: list[int]) -> tuple[int, int] | None:
    """The part of the sentence that aligned characters cover if there is no gap in it; `offsets` ascend."""
    if UNKNOWN in offsets or offsets[-1] - offsets[0] != len(offsets) - 1:
        return None
    return offsets[0], offsets[-1] + 1
