"""Readers of raw splits: CLUENER JSON lines and one-character-a-line CoNLL, streamed and validated row by row.

A row is a line of a CLUENER file or a sentence of a CoNLL file. A reader yields every row in the file's order, each
either with its sentence or with everything that is wrong with it, and never raises for what a file contains.
Files are cut at ``\\n`` only: U+2028 and its like are characters of the text.
"""

from __future__ import annotations

import codecs
import json
import re
import reprlib
import sys
from collections.abc import Callable, Collection, Iterator
from functools import partial
from typing import Any, NamedTuple

from entitune.records import Entity, Sentence

# A file that is one single line (a JSON array, say) or a CoNLL file without blank lines must not fill the memory.
MAX_ROW_BYTES = 1 << 20

# Control characters other than tab and line feed, lone surrogates (JSON can escape them, UTF-8 cannot hold them) and
# noncharacters: a tokenizer drops or changes them, so that offsets would no longer fit.
_UNUSABLE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")

_COLUMNS = re.compile(r"(.)[ \t]+([^ \t]+)[ \t]*", re.DOTALL)

# The prefixes of a mention's first, further and last character and of a one-character mention. BIO has no last two.
_SCHEMES = {"bio": ("B", "I", None, None), "bmes": ("B", "M", "E", "S"), "bioes": ("B", "I", "E", "S")}


_REPR = reprlib.Repr()  # bounded in length and in depth, and with escapes for what cannot be printed
_REPR.maxstring = _REPR.maxother = 60


class Problem(NamedTuple):
    """What is wrong in a raw file, and what would be right. `line` is 1-based."""

    line: int
    reason: str


class Row(NamedTuple):
    """A row as it stands in the raw file: `sentence` is None exactly where there are `problems`.

    `line` is the 1-based number of the row's first line, `raw` the row's bytes (at most about `MAX_ROW_BYTES`).
    """

    line: int
    raw: bytes
    sentence: Sentence | None
    problems: list[Problem]


def file_problems(path: str) -> list[Problem]:
    """A byte order mark and CRLF line ends: wrong with the file rather than with a row, and lossless to read past.

    The readers read past both, so that it is for the caller to say whether they are tolerated.
    """
    problems = []
    first_crlf, crlf_lines = 0, 0
    for number, line in _lines(path):
        if number == 1 and line.startswith(codecs.BOM_UTF8):
            problems.append(Problem(1, "the file begins with a byte order mark; expected UTF-8 without one"))
        if line.endswith(b"\r\n"):
            first_crlf = first_crlf or number
            crlf_lines += 1
    if crlf_lines:
        reason = f"{crlf_lines} lines end with CRLF, the first of them here; expected LF (sed -i 's/\\r$//' FILE)"
        problems.append(Problem(first_crlf, reason))
    return problems


def read_cluener(path: str, labels: Collection[str], split: str) -> Iterator[Row]:
    """Read JSON lines ``{"id": optional, "text": ..., "label": {label: {surface: [[start, inclusive end], ...]}}}``.

    `labels` are the dataset's labels. A row without `id` is called ``{split}-{line}``. A file in which no row has the
    key `label` is unlabelled: its sentences have no entities. Blank lines are no rows; other keys are not read.
    """
    labelled = _is_labelled(path)
    first_lines: dict[str, int] = {}  # the lines of the ids that stand in the file
    names_of_lines = re.compile(re.escape(split) + "-([1-9][0-9]{0,15})")
    first_without_id = sys.maxsize
    for number, line in _lines(path):
        if not line.strip():
            continue
        reasons: list[str] = []
        sentence = None
        row = _parse_object(number, line, reasons)
        if row is not None:
            name = f"{split}-{number}"
            if "id" in row:
                name = _parse_id(row["id"], reasons)
                if name in first_lines:
                    reasons.append(f"duplicate id {_quote(name)}: line {first_lines[name]} has it too")
                elif (match := names_of_lines.fullmatch(name)) and first_without_id <= int(match[1]) < number:
                    reasons.append(f"id {_quote(name)} is what a row without an id is called after its line")
                first_lines.setdefault(name, number)
            else:
                first_without_id = min(first_without_id, number)
                if name in first_lines:
                    reasons.append(
                        f"missing key 'id': line {first_lines[name]} already has the one of this line, {name!r}"
                    )
            text = _parse_text(row, reasons)
            entities = _parse_labels(row, text, labels, reasons) if labelled else None
            if not reasons:
                sentence = Sentence(name, text, entities)
        yield Row(number, line, sentence, [Problem(number, reason) for reason in reasons])


def read_conll(path: str, labels: Collection[str], split: str, scheme: str) -> Iterator[Row]:
    """Read one character a line, a tab or spaces, its tag; a blank line (or ``-DOCSTART-``) ends a sentence.

    `scheme` is ``bio``, ``bmes`` or ``bioes``; `labels` are the dataset's labels. A sentence is called
    ``{split}-{line}`` by its first character's line.
    """
    for block in _sentences(path):
        problems: list[Problem] = []
        sentence = None
        characters: list[str] = []
        tags: list[tuple[int, str]] = []
        first = block[0][0]
        if sum(len(line) for _, line in block) > MAX_ROW_BYTES:
            problems.append(
                Problem(first, f"sentence of more than {MAX_ROW_BYTES} bytes; expected a blank line after each")
            )
        else:
            for number, line in block:
                text, reason = _decode(number, line)
                columns = _COLUMNS.fullmatch(text)
                if reason:
                    problems.append(Problem(number, reason))
                elif columns is None:
                    reason = f"expected one character, a tab or space, and a tag; found {_quote(text)}"
                    problems.append(Problem(number, reason))
                elif _UNUSABLE.match(columns[1]):
                    problems.append(Problem(number, f"unusable character {columns[1]!r}; remove it"))
                else:
                    characters.append(columns[1])
                    tags.append((number, columns[2]))
            # A line that could not be read hides a tag, so that its neighbours cannot be judged.
            spans = [] if problems else _spans(tags, scheme, labels, problems)
            text = "".join(characters)
            if not problems and not text.strip():
                problems.append(Problem(first, "empty text; expected a sentence"))
            if not problems:
                entities = sorted((start, end, label) for label, start, end in spans)
                sentence = Sentence(
                    f"{split}-{first}",
                    text,
                    tuple(Entity(label, text[start:end], start, end) for start, end, label in entities),
                )
        yield Row(first, b"".join(line for _, line in block), sentence, problems)


READERS: dict[str, Callable[[str, Collection[str], str], Iterator[Row]]] = {
    "cluener": read_cluener,
    **{f"conll-{scheme}": partial(read_conll, scheme=scheme) for scheme in _SCHEMES},
}
"""The reader of each raw format: ``READERS[format](path, labels, split)``."""


def _lines(path: str) -> Iterator[tuple[int, bytes]]:
    """Yield each line's 1-based number and its bytes with the line end; a line that is too long is cut."""
    with open(path, "rb") as stream:
        number = 0
        while line := stream.readline(MAX_ROW_BYTES + 1):
            number += 1
            yield number, line
            while line and not line.endswith(b"\n"):
                line = stream.readline(MAX_ROW_BYTES)


def _decode(number: int, line: bytes) -> tuple[str, str | None]:
    """The text of a line without its end and without a byte order mark, or "" and the reason why there is none."""
    if len(line) > MAX_ROW_BYTES and not line.endswith(b"\n"):
        return "", f"line of more than {MAX_ROW_BYTES} bytes; expected one sentence a line"
    content = line.removesuffix(b"\n").removesuffix(b"\r")
    if number == 1:
        content = content.removeprefix(codecs.BOM_UTF8)
    try:
        return content.decode(), None
    except UnicodeDecodeError as error:
        reason = f"not UTF-8: byte 0x{content[error.start]:02x} at byte {error.start + 1} of the line"
    try:
        content.decode("gb18030")
    except UnicodeDecodeError:
        return "", f"{reason}; expected UTF-8"
    return "", f"{reason}; it reads as GB18030 (iconv -f GB18030 -t UTF-8 FILE)"


def _quote(value: Any) -> str:
    """`value` as a message shows it: printable, and not longer than a message should be."""
    return _REPR.repr(value)


# CLUENER


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object of a JSON text. A key that stands twice would otherwise lose its first value without a word."""
    value = dict(pairs)
    if len(value) != len(pairs):
        keys = [key for key, _ in pairs]
        raise ValueError(f"key {_quote(next(key for key in keys if keys.count(key) > 1))} stands twice in one object")
    return value


_DECODER = json.JSONDecoder(object_pairs_hook=_unique_keys)


def _parse_object(number: int, line: bytes, reasons: list[str]) -> dict[str, Any] | None:
    text, reason = _decode(number, line)
    if reason:
        reasons.append(reason)
        return None
    try:
        row = _DECODER.decode(text)
    except json.JSONDecodeError as error:
        reasons.append(f"broken JSON at column {error.colno}: {error.msg}; expected one object a line")
    except (ValueError, RecursionError) as error:
        reasons.append(f"broken JSON: {error}")
    else:
        if isinstance(row, dict):
            return row
        reasons.append(f"expected a JSON object, found {_quote(row)}")
    return None


def _is_labelled(path: str) -> bool:
    """Whether any row has the key `label`. Reads no further than the first that has."""
    return any("label" in (_parse_object(number, line, []) or ()) for number, line in _lines(path))


def _parse_id(value: Any, reasons: list[str]) -> str:
    if isinstance(value, bool) or not isinstance(value, int | str) or value == "":
        reasons.append(f"id {_quote(value)}; expected a string or a whole number")
    elif isinstance(value, str) and (unusable := _UNUSABLE.search(value)):
        reasons.append(f"unusable character {unusable[0]!r} in id {_quote(value)}; remove it")
    return str(value)


def _parse_text(row: dict[str, Any], reasons: list[str]) -> str:
    if "text" not in row:
        reasons.append("missing key 'text'")
        return ""
    text = row["text"]
    if not isinstance(text, str):
        reasons.append(f"text {_quote(text)}; expected a string")
        return ""
    if not text.strip():
        reasons.append("empty text; expected a sentence")
    if unusable := _UNUSABLE.search(text):
        reasons.append(f"unusable character {unusable[0]!r} in text, at offset {unusable.start()}; remove it")
    return text


def _parse_labels(row: dict[str, Any], text: str, labels: Collection[str], reasons: list[str]) -> tuple[Entity, ...]:
    if "label" not in row:
        reasons.append("missing key 'label', which other rows have; expected {} where a sentence has no entities")
        return ()
    if not isinstance(row["label"], dict):
        reasons.append(f"label {_quote(row['label'])}; expected {{label: {{surface: [[start, end], ...]}}}}")
        return ()
    entities: dict[tuple[int, int, str], Entity] = {}
    for label, surfaces in row["label"].items():
        if label not in labels:
            reasons.append(f"unknown label {_quote(label)}; expected one of {', '.join(labels)}")
        if not isinstance(surfaces, dict):
            reasons.append(f"{_quote(label)}: {_quote(surfaces)}; expected {{surface: [[start, end], ...]}}")
            continue
        for surface, spans in surfaces.items():
            if not isinstance(spans, list) or not spans:
                reasons.append(f"{_quote(label)} {_quote(surface)}: {_quote(spans)}; expected [[start, end], ...]")
                continue
            for span in spans:
                reason = _span_reason(text, surface, span)
                if reason is None:
                    start, end = span[0], span[1] + 1
                    if (start, end, label) in entities:
                        reason = "stands twice; expected each mention once"
                    else:
                        entities[start, end, label] = Entity(label, surface, start, end)
                if reason:
                    reasons.append(f"{_quote(label)} {_quote(surface)} {_quote(span)}: {reason}")
    return tuple(entities[key] for key in sorted(entities))


def _span_reason(text: str, surface: str, span: Any) -> str | None:
    """What is wrong with a span, or None."""
    # type() rather than isinstance(): true is no offset.
    if not isinstance(span, list) or len(span) != 2 or type(span[0]) is not int or type(span[1]) is not int:
        return "expected [start, end], two whole numbers"
    if not text:
        return None  # the missing text is what is reported
    start, end = span
    if 0 <= start <= end < len(text):
        found = text[start : end + 1]
        if found == surface:
            return None
        reason = f"these offsets hold {_quote(found)}"
    else:
        reason = f"out of range, the text has the offsets 0 to {len(text) - 1}"
    place = text.find(surface) if surface else -1
    if place < 0:
        return f"{reason}; the surface is not in the text"
    return f"{reason}; the surface stands at [{place}, {place + len(surface) - 1}] (the end is inclusive)"


# CoNLL


def _sentences(path: str) -> Iterator[list[tuple[int, bytes]]]:
    """Yield the numbered lines of each sentence; of a sentence that is too long, enough to see that it is."""
    block: list[tuple[int, bytes]] = []
    size = 0
    for number, line in _lines(path):
        content = line.removeprefix(codecs.BOM_UTF8) if number == 1 else line
        if content.strip() and not content.startswith(b"-DOCSTART-"):
            if size <= MAX_ROW_BYTES:
                block.append((number, line))
            size += len(line)
        elif block:
            yield block
            block, size = [], 0
    if block:
        yield block


def _spans(
    tags: list[tuple[int, str]], scheme: str, labels: Collection[str], problems: list[Problem]
) -> list[tuple[str, int, int]]:
    """The (label, start, half-open end) that a sentence's numbered tags mark; what is illegal goes to `problems`."""
    begin, inside, last, single = _SCHEMES[scheme]
    spans = []
    label, start = None, 0  # of the mention that is open, if any
    previous = "the sentence's start"
    end_of_sentence = (tags[-1][0], "O")
    for position, (number, tag) in enumerate([*tags, end_of_sentence]):
        prefix, _, name = tag.partition("-")
        if tag != "O" and not (name and prefix in (begin, inside, last, single)):
            prefixes = ", ".join(f"{known}-LABEL" for known in _SCHEMES[scheme] if known)
            problems.append(Problem(number, f"tag {_quote(tag)} is not of the scheme {scheme}: O, {prefixes}"))
            prefix, name = "O", ""
        elif tag != "O" and name not in labels:
            problems.append(Problem(number, f"unknown label {_quote(name)}; expected one of {', '.join(labels)}"))
        if prefix in (inside, last):
            if name != label:
                problems.append(Problem(number, f"{tag} after {previous}; a mention begins with {begin}-{name}"))
                label, start = name, position
        elif label is not None:
            if last is None:
                spans.append((label, start, position))
            else:
                what = "the sentence's end" if position == len(tags) else tag
                problems.append(Problem(number, f"{what} after {previous}; a mention ends with {last}-{label}"))
            label = None
        if prefix == begin:
            label, start = name, position
        elif prefix == single:
            spans.append((name, position, position + 1))
        elif prefix == last and label is not None:
            spans.append((label, start, position + 1))
            label = None
        previous = tag
    return spans
