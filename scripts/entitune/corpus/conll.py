"""CoNLL: a token per line, with its tag in another column; a blank line (or ``-DOCSTART-``) ends a sentence.

Columns are separated by tabs, or by spaces where a line has no tab. The first column is the token and the last one the
tag, unless `columns` gives other columns. A token may be any text, including a space or U+3000. The text of a sentence
is its tokens joined. Before a sentence, a line that begins with ``# `` is a comment, unless it has as many columns as
the tokens' lines.
"""

from __future__ import annotations

import itertools
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from entitune.cli import InputError
from entitune.corpus.options import Columns, Scheme
from entitune.corpus.rows import MAX_ROW_BYTES, Draft, Kind, Reading, Row, quote
from entitune.corpus.sources import Source, decode, note_file, note_line_ends, read_lines, skip_inner_mark
from entitune.corpus.tags import read_tags

_SAMPLE = 200
"""How many sentences are read to find the number of columns."""

# A line of two columns. The token has no spaces, or it is a single character, which may be a space or a tab.
_TWO_COLUMNS = re.compile(r"^([^ \t\n]+|.)[ \t]+([^ \t\n]+)[ \t]*$", re.MULTILINE)
_COMMENT = re.compile(r"#(?:[ \t]|begin document|end document)")


class Layout(NamedTuple):
    """The columns of a file: their number, and the positions of the token and the tag."""

    columns: int
    token: int
    tag: int
    numbered: bool
    """Each token ends with its position in its word, as in Weibo NER: 王0 明1."""


class Block(NamedTuple):
    """The lines of a sentence, and the number of the first one. A sentence that is too long is cut off."""

    first: int
    lines: list[bytes]


def read_conll(source: Source, reading: Reading, scheme: Scheme) -> Iterator[Row]:
    """Read a raw split. The id of a sentence is SPLIT-LINE, with the line of its first token."""
    note_file(source.path, reading)
    layout = find_layout(source, reading.options.columns)
    for block in _blocks(source, layout, reading):
        if block.lines[0][3:4] not in b"\t ":  # otherwise the mark is a token
            block.lines[0] = skip_inner_mark(block.lines[0], block.first, reading)
        raw = b"".join(block.lines)
        draft = Draft(reading, block.first, raw)
        columns = _read_columns(block, raw, layout, draft)
        if layout.numbered and columns:
            columns = _drop_positions(columns, block, draft, reading)
        if columns:
            note_line_ends(raw, block.first, reading)
            tokens, tags = zip(*columns, strict=True)
            read_tagged(tokens, tags, scheme, draft, reading, block.first)
        yield draft.finish(f"{reading.split}-{block.first}")


def read_tagged(
    tokens: Sequence[str], tags: Sequence[str], scheme: Scheme, draft: Draft, reading: Reading, first: int = 0
) -> None:
    """Add the text and the mentions of tagged tokens to `draft`.

    `first` is the line of the first token if each token has its own line. Without it, messages count tokens from 1.
    """
    separator = " " if reading.options.spaces else ""
    text = separator.join(tokens)
    offsets: Sequence[int] = range(len(text) + 1)
    if len(tokens) != len(text) or separator:
        offsets = [0, *itertools.accumulate(len(token) + len(separator) for token in tokens)]

    def where(offset: int) -> tuple[str, int]:
        token = next(index for index in range(len(tokens)) if offset < offsets[index + 1])
        return ("", first + token) if first else (f" in token {token + 1}", 0)

    draft.set_text(text, where)
    marked = read_tags(tags, scheme, reading.options.repair_iob1)
    for token, kind, reason in marked.problems:
        if first:
            draft.problem(kind, reason, first + token)
        else:
            draft.problem(kind, f"token {token + 1}: {reason}")
    if marked.repaired:
        reading.note("I- tags that continued no mention were read as B-, as in IOB1", draft.line, marked.repaired)
    for start, end, label in marked.spans:
        line = first + start if first else 0
        draft.add(draft.label(label, line), offsets[start], offsets[end] - len(separator), line)


def find_layout(source: Source, columns: Columns | None) -> Layout:
    """Find the columns from the first sentences. Raises InputError if a column of `columns` does not exist."""
    token = int(columns.token) if columns and columns.token is not None else 0
    tag = int(columns.tag) if columns and columns.tag is not None else -1
    sentences: list[list[list[str]]] = []
    for block in itertools.islice(_raw_blocks(source), _SAMPLE):
        lines = (decode(line) for line in block.lines)
        sentences.append([split_columns(text) for text, reason in lines if not reason and not _COMMENT.match(text)])
    sizes = Counter(len(fields) for fields in itertools.chain.from_iterable(sentences))
    count = max(2, max(sizes, key=lambda size: (sizes[size], -size), default=2))
    for key, column in (("token", token), ("tag", tag)):
        if not -count <= column < count:
            raise InputError(f"{source.name}: there is no column {column} (columns: {key}); the lines have {count}")
    tokens = [[fields[token] for fields in sentence if len(fields) == count] for sentence in sentences]
    numbered = any(tokens) and all(_positions(sentence) is not None for sentence in tokens)
    return Layout(count, token % count, tag % count, numbered)


def is_token_line(line: str) -> bool:
    """Return whether a line may hold a token: it is neither blank nor a comment nor the start of a document."""
    return bool(line.strip(" \t\r")) and not line.startswith("-DOCSTART-") and not _COMMENT.match(line)


def split_columns(line: str) -> list[str]:
    """Split a line into columns at its tabs, or at its spaces if it has no tab. A token may be a space or a tab."""
    found = _TWO_COLUMNS.fullmatch(line)
    if found:
        return [found[1], found[2]]
    if "\t" in line:
        return [field.strip(" ") or field[:1] for field in line.rstrip(" \t").split("\t") if field]
    fields = [field for field in line.split(" ") if field]
    return [" ", *fields] if line.startswith(" ") else fields


def _raw_blocks(source: Source) -> Iterator[Block]:
    lines: list[bytes] = []
    first, size = 0, 0
    for number, line in read_lines(source.path):
        if line.isspace() or line.startswith(b"-DOCSTART-"):
            if lines:
                yield Block(first, lines)
            lines, size = [], 0
        else:
            if not lines:
                first = number
            if size <= MAX_ROW_BYTES:
                lines.append(line)
            size += len(line)
    if lines:
        yield Block(first, lines)


def _blocks(source: Source, layout: Layout, reading: Reading) -> Iterator[Block]:
    """Yield the sentences without the comments before them."""
    for first, lines in _raw_blocks(source):
        comments = 0
        while comments < len(lines) and lines[comments].startswith(b"#") and _is_comment(lines[comments], layout):
            comments += 1
        if comments:
            reading.note("comment lines (# ...) were skipped", first, comments)
        if comments < len(lines):
            yield Block(first + comments, lines[comments:])


def _is_comment(line: bytes, layout: Layout) -> bool:
    text = line.decode(errors="replace").rstrip("\r\n")
    return _COMMENT.match(text) is not None and len(split_columns(text)) != layout.columns


def _read_columns(block: Block, raw: bytes, layout: Layout, draft: Draft) -> list[tuple[str, str]]:
    """Return the (token, tag) of each line of a sentence. A line without them is a problem of the draft."""
    if len(raw) > MAX_ROW_BYTES:
        draft.problem(Kind.SIZE, f"sentence of more than {MAX_ROW_BYTES} bytes; expected a blank line after each")
        return []
    if layout.columns == 2 and layout.token == 0 and layout.tag == 1:
        # Reading all lines at once is several times faster. Only unusual lines are read one by one.
        try:
            columns: list[tuple[str, str]] = _TWO_COLUMNS.findall(raw.decode().replace("\r\n", "\n"))
        except UnicodeDecodeError:
            columns = []
        if len(columns) == len(block.lines):
            return columns
    columns = []
    for number, line in enumerate(block.lines, block.first):
        text, reason = decode(line)
        if reason:
            draft.problem(Kind.ENCODING, reason, number)
            continue
        fields = split_columns(text)
        if len(fields) == layout.columns:
            columns.append((fields[layout.token], fields[layout.tag]))
        elif len(fields) < 2:
            draft.problem(Kind.COLUMNS, f"expected a token, a tab or space, and a tag; found {quote(text)}", number)
        else:
            reason = f"{len(fields)} columns, but other lines have {layout.columns}; found {quote(text)}"
            draft.problem(Kind.COLUMNS, reason, number)
    return [] if draft.problems else columns


def _positions(tokens: Sequence[str]) -> list[str] | None:
    """Remove the positions in words from tokens: 王0 明1 来0 -> 王 明 来. Return None if a token has none."""
    bare = []
    position = -1
    for token in tokens:
        following = str(position + 1)
        if token.endswith(following) and len(token) > len(following):
            position += 1
        elif token.endswith("0") and len(token) > 1:
            following, position = "0", 0
        else:
            return None
        bare.append(token[: -len(following)])
    return bare


def _drop_positions(
    columns: list[tuple[str, str]], block: Block, draft: Draft, reading: Reading
) -> list[tuple[str, str]]:
    bare = _positions([token for token, _ in columns])
    if bare is None:
        draft.problem(
            Kind.COLUMNS, "a token without its position in its word; tokens of other sentences have one (王0 明1)"
        )
        return []
    reading.note("digits after tokens (positions in words, as in Weibo NER) were removed", block.first, len(columns))
    return [(token, tag) for token, (_, tag) in zip(bare, columns, strict=True)]
