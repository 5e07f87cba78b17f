"""Read answers in the format `brackets`: a copy of the sentence with marks.

A model sometimes changes a sentence when it copies it: a space, a quotation mark, a repeated character. So a copy that
differs is aligned with the sentence. A mention has a place if all its characters are aligned. The others are grounded
by their texts, as in other formats.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import NamedTuple

from entitune.prompting.alignment import UNKNOWN, align
from entitune.prompting.answer_formats.markup import MAX_DEPTH
from entitune.prompting.answer_formats.named import Named, Range
from entitune.prompting.answer_formats.reading_json import read_json_loosely
from entitune.prompting.answer_formats.surrogates import has_lone_surrogate, without_lone_surrogates
from entitune.records import Mention


def read_brackets_strictly(raw: str, text: str) -> tuple[Named, ...] | None:
    """Read exactly the sentence, in which every bracket and bar is escaped or part of a mark."""
    copy = _read_exact_copy(raw)
    if copy is None or copy.text != text or any(has_lone_surrogate(mark.label) for mark in copy.marks):
        return None
    return tuple(
        Named(Mention(mark.label, text[mark.start : mark.end], mark.start, mark.end), mark.ranges)
        for mark in copy.marks
    )


def read_brackets_loosely(raw: str, text: str) -> tuple[Named, ...] | None:
    """Read the marks in any text. Without marks, accept a changed copy of the sentence, or read JSON."""
    copy = _read_copy(without_lone_surrogates(raw))
    offsets = align(copy.text, text)
    if copy.marks:
        return tuple(Named(_placed(mark, copy.text, offsets), mark.ranges) for mark in copy.marks)
    if 2 * sum(offset != UNKNOWN for offset in offsets) >= len(text):
        return ()  # the sentence, changed, without marks
    return read_json_loosely(raw, text)  # a model that was not trained on this format may answer in JSON


class _Mark(NamedTuple):
    """A mention that is marked in a copy, with its offsets in the copy's text."""

    label: str
    start: int
    end: int
    ranges: tuple[Range, ...]
    """Its markup and its text in the answer, without the markup of nested marks."""


class _OpenMark:
    """A mark that is being read: its start in the copy's text, and its ranges in the answer so far."""

    __slots__ = ("ranges", "start")

    def __init__(self, start: int) -> None:
        self.start = start
        self.ranges: list[Range] = []

    def take(self, start: int, end: int) -> None:
        """Add a part of the answer, which is after the previous parts."""
        if self.ranges and self.ranges[-1][1] == start:
            start = self.ranges.pop()[0]
        self.ranges.append((start, end))

    def closed(self, label: str, end: int) -> _Mark:
        """Return the complete mark, given its label and its end in the copy's text."""
        return _Mark(label, self.start, end, tuple(self.ranges))


@dataclass(frozen=True, slots=True)
class _Copy:
    """The copy of a sentence in an answer: its text without markup, and the marks sorted by start and end.

    If two marks have the same start and end, the inner one comes first.
    """

    text: str
    marks: list[_Mark]


def _copy_of(pieces: list[str], marks: list[_Mark]) -> _Copy:
    """Make a copy of the pieces of its text and its marks, in the order in which they close."""
    return _Copy("".join(pieces), sorted(marks, key=lambda mark: (mark.start, mark.end)))


# --- strictly -----------------------------------------------------------------------------------------------------

_EXACT = re.compile(
    r"(?P<text>[^\[\]|\\]++)|\\(?P<escaped>[\[\]|\\])|(?P<open>\[)|\|(?P<label>(?:[^\[\]|\\]|\\[\[\]|\\])++)\]"
)
_ESCAPED = re.compile(r"\\([\[\]|\\])")


def _read_exact_copy(raw: str) -> _Copy | None:
    """Return the copy in an answer, or None if a bracket or bar is neither escaped nor part of a mark."""
    pieces: list[str] = []
    marks: list[_Mark] = []
    open_marks: list[_OpenMark] = []
    length = position = 0
    while position < len(raw):
        token = _EXACT.match(raw, position)
        if token is None:
            return None
        position = token.end()
        if token["open"]:
            if len(open_marks) == MAX_DEPTH:
                return None
            open_marks.append(_OpenMark(length))
            open_marks[-1].take(*token.span())
        elif label := token["label"]:
            if not open_marks or open_marks[-1].start == length:
                return None
            open_marks[-1].take(*token.span())
            marks.append(open_marks.pop().closed(_ESCAPED.sub(r"\1", label), length))
        else:
            pieces.append(token["text"] or token["escaped"])
            length += len(pieces[-1])
            for mark in open_marks:
                mark.take(*token.span())
    return None if open_marks else _copy_of(pieces, marks)


# --- loosely ------------------------------------------------------------------------------------------------------

_LOOSE = re.compile(
    r"(?P<text>[^\[\]|\\【】｜]++)|\\(?P<escaped>[\[\]|\\])|(?P<open>[\[【])|(?P<close>[\]】])|(?P<bar>[|｜])|\\"
)


def _read_copy(raw: str) -> _Copy:
    """Return the copy in any answer. A bracket or bar outside complete marks is a character of the text.

    Full-width brackets and bars are also read as markup, and white space around a label is removed.
    """
    tokens = list(_LOOSE.finditer(raw))
    ends = _whole_marks(tokens)
    pieces: list[str] = []
    marks: list[_Mark] = []
    open_marks: list[tuple[_OpenMark, _MarkEnd]] = []
    length = index = 0
    while index < len(tokens):
        if index in ends:
            open_marks.append((_OpenMark(length), ends[index]))
            open_marks[-1][0].take(*tokens[index].span())
        elif open_marks and open_marks[-1][1].bar == index:
            mark, end = open_marks.pop()
            mark.take(tokens[index].start(), tokens[end.close].end())
            if mark.start < length:
                marks.append(mark.closed(end.label, length))
            index = end.close
        else:
            pieces.append(tokens[index]["escaped"] or tokens[index][0])
            length += len(pieces[-1])
            for mark, _ in open_marks:
                mark.take(*tokens[index].span())
        index += 1
    return _copy_of(pieces, marks)


class _MarkEnd(NamedTuple):
    """The indices of the tokens for a mark's bar and closing bracket, and the mark's label."""

    bar: int
    close: int
    label: str


def _whole_marks(tokens: list[re.Match[str]]) -> dict[int, _MarkEnd]:
    """Find the complete marks: those with a bar, a label and a closing bracket. Index of the opening token -> end."""
    found: dict[int, _MarkEnd] = {}
    open_tokens: list[tuple[int, int | None]] = []  # (opening bracket, the last bar after it)
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
    """Return the mention of a mark. It has a place if all its characters are aligned with the sentence without a gap.

    White space at the edges of the mark is removed if it is not in the sentence.
    """
    start, end = mark.start, mark.end
    surface = copy[start:end]
    if (place := _place(offsets[start:end])) is None and surface.strip():
        start += len(surface) - len(surface.lstrip())
        surface = surface.strip()
        place = _place(offsets[start : start + len(surface)])
    return Mention(mark.label, surface, *(place or (None, None)))


def _place(offsets: list[int]) -> tuple[int, int] | None:
    """Return the span of aligned characters in the sentence, or None if it has a gap. `offsets` ascend."""
    if UNKNOWN in offsets or offsets[-1] - offsets[0] != len(offsets) - 1:
        return None
    return offsets[0], offsets[-1] + 1
