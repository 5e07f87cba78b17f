"""brat: a folder or archive of documents, each a ``.txt`` and an ``.ann`` file of the same name.

Each line of a document is a sentence with the id DOCUMENT-LINE. Text-bound annotations
(``T1<tab>Label start end<tab>text``) are mentions. Relations, events, attributes and notes are not read.
"""

from __future__ import annotations

import bisect
import io
import re
from collections.abc import Iterator

from entitune.cli import InputError
from entitune.corpus.rows import Draft, Kind, Problem, Reading, Row, offsets_problem, quote
from entitune.corpus.sources import Member, Source, encoding_of, not_utf8, note_line_ends, open_members

MAX_DOCUMENT_BYTES = 16 << 20
"""The largest document: each one is read into memory."""

_MENTION = re.compile(r"T\S*\t(\S+) (\d+ \d+(?:;\d+ \d+)*)\t?(.*)")


def read_brat(source: Source, reading: Reading) -> Iterator[Row]:
    """Read the documents in order. A split without any ``.ann`` file is unlabelled."""
    with open_members(source) as members:
        documents = {member.name.removesuffix(".txt"): member for member in members if member.name.endswith(".txt")}
        annotations = {member.name.removesuffix(".ann"): member for member in members if member.name.endswith(".ann")}
        if not documents:
            raise InputError(f"{source.name}: no .txt file; expected documents with a .txt and an .ann file each")
        if alone := [name for name in annotations if name not in documents]:
            raise InputError(f"{source.name}/{alone[0]}.ann: there is no {alone[0]}.txt")
        for name, member in documents.items():
            yield from _read_document(name, member, annotations.get(name), bool(annotations), source, reading)


def _read_document(
    name: str, member: Member, annotation: Member | None, labelled: bool, source: Source, reading: Reading
) -> Iterator[Row]:
    file = f"{source.name}/{member.name}"
    with member.open() as stream:
        content = stream.read(MAX_DOCUMENT_BYTES + 1)
    text, problem = _decode(content, file)
    if len(content) > MAX_DOCUMENT_BYTES:
        problem = Problem(1, f"document of more than {MAX_DOCUMENT_BYTES} bytes", Kind.SIZE, file)
    if problem:
        yield Row(problem.line, content[:1000], None, [problem])
        return
    lines = _lines(text) or {1: (0, 0)}  # an empty document may still have annotations
    drafts = []
    for number, (start, end) in lines.items():
        note_line_ends(text[start : end + 2].encode(), number, reading, file)
        draft = Draft(reading, number, text[start:end].encode(), file)
        draft.set_text(text[start:end])
        drafts.append(draft)
    if labelled and annotation is None:
        for draft in drafts:
            draft.problem(Kind.KEY, f"there is no {name}.ann, and other documents have one")
    elif annotation is not None:
        _read_annotation(annotation, f"{source.name}/{annotation.name}", text, lines, drafts, reading)
    for draft in drafts:
        yield draft.finish(f"{name}-{draft.line}", labelled)


def _decode(content: bytes, file: str) -> tuple[str, Problem | None]:
    """Decode a file and keep its line ends. Return (text, None), or ("", problem) if it is not UTF-8."""
    try:
        return content.decode(), None
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        encoding = encoding_of(io.BytesIO(content))
        reason = f"{not_utf8(content, error).partition(' at ')[0]}; expected UTF-8"
        reason = f"the file is {encoding}" if encoding else reason
        return "", Problem(line, reason, Kind.ENCODING, file)


def _lines(text: str) -> dict[int, tuple[int, int]]:
    """Return the lines of a document that are not blank: number -> start and end of its text.

    Annotation offsets count every character of the file: a CRLF counts as two, a byte order mark as one.
    """
    lines = {}
    start = 0
    for number, line in enumerate(text.split("\n"), 1):
        mark = number == 1 and line.startswith("\ufeff")
        if line.strip("\ufeff \t\r"):
            lines[number] = start + mark, start + len(line.removesuffix("\r"))
        start += len(line) + 1
    return lines


def _read_annotation(
    annotation: Member, file: str, text: str, lines: dict[int, tuple[int, int]], drafts: list[Draft], reading: Reading
) -> None:
    """Add the mentions of a document to the drafts of its lines, and each problem to all lines that it concerns."""
    with annotation.open() as stream:
        content, problem = _decode(stream.read(MAX_DOCUMENT_BYTES), file)
    if problem:
        for draft in drafts:
            draft.problem(problem.kind, problem.reason, problem.line, file)
        return
    firsts, lasts = [first for first, _ in lines.values()], [last for _, last in lines.values()]
    for number, line in enumerate(content.removeprefix("\ufeff").split("\n"), 1):
        line = line.removesuffix("\r")
        if not line.startswith("T"):
            if line.strip():
                reading.note("relations, events, attributes and notes were not read", number, file=file)
            continue
        match = _MENTION.fullmatch(line)
        if not match:
            for draft in drafts:
                draft.problem(
                    Kind.VALUE, f"{quote(line)}; expected T1, a tab, LABEL START END, a tab, TEXT", number, file
                )
            continue
        label, spans, surface = match[1], re.split("[ ;]", match[2]), match[3]
        start, end = int(spans[0]), int(spans[-1])
        touched = drafts[bisect.bisect_right(lasts, start) : bisect.bisect_left(firsts, end)]
        reason = offsets_problem(text, start, end, None, inclusive=False)
        if len(spans) > 2:
            kind, reason = Kind.DISCONTINUOUS, f"{quote(surface)} has {len(spans) // 2} parts; expected one"
        elif reason is None and len(touched) == 1:
            place = lines[touched[0].line]
            if place[0] <= start and end <= place[1]:
                kind = Kind.OFFSETS
                reason = offsets_problem(text, start, end, surface or None, inclusive=False)
            else:
                kind, reason = Kind.ACROSS_LINES, _across(surface)
        else:
            kind = Kind.OFFSETS if reason else Kind.ACROSS_LINES
            reason = reason or _across(surface)
        if reason:
            for draft in touched or drafts:
                draft.problem(kind, f"{label} [{start}, {end}]: {reason}", number, file)
        else:
            first = lines[touched[0].line][0]
            touched[0].add(touched[0].label(label, number), start - first, end - first, number)


def _across(surface: str) -> str:
    return f"{quote(surface)} is not within one line; each line is a sentence"
