"""Kinds of files that no reader takes: how they are recognised, and a command that converts them.

A command writes JSON lines, CoNLL or Boson's marks, which the readers check. Its Python code has no single quotes, so
that a shell takes it as it is.
"""

from __future__ import annotations

import ast
import csv
import json
import re
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

from pydantic import JsonValue

from entitune.corpus.huggingface import is_parquet, read_parquet_head
from entitune.corpus.json_objects import Json, is_array
from entitune.corpus.parallel import looks_like_tags
from entitune.corpus.recognise import (
    ANNOTATION_KEYS,
    LABEL_KEY,
    SAMPLE,
    TAG,
    are_tokens_of,
    flow,
    leaves_of,
    mostly,
    sample_lines,
    sample_rows,
    texts_and_lists,
)
from entitune.corpus.rows import MAX_ROW_BYTES, quote
from entitune.corpus.sources import Source, decode, first_line, is_folder, open_members, read_lines

_LARGEST = 16 << 20
"""The largest file, in bytes, that is read completely to describe it."""

_OFFICE = "an Office document: save its table as CSV in UTF-8"

_BEGINNINGS: dict[bytes, str] = {
    b"\x1f\x8b": "a file compressed with gzip: unpack it with gunzip",
    b"BZh": "a file compressed with bzip2: unpack it with bunzip2",
    b"\xfd7zXZ": "a file compressed with xz: unpack it with unxz",
    b"Rar!": "a RAR archive: unpack it",
    b"7z\xbc\xaf": "a 7z archive: unpack it",
    b"\xd0\xcf\x11\xe0": _OFFICE,
    b"%PDF": "a PDF document: write its sentences in one of the formats",
    b"SQLite format 3": "an SQLite database: export its rows as JSON lines",
    b"\x80\x03": "a Python pickle: write its rows as JSON lines",
    b"\x80\x04": "a Python pickle: write its rows as JSON lines",
    b"\x80\x05": "a Python pickle: write its rows as JSON lines",
    b"\xff\xff\xff\xff": "an Arrow file: write its rows as parquet, with to_parquet of the library datasets",
    b"version https://git-lfs": "a Git LFS pointer in place of the file: run git lfs pull",
    b"<!doctype html": "an HTML page, perhaps of an error, in place of the file: download it again",
    b"<html": "an HTML page, perhaps of an error, in place of the file: download it again",
    b"<?xml": "an XML document: write its sentences in one of the formats",
    b"#format=webanno": "WebAnno's TSV: export the project as CoNLL 2002",
    b"#begin document": "CoNLL-2012, which has mentions in brackets: write a BIO tag per token",
}
"""The first bytes of a file, with small letters -> what it is, and what to do."""

_UNPACK = "unpack it, and give one of its files for each split"
_NO_OFFSETS = "without offsets of mentions: use the annotated corpus that they were made from"
_TOKENS = (
    '(lambda t: {{"text": "".join(t), "label": [[len("".join(t[:s])), len("".join(t[:e])), l] for s, e, l in {}]}})({})'
)


class _Rows(NamedTuple):
    """A kind of JSON rows: what it is, the keys of each row, and a Python expression that makes a new row of `r`."""

    about: str
    keys: frozenset[str]
    new_row: str = ""


_JSON_ROWS = (
    _Rows(f"chats {_NO_OFFSETS}", frozenset({"messages"})),
    _Rows(f"chats {_NO_OFFSETS}", frozenset({"conversations"})),
    _Rows(f"instructions and answers {_NO_OFFSETS}", frozenset({"instruction", "output"})),
    _Rows("UIE's rows, one per label: use the corpus that they were made from", frozenset({"prompt", "result_list"})),
    _Rows("MRC-NER's rows, one per label: use the corpus that they were made from", frozenset({"context", "query"})),
    _Rows(f"relations {_NO_OFFSETS}", frozenset({"spo_list"})),
    _Rows(f"relations {_NO_OFFSETS}", frozenset({"triple_list"})),
    _Rows("DyGIE's documents, whose offsets count tokens: write a row per sentence", frozenset({"sentences", "ner"})),
    _Rows(
        "GLiNER's rows, whose offsets count tokens",
        frozenset({"tokenized_text", "ner"}),
        _TOKENS.format('((s, e + 1, l) for s, e, l in r["ner"])', 'r["tokenized_text"]'),
    ),
    _Rows(
        "SpERT's rows, whose offsets count tokens",
        frozenset({"tokens", "entities"}),
        _TOKENS.format('((m["start"], m["end"], m["type"]) for m in r["entities"])', 'r["tokens"]'),
    ),
    _Rows(
        "W2NER's rows, whose mentions are lists of tokens (a discontinuous mention becomes continuous)",
        frozenset({"sentence", "ner"}),
        _TOKENS.format('((m["index"][0], m["index"][-1] + 1, m["type"]) for m in r["ner"])', 'r["sentence"]'),
    ),
    _Rows(
        "Jingling's rows (精灵标注助手)",
        frozenset({"content", "outputs"}),
        '{"text": r["content"], "label": [[m["start"], m["end"], m["name"]] '
        'for m in r["outputs"]["annotation"]["T"] if m]}',
    ),
)


_IO_TAGS = "tags without B- and I- (read the result with repair_iob1: true: each run of a label becomes one mention)"


class _Lines(NamedTuple):
    """A kind of text lines.

    Almost all lines match `line`, and one has `sign`. `new` is a Python expression that replaces each match `m` of
    `old`.
    """

    about: str
    line: str
    sign: str
    old: str
    new: str


_MARK = '"{{" + m[%d] + ":" + m[%d] + "}}"'
_ELEMENT = r"<([A-Za-z]\w*)>([^<>]+)</\1>"
_TEXT_LINES = (
    _Lines(
        "tags of BILOU", r".*\s(O|[BILU]-\S+)", r"\s[LU]-", r"(\s)([LU])-(?=\S+$)", 'm[1] + "SE"[m[2] == "L"] + "-"'
    ),
    _Lines("tags of BMEWO", r".*\s(O|[BMEW]-\S+)", r"\sW-", r"(\s)W-(?=\S+$)", 'm[1] + "S-"'),
    _Lines("tags with _ in place of -", r".*\s(O|[BIMES]_\S+)", r"\sB_", r"(\s[BIMES])_(?=\S+$)", 'm[1] + "-"'),
    _Lines("tags that end with B, I", r".*\s(O|\S+-[BIMES])", r"-B$", r"(\S+)-([BIMES])$", 'm[2] + "-" + m[1]'),
    _Lines(
        "tags in small letters", r".*\s(o|[bimes]-\S+)", r"\sb-", r"(\s)([obimes])(?=$|-\S+$)", "m[1] + m[2].upper()"
    ),
    _Lines("tags with 0 in place of O", r".*\s(0|[BIMES]-\S+)", r"\s0$", r"(\s)0$", 'm[1] + "O"'),
    _Lines("tags after a comma", r"(,|[^,]*),(O|[BIMES]-\S+)", r",B-", r",(?=[^,]*$)", r'"\t"'),
    _Lines("tokens without the tag O", r"\S+[ \t]*([BIMES]-\S+)?", r"\sB-\S+$", r"^(\S+)[ \t]*$", r'm[1] + "\tO"'),
    _Lines(
        _IO_TAGS,
        r"\S\s(O|[^\s\d]\S+)",
        r"\sO$",
        r"(\s)(?!O$)(\S+)$",
        'm[1] + "I-" + m[2]',
    ),
    _Lines("mentions in XML elements", r"[^\t]*", _ELEMENT, _ELEMENT, _MARK % (1, 2)),
    _Lines(
        "mentions in XML elements", r"[^\t]*", "<[A-Z]+X TYPE=", r"<[A-Z]+X TYPE=.(\w+).>([^<>]+)</\w+>", _MARK % (1, 2)
    ),
    _Lines("YEDDA's marks", r"[^\t]*", r"\[@[^\[\]]+#[^\s\]]+\*\]", r"\[@([^\[\]]+)#([^\s\]]+)\*\]", _MARK % (2, 1)),
    _Lines(
        "Rasa's marks",
        r"[^\t]*",
        r"\[[^\[\]]+\]\(\w+\)",
        r"^- |\[([^\[\]]+)\]\((\w+)\)",
        f'{_MARK % (2, 1)} if m[1] else ""',
    ),
    _Lines("mentions in brackets", r"[^\t]*", r"\[[A-Z]+ [^\[\]]+\]", r"\[([A-Z]+) ([^\[\]]+)\]", _MARK % (1, 2)),
    _Lines(
        "words with tags (nr, ns and nt become labels)",
        r"(\S+/[A-Za-z]+\S*\s+)*\S+/[A-Za-z]+\S*\s*",
        r"/[a-z]+\s",
        r"\[([^\]]+)\]/?(\w+)\s*|(\S+)/(\w+)\s*",
        '("{{%s:%s}}" if (m[2] or m[4]) in ("nr", "ns", "nt") else "%.0s%s") '
        r'% (m[2] or m[4], re.sub(r"/\w+\s*", "", m[1] or m[3]))',
    ),
)

_FILE = 'open(sys.argv[1], encoding="utf-8-sig")'
_ARRAY = f"json.load({_FILE})"
_LINES = f"map(json.loads, filter(str.strip, {_FILE}))"
_PAIR = '{"text": r[0], "label": r[1]["entities"]}'


def advise(source: Source) -> str | None:
    """Return what a file that no reader takes is, and what to do; None if it is of no known kind.

    Raises InputError if an archive or a parquet file is damaged.
    """
    if len(source.paths) == 2:
        return _about_two(source)
    if is_folder(source.paths[0]):
        return _about_members(source)
    if is_parquet(source.path):
        if not read_parquet_head(source, 1)[1]:
            return "parquet without rows: leave the split out"
        table = "pyarrow.parquet.read_table(sys.argv[1]).to_pylist()"
        return "parquet without tokens and tags" + _convert(source, "r", table)
    beginning = first_line(source.path)
    if not beginning:
        return "an empty file: leave the split out, or save the file again"
    for first, about in _BEGINNINGS.items():
        if beginning.lower().startswith(first.lower()):
            return about
    if beginning.count(b"\r") > 1:
        new = f"{shlex.quote(source.name)} > {shlex.quote(_new_name(source, Path(source.name).suffix))}"
        return f"lines that end with CR alone. To convert it: tr '\\r' '\\n' < {new}"
    rows = sample_rows(source)
    if rows and not beginning.startswith((b"{", b"[")):
        return "JSON lines after a line that is not JSON: remove this line"
    if rows:
        return _about_rows(source, rows, _ARRAY if is_array(source.path) else _LINES)
    return _about_json(source) or _about_lines(source) or _about_long_lines(source) or _about_table(source)


def _convert(source: Source, new_row: str, rows: str) -> str:
    """Return the command that writes a new row for each row `r` of an expression, as JSON lines."""
    return _command(source, f"json.dumps({new_row}, ensure_ascii=False) for r in {rows}", ".jsonl")


def _command(source: Source, lines: str, ending: str) -> str:
    modules = [name for name in ("ast", "csv", "json", "pyarrow.parquet", "re", "sys") if f"{name}." in lines]
    code = f'import {", ".join(modules)}; print(*({lines}), sep="\\n")'
    names = f"{shlex.quote(source.name)} > {shlex.quote(_new_name(source, ending))}"
    return f". To convert it: python -c {shlex.quote(code)} {names}"


def _new_name(source: Source, ending: str) -> str:
    """Return the name of the new file. It contains the old name, which may name the split."""
    return str(Path(source.name).with_suffix(f".converted{ending}"))


def _about_two(source: Source) -> str | None:
    """Describe two files of a split."""
    if any(name.endswith(".ann") for name in source.names):
        return "brat's .txt and .ann files: give their folder"
    first, second = (next((line for _, line in read_lines(path)), b"") for path in source.paths)
    if looks_like_tags(first):
        return "a file of tags before its file of sentences: give them in the other order"
    if decode(second)[0].split():
        return "two files that are not sentences and tags: the tags are O, B-LABEL, I-LABEL, M-LABEL, E-LABEL, S-LABEL"
    return None


def _about_members(source: Source) -> str | None:
    """Describe a folder or an archive."""
    with open_members(source) as members:
        names = [member.name for member in members]
    if any(name.startswith(("xl/", "word/", "ppt/")) for name in names):
        return _OFFICE
    if source.paths[0].is_dir():
        files = ", ".join(names[:5]) or "no file"
        return (
            f"a folder with {files}: give one file, brat's folder (.txt and .ann files), or one of two parallel files"
        )
    return f"an archive of {', '.join(names[:5])}: {_UNPACK}"


# JSON


def _about_rows(source: Source, rows: Sequence[Json], expression: str) -> str | None:
    """Describe JSON rows. `expression` is the Python expression of all rows."""
    for kind in _JSON_ROWS:
        if all(kind.keys <= row.keys() for row in rows):
            return kind.about + (_convert(source, kind.new_row, expression) if kind.new_row else "")
    if len(rows) == 1 and expression == _LINES and (wrapped := _about_json(source)):
        return wrapped
    leaves, texts, lists = texts_and_lists(rows)
    for key in rows[0]:
        values = [row.get(key) for row in rows]
        if all(any(_are_tokens(row[other], row.get(key)) for other in row if other != key) for row in rows):
            tags = {tag for row in rows for tag in row[key]}
            if "O" in tags and all(re.fullmatch(r"O|[BILU]-\S+", tag) for tag in tags):
                new = f'{{**r, "{key}": [dict(L="E", U="S").get(g[0], g[0]) + g[1:] for g in r["{key}"]]}}'
                return "tags of BILOU" + _convert(source, new, expression)
            if "O" in tags:
                new = f'{{**r, "{key}": [g if g == "O" else "I-" + g for g in r["{key}"]]}}'
                return _IO_TAGS + _convert(source, new, expression)
        if texts and key != texts[0] and texts[0] in rows[0] and mostly(_is_tags(value) for value in values):
            return "tags as one text" + _convert(source, _tagged(texts[0], key), expression)
        if mostly(_is_python_list(value) for value in values):
            new_row = '{k: ast.literal_eval(v) if v[:1] == "[" else v for k, v in r.items() if isinstance(v, str)}'
            return "lists in Python's notation" + _convert(source, new_row, expression)
        if mostly(_is_json_list(value) for value in values):
            return "mentions as JSON in a text" + _convert(
                source, f'{{**r, "{key}": json.loads(r["{key}"])}}', expression
            )
        for type_, mention in _BY_LABEL:
            if any(values) and all(_is_by_label(value, type_) for value in values):
                new_row = f'{{**r, "{key}": [{mention} for l, ms in r["{key}"].items() for m in ms]}}'
                return f"mentions under {key!r} by label" + _convert(source, new_row, expression)
        if any(values) and mostly(_is_by_label(value, str) for value in values):
            return f"mentions under {key!r} {_NO_OFFSETS}"
    for key in lists if texts else ():
        samples = [
            (row[texts[0]], leaves_of(one))
            for row in leaves
            if isinstance(row.get(texts[0]), str)
            for one in row.get(key) or ()
        ]
        if about := _about_mentions(key, samples[:SAMPLE], texts[0]):
            return about
    return None


_BY_LABEL: tuple[tuple[type, str], ...] = ((dict, '{**m, "label": l}'), (list, "[*m, l]"))
"""The type of mentions in lists by label, and the expression of a mention with its label."""


def _is_by_label(value: Any, type_: type) -> bool:
    """Return whether a value is an object of labels with lists of mentions of a type; `str` is that of surfaces."""
    lists = value.values() if isinstance(value, dict) else [0]
    return all(isinstance(one, list) and all(isinstance(mention, type_) for mention in one) for one in lists)


def _are_tokens(tokens: Any, tags: Any) -> bool:
    """Return whether two values are lists of as many texts."""
    return isinstance(tags, list) and are_tokens_of(tokens, tags) and all(isinstance(tag, str) for tag in tags)


def _tagged(text: str, tags: str) -> str:
    """Return the expression of tokens and tags, for rows with a text and tags as strings or lists."""
    return (
        '(lambda t, g: {"tokens": t.split() if len(t.split()) == len(g) else list(t), "ner_tags": g})'
        f'(*(v.replace(chr(2), " ") if w else v if isinstance(v, list) else v.replace(chr(2), " ").split() '
        f'for v, w in ((r["{text}"], 1), (r["{tags}"], 0))))'
    )


def _is_tags(value: Any) -> bool:
    """Return whether a value is a list of tags, or several tags in a text, separated by spaces or U+0002."""
    tags = value.replace("\x02", " ").split() if isinstance(value, str) else value
    return (
        isinstance(tags, list)
        and len(tags) > isinstance(value, str)
        and all(isinstance(tag, str) and TAG.fullmatch(tag) for tag in tags)
    )


def _is_json_list(value: Any) -> bool:
    try:
        return isinstance(value, str) and isinstance(json.loads(value), list)
    except ValueError:
        return False


def _is_python_list(value: Any) -> bool:
    return isinstance(value, str) and re.fullmatch(r"\['[^']*'(, '[^']*')*\]", value) is not None


def _about_mentions(key: str, samples: Sequence[tuple[str, Json]], text: str) -> str | None:
    """Describe why no mapping was found for the mentions under a key. `samples` has their texts and leaves."""
    if not samples:
        return None
    mentions = [one for _, one in samples]
    if any(isinstance(value, list | dict) and value for one in mentions for value in one.values()):
        return None
    places = list(dict.fromkeys(place for one in mentions for place in one))
    numbers = [place for place in places if mostly(type(one.get(place)) is int for one in mentions)]
    written = [place for place in places if any(re.fullmatch(r"\d+(\.0)?", str(one.get(place))) for one in mentions)]
    strings = [place for place in places if mostly(isinstance(one.get(place), str) for one in mentions)]
    surfaces = [place for place in strings if mostly(str(one.get(place)) in found for found, one in samples)]
    listed = f"mentions under {key!r} with {', '.join(map(repr, places))}"
    if len(written) == len(numbers) == 1 and surfaces:
        return f"{listed}, without ends: add an end, {numbers[0]} + the length of {surfaces[0]}"
    if len(written) < 2:
        return f"{listed}, {_NO_OFFSETS}"
    if len(numbers) < 2:
        return f"{listed}, whose offsets ({', '.join(written)}) are not all whole numbers: write 3, and not '3' or 3.0"
    labels = sorted((place for place in strings if place not in surfaces), key=lambda one: not LABEL_KEY.search(one))
    if not labels:
        is_mention = any("label" in place for place in places)
        return f"{listed}, without a label as text: write the names of labels" if is_mention else None
    start, end, *_ = numbers
    mapping: dict[str, JsonValue] = {"text": text, "mentions": key, "start": start, "end": end, "label": labels[0]}
    mapping |= {"surface": surfaces[0]} if surfaces else {"inclusive": True}
    entry = f"describe it: format: json, mapping: {flow(mapping)}"
    spans = [
        (found, one[start], one[end], one[surfaces[0]])
        for found, one in (samples if surfaces else ())
        if type(one.get(start)) is type(one.get(end)) is int and isinstance(one.get(surfaces[0]), str)
    ]
    problem = _wrong_offsets(spans, start) if spans else None
    if re.search("len|size|count", end) or (problem and _has_lengths(spans)):
        return f"{listed}, with a length in place of an end: add an end, {start} + {end}"
    if problem:
        return f"{listed}, {problem}, then {entry}"
    if surfaces:
        return f"{listed}. Choose the label ({', '.join(labels)}), and {entry}"
    return f"{listed}. If these are the right keys, {entry}, or with inclusive: false if ends are exclusive"


_Span: TypeAlias = tuple[str, int, int, str]
"""A text, two numbers of a mention in it, and its surface."""


def _has_lengths(spans: Sequence[_Span]) -> bool:
    return mostly(text[first : first + size] == found for text, first, size, found in spans)


def _wrong_offsets(spans: Sequence[_Span], start: str) -> str | None:
    """Describe how the offsets of mentions differ from characters counted from 0; None if they do not."""
    if any(mostly(text[first : last + more] == found for text, first, last, found in spans) for more in (0, 1)):
        return None
    if mostly(text[first - 1 : last] == found for text, first, last, found in spans):
        return f"whose offsets count from 1: subtract 1 from {start!r}"
    if mostly(
        text.encode(errors="replace")[first:last] == found.encode(errors="replace")
        for text, first, last, found in spans
    ):
        return "whose offsets count bytes: write offsets of characters"
    text, first, last, found = spans[0]
    held = f"{first} and {last} hold {quote(text[first:last])}, not {quote(found)}"
    return f"whose offsets do not hold the surfaces ({held}): correct them"


def _about_json(source: Source) -> str | None:
    """Describe JSON that is neither one object per line nor one array of objects."""
    if source.path.stat().st_size > _LARGEST:
        return None
    content = source.path.read_text(encoding="utf-8-sig", errors="replace").strip()
    if not content.startswith(("{", "[", "(")):
        return None
    lines = [line.strip() for line in content.split("\n") if line.strip()]
    try:
        value = json.loads(content)
    except (ValueError, RecursionError):
        pass
    else:
        return _about_value(source, value, len(lines))
    if all(map(_parses, lines)):
        first = json.loads(lines[0])
        return "pairs of a text and its entities" + _convert(source, _PAIR, _LINES) if _is_pair(first) else None
    inner = [line.rstrip(",") for line in lines if line not in ("[", "]")]
    if all(map(_parses, inner)):
        rows = f'(json.loads(l.strip().rstrip(",")) for l in {_FILE} if l.strip() not in ("", "[", "]"))'
        return "JSON with commas that are missing or too many" + _convert(source, "r", rows)
    objects = re.findall(r"^\{.*?^\}", content, re.MULTILINE | re.DOTALL)
    if objects and all(map(_parses, objects)):
        rows = rf'map(json.loads, re.findall(r"^\{{.*?^\}}", {_FILE}.read(), re.M | re.S))'
        return "JSON objects over several lines" + _convert(source, "r", rows)
    without_comma = re.sub(r",\s*\]$", "]", content)
    if _parses(without_comma):
        return "a JSON array with a comma after its last object" + _convert(
            source, "r", rf'json.loads(re.sub(r",\s*\]\s*$", "]", {_FILE}.read()))'
        )
    for literal, rows in (
        (content, f"ast.literal_eval({_FILE}.read())"),
        (lines[0], f"map(ast.literal_eval, filter(str.strip, {_FILE}))"),
    ):
        if len(literal) > MAX_ROW_BYTES:  # the parser takes a hundred times its memory
            continue
        try:
            value = ast.literal_eval(literal)
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            continue
        first = value[0] if isinstance(value, list) and literal is content and value else value
        if isinstance(first, dict) or _is_pair(first):
            return "Python's notation in place of JSON" + _convert(source, _PAIR if _is_pair(first) else "r", rows)
    return None


def _about_value(source: Source, value: Any, lines: int) -> str | None:
    """Describe the JSON value of a whole file of so many lines."""
    if isinstance(value, list):
        if value and all(map(_is_pair, value)):
            return "pairs of a text and its entities" + _convert(source, _PAIR, _ARRAY)
        if value and all(_is_table(one) for one in value):
            return "a JSON array of arrays" + _convert(source, "r", f"(r for l in {_ARRAY} for r in l)")
        return None if value else "an empty JSON array"
    if not isinstance(value, dict) or not value:
        return None
    for key, inner in value.items():
        pairs = [one for one in inner if one] if isinstance(inner, list) else []
        if (_is_corpus(inner) and key not in ANNOTATION_KEYS) or (pairs and all(map(_is_pair, pairs))):
            others = [other for other in value if other != key and _is_corpus(value[other])]
            about = f"a JSON object with its rows under {key!r}" + (f" (others: {', '.join(others)})" if others else "")
            rows = f'filter(None, {_ARRAY}["{key}"])'
            return about + _convert(source, "r" if _is_corpus(inner) else _PAIR, rows)
    values = list(value.values())
    if all(isinstance(inner, dict) for inner in values):
        inner = next((key for key in values[0] if _is_table(values[0][key])), None)
        if inner:
            rows = f'(r for d in {_ARRAY}.values() for r in d["{inner}"])'
            return f"a JSON object of documents with rows under {inner!r}" + _convert(source, "r", rows)
        return "a JSON object of rows" + _convert(source, "r", f"{_ARRAY}.values()")
    if len(values) > 1 and all(isinstance(inner, list) and len(inner) == len(values[0]) for inner in values):
        rows = f"(dict(zip(d, v)) for d in [{_ARRAY}] for v in zip(*d.values()))"
        return "a JSON object of columns" + _convert(source, "r", rows)
    return "one JSON object over several lines" + _convert(source, "r", f"[{_ARRAY}]") if lines > 1 else None


def _parses(text: str) -> bool:
    try:
        return isinstance(json.loads(text), dict | list)
    except (ValueError, RecursionError):
        return False


def _is_pair(value: Any) -> bool:
    """Return whether a value is a text with its entities, as in spaCy 2."""
    is_pair = isinstance(value, list | tuple) and len(value) == 2 and isinstance(value[0], str)
    return is_pair and isinstance(value[1], dict) and "entities" in value[1]


def _is_table(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(one, dict) for one in value)


def _is_corpus(value: Any) -> bool:
    """Return whether a value is a list of rows, rather than of mentions."""
    inner = [one for row in value for one in row.values()] if _is_table(value) else []
    return any(
        isinstance(one, dict) or (isinstance(one, list) and any(type(part) is not int for part in one)) for one in inner
    )


# Text


def _written_lines(source: Source) -> list[str]:
    return [line for line in sample_lines(source) if line.strip()]


def _about_long_lines(source: Source) -> str | None:
    """Describe lines with a text and its tags, or its mentions."""
    lines = _written_lines(source)
    if lines[1::2] and all(map(_is_tags, lines[1::2])) and not any(map(_is_tags, lines[::2])):
        table = f"(dict(x=x, y=y) for i in [filter(str.strip, {_FILE})] for x, y in zip(i, i))"
        return "a line of tags after each sentence" + _convert(source, _tagged("x", "y"), table)
    for separator in ("|||", "\t", ",", ";"):
        pairs = [line.split(separator) for line in lines]
        if mostly(len(pair) == 2 and _is_tags(pair[1]) for pair in pairs[1:] or pairs):
            written = separator.replace("\t", "\\t")
            table = f'(dict(zip("xy", l.rstrip("\\r\\n").split("{written}"))) for l in {_FILE} if l.strip())'
            if not _is_tags(pairs[0][-1]):  # a header
                table = table.replace(_FILE, f"list({_FILE})[1:]")
            return "lines of a text and its tags" + _convert(source, _tagged("x", "y"), table)
        if separator == "\t" and mostly(len(pair) == 2 and _is_json_list(pair[1]) for pair in pairs):
            new_row = '{"text": r[0], "label": json.loads(r[1])}'
            return "lines of a text and its mentions" + _convert(
                source, new_row, f'(l.rstrip("\\r\\n").split("\\t") for l in {_FILE} if l.strip())'
            )
    if mostly(re.fullmatch(r"[^|]+(\|\|\|\d+\s+\d+\s+\S+)*(\|\|\|)?\s*", line) for line in lines) and "|||" in lines[0]:
        row = (
            '(lambda t, *ms: {"text": t, "entities": [{"start_idx": int(s), "end_idx": int(e), "type": l, '
            '"entity": t[int(s):int(e) + 1]} for s, e, l in map(str.split, filter(str.strip, ms))]})(*r)'
        )
        return "CMeEE's lines" + _convert(source, row, f'(l.rstrip("\\r\\n").split("|||") for l in {_FILE})')
    return None


def _about_table(source: Source) -> str | None:
    """Describe CSV and TSV with a header."""
    lines = _written_lines(source)
    delimiter = max("\t,;", key=(lines or [""])[0].count)
    try:
        table = list(csv.DictReader(lines, delimiter=delimiter))
    except csv.Error:
        return None
    names = list(table[0]) if table else []
    is_header = (
        len(names) > 1
        and None not in names
        and all(re.fullmatch(r"([A-Za-z_#][\w #:]*)?", name or "") for name in names)
    )
    if not is_header or not mostly(len(row) == len(names) and None not in row.values() for row in table):
        return None
    reader = f'csv.DictReader({_FILE[:-1]}, newline=""), delimiter=chr({ord(delimiter)}))'
    about = f"a table with the columns {', '.join(filter(None, names))}"
    if tag := next((name for name in names if mostly(TAG.fullmatch(row[name] or "") for row in table)), None):
        line = f'(chr(10) if r["{names[0]}"] else "") + r["{names[1]}"] + chr(9) + r["{tag}"] for r in {reader}'
        if mostly(row[names[1]] for row in table) and not all(row[names[0]] for row in table):
            return f"{about}, a token per row" + _command(source, line, ".txt")
        return f"{about}, a token per row: write CoNLL, with a blank line after each sentence"
    found = _about_rows(source, table, reader)
    return f"{about}: {found}" if found else f"{about}: write its rows as JSON lines with a list of mentions"


def _about_lines(source: Source) -> str | None:
    """Describe lines of tokens and tags in another notation, and marks in the text."""
    lines = _written_lines(source)
    if lines and all(re.fullmatch(r"[TREAMN#*]\S*\t.*", line) for line in lines) and lines[0].startswith("T"):
        return "brat's annotation without its text: give the folder that has the .txt and .ann files"
    if lines and all(re.fullmatch(r"[^\t]+\t\d+\t\d+\t\S+", line) for line in lines):
        return "mentions without their text: write rows with a text and its list of mentions"
    for kind in _TEXT_LINES:
        if mostly(re.fullmatch(kind.line, line) for line in lines) and any(
            re.search(kind.sign, line) for line in lines
        ):
            new_line = f're.sub(r"{kind.old}", lambda m: {kind.new}, l.rstrip("\\r\\n")) for l in {_FILE}'
            return kind.about + _command(source, new_line, ".txt")
    if mostly(len(line.strip()) == 1 for line in lines):
        return "tokens without tags: leave the split out, or add the tags"
    return None
