"""Boson: one text per line, in which mentions are marked as ``{{label:text}}``."""

from __future__ import annotations

import re
from collections.abc import Iterator

from entitune.corpus.rows import Draft, Kind, Reading, Row, quote
from entitune.corpus.sources import Source, decode, note_file, note_line_ends, read_lines

MARK = re.compile(r"\{\{([^{}:\s]+):([^{}]+)\}\}")


def read_boson(source: Source, reading: Reading) -> Iterator[Row]:
    """Read a raw split. The id of a sentence is SPLIT-LINE."""
    note_file(source.path, reading)
    for number, line in read_lines(source.path):
        if line.isspace():
            continue
        draft = Draft(reading, number, line)
        content, reason = decode(line)
        if reason:
            draft.problem(Kind.SIZE if reason.startswith("line") else Kind.ENCODING, reason)
        else:
            note_line_ends(line, number, reading)
            _read_line(content, draft)
        yield draft.finish(f"{reading.split}-{number}")


def _read_line(content: str, draft: Draft) -> None:
    pieces = []
    mentions = []
    length, end = 0, 0
    for mark in MARK.finditer(content):
        pieces += [content[end : mark.start()], mark[2]]
        start = length + mark.start() - end
        length, end = start + len(mark[2]), mark.end()
        mentions.append((mark[1], start, length))
    pieces.append(content[end:])
    text = "".join(pieces)
    draft.set_text(text)
    for brackets in ("{{", "}}"):
        place = text.find(brackets)
        if place >= 0:
            found = quote(text[place : place + 20])
            draft.problem(Kind.MARKS, f"{brackets} that marks no mention: {found}; expected {{{{label:text}}}}")
    for label, first, last in mentions:
        draft.add(draft.label(label), first, last)
