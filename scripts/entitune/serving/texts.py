"""Read the input of extract_entities.py: sentences, one per line, or documents, which are split into sentences."""

from __future__ import annotations

import csv
import io
import itertools
import json
import re
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from entitune.cli import InputError
from entitune.prompting.windows import SENTENCE_END

_END = re.compile(SENTENCE_END)


@dataclass(frozen=True)
class Document:
    """A text to extract from."""

    source: str | int
    """The name of its file, or its line number (from 1) if the file has several."""
    text: str
    whole: bool = False
    """Whether it is one sentence and must not be split."""

    def sentences(self) -> list[tuple[int, int]]:
        """Return the start and end of each sentence without surrounding white space. There is at least one."""
        if self.whole:
            return [(0, len(self.text))]
        bounds = [0, *(match.end() for match in _END.finditer(self.text)), len(self.text)]
        found = []
        for start, end in itertools.pairwise(bounds):
            part = self.text[start:end]
            if part.strip():
                start += len(part) - len(part.lstrip())
                found.append((start, start + len(part.strip())))
        return found or [(0, 0)]


def read_lines(path: Path | None) -> Iterator[Document]:
    """Yield the lines of a file, or of standard input, as sentences without line ends."""
    name = str(path or "standard input")
    with open(path if path else 0, "rb", closefd=path is not None) as stream:
        for number, line in enumerate(_lines(stream, name), 1):
            yield Document(number, line.rstrip("\r\n"), whole=True)


def read_files(paths: Sequence[Path]) -> Iterator[Document]:
    """Yield each file as a document."""
    for path in paths:
        with path.open("rb") as stream:
            yield Document(str(path), "".join(_lines(stream, str(path))))


def read_column(path: Path, column: str) -> Iterator[Document]:
    """Yield the values in a column of a table (.csv, .tsv), or of a key in JSON lines (.jsonl), as documents."""
    with path.open("rb") as stream:
        match path.suffix:
            case ".jsonl":
                yield from _read_json_lines(stream, str(path), column)
            case ".csv" | ".tsv":
                yield from _read_table(stream, str(path), column, "," if path.suffix == ".csv" else "\t")
            case _:
                raise InputError(f"{path}: --column needs a file that ends in .jsonl, .csv or .tsv")


def _read_json_lines(stream: BinaryIO, name: str, key: str) -> Iterator[Document]:
    for number, line in enumerate(_lines(stream, name), 1):
        if not line.strip():
            continue
        try:
            text = json.loads(line)[key]
            text.encode("utf-8")
        except KeyError:
            raise InputError(f"{name}:{number}: there is no key {key!r}") from None
        except (ValueError, TypeError, AttributeError) as error:
            raise InputError(f"{name}:{number}: expected a JSON object with a text as {key!r} ({error})") from error
        yield Document(number, text)


def _read_table(stream: BinaryIO, name: str, column: str, delimiter: str) -> Iterator[Document]:
    csv.field_size_limit(sys.maxsize)  # the default limit is too small for documents
    rows = csv.reader(_lines(stream, name), delimiter=delimiter, strict=True)
    number = 1
    try:
        header = next(rows, [])
        if header.count(column) != 1:
            found = ", ".join(header) or "none"
            raise InputError(f"{name}:1: expected one column {column!r}; the columns are: {found}")
        while True:
            number = rows.line_num + 1
            row = next(rows, None)
            if row is None:
                return
            if row and len(row) != len(header):
                raise InputError(f"{name}:{number}: {len(row)} fields, but the header has {len(header)}")
            if row:  # an empty line has no fields
                yield Document(number, row[header.index(column)])
    except csv.Error as error:
        raise InputError(f"{name}:{number}: {error}") from error


def _lines(stream: BinaryIO, name: str) -> Iterator[str]:
    """Yield the lines of a UTF-8 stream with their line ends, without a byte order mark."""
    text = io.TextIOWrapper(stream, encoding="utf-8-sig", errors="surrogateescape", newline="")
    for number, line in enumerate(text, 1):
        try:
            line.encode("utf-8")
        except UnicodeEncodeError:
            raise InputError(
                f"{name}:{number}: not UTF-8; convert it, for example with iconv -f GB18030 -t UTF-8"
            ) from None
        yield line
