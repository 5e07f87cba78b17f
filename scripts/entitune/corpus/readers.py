"""Readers of raw splits: CLUENER JSON lines and one-character-a-line CoNLL, streamed and validated row by row.

A row is a line of a CLUENER file or a sentence of a CoNLL file. A reader yields every row in the file's order, each
either with its sentence or with everything that is wrong with it, and never raises for what a file contains.
Files are cut at ``\\n`` only: U+2028 and its like are characters of the text.
"""

from __future__ import annotations

import codecs
import contextlib
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

# A line of a CoNLL file: any one character, a space or a tab too, and its tag.
_COLUMNS = re.compile(r"^(.)[ \t]+([^ \t\n]+)[ \t]*$", re.MULTILINE)

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
    lines, crlf_lines, first_crlf = 0, 0, 0
    with open(path, "rb") as stream:
        if stream.read(3) == codecs.BOM_UTF8:
            problems.append(Problem(1, "the file begins with a byte order mark; expected UTF-8 without one"))
        stream.seek(0)
        # Whole lines, so that no CRLF is cut in two.
        while chunk := stream.read(MAX_ROW_BYTES) + stream.readline(MAX_ROW_BYTES):
            if not crlf_lines and (place := chunk.find(b"\r\n")) >= 0:
                first_crlf = lines + chunk.count(b"\n", 0, place) + 1
            crlf_lines += chunk.count(b"\r\n")
            lines += chunk.count(b"\n")
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
        row = _parse_object(line, reasons)
        if row is not None:
            name = f"{split}-{number}"
            if "id" not in row:
                first_without_id = min(first_without_id, number)
                if name in first_lines:
                    reasons.append(f"missing key 'id': line {first_lines[name]} already has {name!r}, this line's own")
            elif (given := _parse_id(row["id"], reasons)) is not None:
                name = given
                if name in first_lines:
                    reasons.append(f"duplicate id {_quote(name)}: line {first_lines[name]} has it too")
                elif (match := names_of_lines.fullmatch(name)) and first_without_id <= int(match[1]) < number:
                    reasons.append(f"id {_quote(name)} is what a row without an id is called after its line")
                first_lines.setdefault(name, number)
            text = _parse_text(row, reasons)
            entities = _parse_labels(row, text, labels, reasons) if labelled or "label" in row else None
            if not reasons:
                sentence = Sentence(name, text, entities)
        yield Row(number, line, sentence, [Problem(number, reason) for reason in reasons])


def read_conll(path: str, labels: Collection[str], split: str, scheme: str) -> Iterator[Row]:
    """Read one character a line, a tab or spaces, its tag; a blank line (or ``-DOCSTART-``) ends a sentence.

    `scheme` is ``bio``, ``bmes`` or ``bioes``; `labels` are the dataset's labels. A sentence is called
    ``{split}-{line}`` by its first character's line.
    """
    for first, lines in _sentences(path):
        problems: list[Problem] = []
        sentence = None
        raw = b"".join(lines)
        columns = _parse_columns(first, lines, raw, problems)
        if not problems:
            text = "".join(character for character, _ in columns)
            for unusable in _UNUSABLE.finditer(text):
                problems.append(Problem(first + unusable.start(), f"unusable character {unusable[0]!r}; remove it"))
            if not text.strip():
                problems.append(Problem(first, "empty text; expected a sentence"))
            spans = _parse_tags(first, [tag for _, tag in columns], scheme, labels, problems)
            if not problems:
                entities = (Entity(label, text[start:end], start, end) for start, end, label in spans)
                sentence = Sentence(f"{split}-{first}", text, tuple(entities))
        yield Row(first, raw, sentence, problems)


READERS: dict[str, Callable[[str, Collection[str], str], Iterator[Row]]] = {
    "cluener": read_cluener,
    **{f"conll-{scheme}": partial(read_conll, scheme=scheme) for scheme in _SCHEMES},
}
"""The reader of each raw format: ``READERS[format](path, labels, split)``."""


def _lines(path: str) -> Iterator[tuple[int, bytes]]:
    """Yield each line's 1-based number and its bytes with the line end, without a byte order mark.

    Of a line that is too long, the beginning.
    """
    with open(path, "rb") as stream:
        if stream.read(3) != codecs.BOM_UTF8:
            stream.seek(0)
        for number, line in enumerate(iter(partial(stream.readline, MAX_ROW_BYTES + 1), b""), 1):
            yield number, line
            if len(line) > MAX_ROW_BYTES:
                rest = line
                while rest and not rest.endswith(b"\n"):
                    rest = stream.readline(MAX_ROW_BYTES)


def _decode(line: bytes) -> tuple[str, str | None]:
    """The text of a line without its end, or "" and the reason why there is none."""
    if len(line) > MAX_ROW_BYTES and not line.endswith(b"\n"):
        return "", f"line of more than {MAX_ROW_BYTES} bytes; expected one sentence a line"
    content = line[:-2] if line.endswith(b"\r\n") else line.removesuffix(b"\n")
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


def _parse_object(line: bytes, reasons: list[str]) -> dict[str, Any] | None:
    text, reason = _decode(line)
    if reason:
        reasons.append(reason)
        return None
    try:
        row = _DECODER.decode(text)
    except json.JSONDecodeError as error:
        found = _quote(text[error.pos : error.pos + 10])
        reasons.append(f"broken JSON at column {error.colno}: {error.msg}, found {found}; expected one object a line")
    except (ValueError, RecursionError) as error:
        reasons.append(f"broken JSON: {error}")
    else:
        if isinstance(row, dict):
            return row
        reasons.append(f"expected a JSON object, found {_quote(row)}")
    return None


def _is_labelled(path: str) -> bool:
    """Whether any row has the key `label`. Reads no further than the first that has."""
    return any("label" in (_parse_object(line, []) or ()) for _, line in _lines(path))


def _parse_id(value: Any, reasons: list[str]) -> str | None:
    if isinstance(value, bool) or not isinstance(value, int | str) or value == "":
        reasons.append(f"id {_quote(value)}; expected a string or a whole number")
        return None
    if isinstance(value, str) and (unusable := _UNUSABLE.search(value)):
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


def _sentences(path: str) -> Iterator[tuple[int, list[bytes]]]:
    """Yield each sentence's first line number and lines; of one that is too long, enough to see that it is."""
    block: list[bytes] = []
    first, size = 0, 0
    for number, line in _lines(path):
        if line.isspace() or line.startswith(b"-DOCSTART-"):
            if block:
                yield first, block
            block, size = [], 0
        else:
            if not block:
                first = number
            if size <= MAX_ROW_BYTES:
                block.append(line)
            size += len(line)
    if block:
        yield first, block


def _parse_columns(first: int, lines: list[bytes], raw: bytes, problems: list[Problem]) -> list[tuple[str, str]]:
    """The (character, tag) of each line of a sentence; lines that have none go to `problems`."""
    if len(raw) > MAX_ROW_BYTES:
        problems.append(
            Problem(first, f"sentence of more than {MAX_ROW_BYTES} bytes; expected a blank line after each")
        )
        return []
    # All lines at once, which is several times faster; one by one only to tell which of them is wrong.
    with contextlib.suppress(UnicodeDecodeError):
        columns: list[tuple[str, str]] = _COLUMNS.findall(raw.decode().replace("\r\n", "\n"))
        if len(columns) == len(lines):
            return columns
    for number, line in enumerate(lines, first):
        text, reason = _decode(line)
        if reason is None and not _COLUMNS.fullmatch(text):
            reason = f"expected one character, a tab or space, and a tag; found {_quote(text)}"
        if reason:
            problems.append(Problem(number, reason))
    return []


def _parse_tags(
    first: int, tags: list[str], scheme: str, labels: Collection[str], problems: list[Problem]
) -> list[tuple[int, int, str]]:
    """The (start, half-open end, label) that a sentence's tags mark, in order; what is illegal goes to `problems`.

    `first` is the line of the first tag.
    """
    begin, inside, last, single = _SCHEMES[scheme]
    spans = []
    label, start = None, 0  # of the mention that is open, if any
    for position, tag in enumerate([*tags, "O"]):
        if tag == "O" and label is None:
            continue
        line = first + min(position, len(tags) - 1)
        prefix, _, name = tag.partition("-")
        if tag != "O" and not (name and prefix in (begin, inside, last, single)):
            prefixes = ", ".join(f"{known}-LABEL" for known in _SCHEMES[scheme] if known)
            problems.append(Problem(line, f"tag {_quote(tag)}; the scheme {scheme} has O, {prefixes}"))
            prefix = "O"
        elif tag != "O" and name not in labels:
            problems.append(Problem(line, f"unknown label {_quote(name)}; expected one of {', '.join(labels)}"))
        if prefix in (inside, last):
            if name != label:
                after = f"after {_quote(tags[position - 1])}" if position else "at a sentence's start"
                problems.append(Problem(line, f"tag {_quote(tag)} {after}; a mention begins with {begin}-{name}"))
                label, start = name, position
        elif label is not None:
            if last is None:
                spans.append((start, position, label))
            else:
                what = "the sentence ends" if position == len(tags) else f"tag {_quote(tag)}"
                reason = f"{what} after {_quote(tags[position - 1])}; a mention ends with {last}-{label}"
                problems.append(Problem(line, reason))
            label = None
        if prefix == begin:
            label, start = name, position
        elif prefix == single:
            spans.append((position, position + 1, name))
        elif prefix == last and label is not None:
            spans.append((start, position + 1, label))
            label = None
    return spans
