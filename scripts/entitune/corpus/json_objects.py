"""Stream the JSON objects of a file, one per line or all in one array, with the line and the text of each.

This uses the standard library's decoder. ijson, a library for JSON streams, gives neither the line nor the text of an
object, and silently keeps only the last of two equal keys.
"""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, NamedTuple, TypeAlias

from entitune.cli import InputError
from entitune.corpus.rows import MAX_ROW_BYTES, Draft, Kind, Reading, quote
from entitune.corpus.sources import Source, decode, not_utf8, note_file, note_line_ends, read_lines, skip_inner_mark

Json: TypeAlias = dict[str, Any]
"""A JSON object."""

_SPACE = re.compile(r"[ \t\n\r]*")
_CHUNK_BYTES = 1 << 18


class JsonRow(NamedTuple):
    """An object of a file, or the problem with it.

    `number` is the number of the row in an array, or of the line in JSON lines, from 1.
    """

    number: int
    line: int
    raw: bytes
    value: Json | None
    kind: Kind = Kind.JSON
    reason: str = ""
    in_array: bool = False

    def draft(self, reading: Reading) -> Draft:
        """Begin the draft of the row, with the problem if there is no object."""
        draft = Draft(reading, self.line, self.raw, prefix=f"row {self.number}: " if self.in_array else "")
        if self.value is None:
            draft.problem(self.kind, self.reason)
        return draft


def read_objects(source: Source, reading: Reading | None = None) -> Iterator[JsonRow]:
    """Yield the objects of a file of JSON lines, without blank lines, or of one JSON array.

    Notes of the file, such as a byte order mark, go to `reading`. Raises InputError if the rest of an array cannot be
    read.
    """
    if reading:
        note_file(source.path, reading)
    if is_array(source.path):
        with source.path.open("rb") as stream:
            yield from _Array(stream, source.name).rows()
        return
    for number, line in read_lines(source.path):
        line = skip_inner_mark(line, number, reading)
        if not line.isspace():
            if reading:
                note_line_ends(line, number, reading)
            yield _parse_line(number, line)


def is_array(path: Path) -> bool:
    """Return whether a file is one JSON array of objects, by its first characters."""
    with path.open("rb") as stream:
        beginning = stream.read(_CHUNK_BYTES).removeprefix(codecs.BOM_UTF8)
    return re.match(rb"\s*\[\s*\{", beginning) is not None


def _unique_keys(pairs: list[tuple[str, Any]]) -> Json:
    """Make an object of its pairs. Raises ValueError if a key occurs twice: one value would be lost silently."""
    value = dict(pairs)
    if len(value) != len(pairs):
        keys = [key for key, _ in pairs]
        raise ValueError(f"key {quote(next(key for key in keys if keys.count(key) > 1))} occurs twice in one object")
    return value


_DECODER = json.JSONDecoder(object_pairs_hook=_unique_keys)
_PLAIN_DECODER = json.JSONDecoder()


def _parse_line(number: int, line: bytes) -> JsonRow:
    text, reason = decode(line)
    if reason:
        return JsonRow(number, number, line, None, Kind.SIZE if reason.startswith("line") else Kind.ENCODING, reason)
    try:
        value = _DECODER.decode(text)
    except json.JSONDecodeError as error:
        found = quote(text[error.pos : error.pos + 10])
        reason = f"broken JSON at column {error.colno}: {error.msg}, found {found}; expected one object per line"
        return JsonRow(number, number, line, None, reason=reason)
    except (ValueError, RecursionError) as error:
        return JsonRow(number, number, line, None, reason=f"broken JSON: {error}")
    return _row(number, number, line, value)


def _row(number: int, line: int, raw: bytes, value: Any, in_array: bool = False) -> JsonRow:
    if isinstance(value, dict):
        return JsonRow(number, line, raw, value, in_array=in_array)
    return JsonRow(number, line, raw, None, Kind.JSON, f"expected a JSON object, found {quote(value)}", in_array)


class _Array:
    """Decodes an array element by element. About two elements of the largest size fit in its buffer."""

    def __init__(self, stream: IO[bytes], name: str) -> None:
        self._stream = stream
        self._name = name
        self._decoder = codecs.getincrementaldecoder("utf-8-sig")()
        self._buffer = ""
        self._position = 0
        self._line = 1  # the line of the position
        self._at_end = False

    def rows(self) -> Iterator[JsonRow]:
        self._fill()
        self._skip_space()
        self._move(1)  # the opening bracket
        number = 0
        while True:
            self._skip_space()
            number += 1
            yield self._element(number)
            self._skip_space()
            separator = self._buffer[self._position : self._position + 1]
            if separator not in (",", "]") or not separator:
                raise self._broken("expected ',' or ']' after an object")
            self._move(1)
            if separator == "]":
                break
        self._skip_space()
        if self._position < len(self._buffer):
            raise self._broken("expected nothing after the array; one array, or one object per line")

    def _element(self, number: int) -> JsonRow:
        self._fill()
        start = self._position
        problem = None
        value: Any = None
        try:
            try:
                value, end = _DECODER.raw_decode(self._buffer, start)
            except json.JSONDecodeError:
                raise
            except ValueError as error:  # a key occurs twice; the end of the object is still needed
                problem = f"broken JSON: {error}"
                value, end = _PLAIN_DECODER.raw_decode(self._buffer, start)
        except json.JSONDecodeError as error:
            if (not self._at_end and error.pos > len(self._buffer) - 8) or "Unterminated" in error.msg:
                raise InputError(
                    f"{self._name}:{self._line}: row {number}: longer than {MAX_ROW_BYTES} characters, or not closed"
                ) from None
            self._move(error.pos - start)
            raise self._broken(error.msg) from None
        except (ValueError, RecursionError) as error:
            raise InputError(f"{self._name}:{self._line}: row {number}: broken JSON: {error}") from None
        line, raw = self._line, self._buffer[start:end].encode(errors="surrogatepass")
        self._move(end - start)
        if problem:
            return JsonRow(number, line, raw, None, Kind.JSON, problem, in_array=True)
        return _row(number, line, raw, value, in_array=True)

    def _broken(self, what: str) -> InputError:
        found = quote(self._buffer[self._position : self._position + 10])
        return InputError(f"{self._name}:{self._line}: broken JSON: {what}, found {found}; the rest cannot be read")

    def _move(self, count: int) -> None:
        self._line += self._buffer.count("\n", self._position, self._position + count)
        self._position += count

    def _skip_space(self) -> None:
        while True:
            found = _SPACE.match(self._buffer, self._position)
            assert found is not None, "the pattern also matches the empty text"
            self._move(len(found[0]))
            if self._position < len(self._buffer) or self._at_end:
                return
            self._fill()

    def _fill(self) -> None:
        """Read until the buffer holds an element of the largest size."""
        if self._at_end or len(self._buffer) - self._position > MAX_ROW_BYTES:
            return
        parts = [self._buffer[self._position :]]
        size = len(parts[0])
        while size <= 2 * MAX_ROW_BYTES and not self._at_end:
            chunk = self._stream.read(_CHUNK_BYTES)
            self._at_end = not chunk
            try:
                text = self._decoder.decode(chunk, final=self._at_end)
            except UnicodeDecodeError as error:
                lines = self._line + sum(part.count("\n") for part in parts) + error.object[: error.start].count(b"\n")
                raise InputError(
                    f"{self._name}:{lines}: {not_utf8(error.object, error).partition(' at ')[0]}; expected UTF-8"
                ) from None
            parts.append(text)
            size += len(text)
        self._buffer, self._position = "".join(parts), 0
