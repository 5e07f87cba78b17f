"""Recognise the format of a file, for messages about a wrong `format` and for scripts/inspect_corpus.py."""

from __future__ import annotations

import itertools
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import yaml
from pydantic import JsonValue

from entitune.cli import InputError
from entitune.corpus.conll import find_layout, split_columns
from entitune.corpus.huggingface import is_parquet, read_parquet_head
from entitune.corpus.inline import MARK
from entitune.corpus.json_objects import Json, read_objects
from entitune.corpus.label_studio import annotations_of, find_short_key, is_task
from entitune.corpus.mention_lists import DIALECTS, DialectReader, find
from entitune.corpus.options import Scheme
from entitune.corpus.parallel import looks_like_tags, open_pair
from entitune.corpus.rows import offsets_problem
from entitune.corpus.sources import Source, decode, is_folder, open_members, read_lines

_SAMPLE = 300
"""How many rows or lines are read."""

_STRAY = 0.02
"""The share of tags that may be wrong in a file of a tagged format."""

_TAG = re.compile(r"O|[BIMES]-\S+")
_TOKEN_KEYS = ("tokens", "words", "chars", "characters", "token")
_TAG_KEYS = ("ner_tags", "tags", "labels", "label", "ner")


class Recognised(NamedTuple):
    """A format, and the options with which the file can be read."""

    format: str
    options: dict[str, JsonValue]
    """Keys of `CorpusOptions`."""
    labelled: bool = True

    def entry(self) -> str:
        """Return the keys of a dataset entry, as YAML in one line."""
        return ", ".join(f"{key}: {flow(value)}" for key, value in {"format": self.format, **self.options}.items())


def flow(value: JsonValue) -> str:
    """Return a value as YAML in one line."""
    text: str = yaml.safe_dump(value, default_flow_style=True, allow_unicode=True, width=10**6, sort_keys=False)
    return text.removesuffix("\n").removesuffix("\n...")


def recognise(source: Source) -> Recognised | None:
    """Recognise a raw split by its first rows. Return None if the format is not certain."""
    try:
        if len(source.paths) == 2 or is_folder(source.paths[0]):
            return _recognise_folder(source)
        if is_parquet(source.path):
            names, rows = read_parquet_head(source, _SAMPLE)
            return _tokens_and_tags(rows, names)
        beginning = next((line for _, line in read_lines(source.path) if not line.isspace()), b"")
        if beginning.lstrip()[:1] in (b"{", b"[") and (rows := sample_rows(source)):
            return _recognise_json(source, rows)
        return _recognise_lines(source)
    except InputError:  # the file is damaged, which is reported when it is read
        return None


def sample_rows(source: Source) -> list[Json]:
    """Return the first rows of a JSON file; an empty list for any other file."""
    if len(source.paths) != 1 or is_folder(source.paths[0]) or is_parquet(source.path):
        return []
    try:
        return [row.value for row in itertools.islice(read_objects(source), _SAMPLE) if row.value is not None]
    except InputError:
        return []


def looks_annotated(row: Json) -> list[str]:
    """Return the keys of a JSON row whose values may hold offsets: nested lists or objects with two numbers or more."""

    def numbers(value: Any) -> int:
        if isinstance(value, list | dict):
            return sum(map(numbers, value.values() if isinstance(value, dict) else value))
        return type(value) is int

    return [
        key
        for key, value in row.items()
        if isinstance(value, list | dict)
        and any(isinstance(inner, list | dict) for inner in (value.values() if isinstance(value, dict) else value))
        and numbers(value) >= 2
    ]


def _recognise_folder(source: Source) -> Recognised | None:
    if len(source.paths) == 1:
        with open_members(source) as members:
            if any(member.name.endswith(".ann") for member in members):
                return Recognised("brat", {})
    with open_pair(source) as (_, (sentences, tags)):
        if looks_like_tags(sentences.readline()):
            return None  # in the wrong order, or CoNLL
        lines = [line for line in itertools.islice(tags, _SAMPLE) if not line.isspace()]
        if not lines or not all(map(looks_like_tags, lines)):
            return None
        return Recognised("parallel", _tag_options([decode(line)[0].split() for line in lines], "scheme"))


def _recognise_json(source: Source, rows: Sequence[Json]) -> Recognised | None:
    if is_task(rows[0]):
        return Recognised("label-studio", {}, any(annotations_of(row, predictions=False) for row in rows))
    if find_short_key(source) is not None:
        return Recognised("label-studio", {})
    labels = [row["label"] for row in rows if "label" in row]
    if labels and all(isinstance(label, dict) for label in labels):
        return Recognised("cluener", {})
    found = _tokens_and_tags(rows, None) or _mention_list(rows) or _mapping(rows)
    if found:
        return found
    bare = all(not isinstance(value, list | dict) for row in rows for value in row.values())
    if bare and all(isinstance(row.get("text"), str) for row in rows):
        return Recognised("cluener", {}, labelled=False)
    return None


def _mention_list(rows: Sequence[Json]) -> Recognised | None:
    """Return the dialect that fits the keys and the mentions of the rows best."""
    scores: Counter[str] = Counter()
    others: set[str] = set()
    """Dialects that fit the keys of a row, but not its mentions."""
    for name, dialects in DIALECTS.items():
        for dialect in dialects:
            reader = DialectReader(dialect, dialect.mapping.inclusive)
            for row in rows:
                mentions = find(row, reader.mentions)
                if isinstance(mentions, list) and isinstance(find(row, reader.text), str):
                    fitting = sum(_fits(mention, reader) for mention in mentions)
                    scores[name] += 1000 * fitting + 1 if fitting == len(mentions) else 0
                    others |= {name} if fitting < len(mentions) else set()
    if not scores or not max(scores.values()):
        return None
    name, score = max(scores.items(), key=lambda item: item[1])
    if score >= 1000:
        return Recognised(name, {})
    alone = len([one for one in scores.values() if one == score]) == 1
    return Recognised(name, {}) if alone and name not in others else None


def _fits(mention: Any, reader: DialectReader) -> bool:
    start, end, label = (find(mention, place) for place in (reader.start, reader.end, reader.label))
    known = reader.surface is None or isinstance(find(mention, reader.surface), str)
    return type(start) is int and type(end) is int and isinstance(label, str) and known


def _tokens_and_tags(rows: Sequence[Json], names: Sequence[str] | None) -> Recognised | None:
    for token_key, tag_key in itertools.product(_TOKEN_KEYS, _TAG_KEYS):
        pairs = [(row.get(token_key), row.get(tag_key)) for row in rows]
        if not all(isinstance(one, list) and isinstance(other, list) for one, other in pairs):
            continue
        if not all(len(one) == len(other) for one, other in pairs):  # type: ignore[arg-type]
            continue
        sentences: list[list[Any]] = [tags or [] for _, tags in pairs]
        options: dict[str, JsonValue] = {}
        if (token_key, tag_key) != ("tokens", "ner_tags"):
            options["columns"] = {"token": token_key, "tag": tag_key}
        if any(isinstance(tag, int) for tags in sentences for tag in tags):
            if names is None:
                largest = max(tag for tags in sentences for tag in tags if isinstance(tag, int))
                options["tag_names"] = ["O", *(f"NAME-OF-TAG-{number}" for number in range(1, largest + 1))]
            else:
                known = [[names[tag] for tag in tags if tag < len(names)] for tags in sentences]
                options |= _tag_options(known, "scheme")
        elif all(isinstance(tag, str) and _TAG.fullmatch(tag) for tags in sentences for tag in tags):
            options |= _tag_options(sentences, "scheme")
        else:
            continue
        if _are_words(token for tokens, _ in pairs for token in tokens or ()):
            options["spaces"] = True
        return Recognised("huggingface", options)
    return None


def _recognise_lines(source: Source) -> Recognised | None:
    lines = [decode(line)[0] for _, line in itertools.islice(read_lines(source.path), _SAMPLE)]
    layout = find_layout(source, None)
    sentences = list(_table(lines, layout.columns))
    columns = list(range(layout.columns))
    tag = next((column for column in reversed(columns[1:]) if _is_tags(sentences, column, len(columns))), None)
    if tag is None:
        return Recognised("boson", {}) if any(map(MARK.search, lines)) else None
    token = 0
    if tag > 1 and all(fields[0] == str(place) for one in sentences for place, fields in enumerate(one, 1)):
        token = 1  # the first column counts the tokens
    options = _tag_options([[fields[tag] for fields in sentence] for sentence in sentences], "format")
    name = str(options.pop("format"))
    chosen: dict[str, JsonValue] = {}
    if token:
        chosen["token"] = token
    if tag != layout.columns - 1:
        chosen["tag"] = tag
    if chosen:
        options["columns"] = chosen
    if _are_words(fields[token] for sentence in sentences for fields in sentence):
        options["spaces"] = True
    return Recognised(name, options)


def _is_tags(sentences: Sequence[Sequence[Sequence[str]]], column: int, columns: int) -> bool:
    """Return whether a column consists of tags. In a file of three or more columns, one of only O does not count."""
    tags = Counter(fields[column] for sentence in sentences for fields in sentence)
    known = sum(count for tag, count in tags.items() if _TAG.fullmatch(tag))
    return known > 0 and known >= tags.total() * (1 - _STRAY) and (tags.keys() != {"O"} or columns == 2)


def _table(lines: Iterable[str], columns: int) -> Iterator[list[list[str]]]:
    """Yield the columns of each line, by sentence. Lines with another number of columns are left out."""
    sentence: list[list[str]] = []
    for line in [*lines, ""]:
        if not line.strip(" \t\r") or line.startswith("-DOCSTART-"):
            if sentence:
                yield sentence
            sentence = []
        elif len(fields := split_columns(line)) == columns:
            sentence.append(fields)


def _tag_options(sentences: Sequence[Sequence[str]], key: str) -> dict[str, JsonValue]:
    """Return options for the scheme of the tags, and for IOB1.

    `key` is the option that holds the scheme: "scheme", or "format" for the formats conll-SCHEME.
    """
    used = Counter(tag[:1] for tags in sentences for tag in tags if tag != "O")
    prefixes = {prefix for prefix, count in used.items() if count > used.total() * _STRAY}
    scheme: Scheme = "bio"
    if prefixes & {"M", "E", "S"}:
        scheme = "bioes" if "I" in prefixes else "bmes"
    options: dict[str, JsonValue] = {}
    if key == "format":
        options[key] = f"conll-{scheme}"
    elif scheme != "bio":
        options[key] = scheme
    begun: Counter[str] = Counter()
    for tags in sentences if scheme == "bio" else ():
        for before, tag in itertools.pairwise(["O", *tags]):
            if tag[:2] == "B-" or (tag[:2] == "I-" and before[2:] != tag[2:]):
                begun[tag[0]] += 1
    if begun["I"] > begun["B"]:
        options["repair_iob1"] = True
    return options


def _are_words(tokens: Iterable[str]) -> bool:
    """Return whether most tokens are words of at least two Latin letters, which a text separates by spaces."""
    sample = list(itertools.islice(tokens, 3000))
    words = sum(len(token) > 1 and token.isascii() and token.isalpha() for token in sample)
    return words > len(sample) / 2


def _mapping(rows: Sequence[Json]) -> Recognised | None:
    """Find a mapping for rows of an unknown dialect. Return None if it is not certain."""
    text_key = next(
        (key for key in sorted(rows[0], key=lambda key: -len(str(rows[0][key]))) if isinstance(rows[0][key], str)), None
    )
    if text_key is None:
        return None
    for key in dict.fromkeys(key for row in rows for key in looks_annotated(row)):
        samples = [
            (row[text_key], mention)
            for row in rows
            if isinstance(row.get(key), list) and isinstance(row.get(text_key), str)
            for mention in row[key]
        ][:_SAMPLE]
        mapping = _mapping_of(samples)
        if mapping:
            return Recognised("json", {"mapping": {"text": text_key, "mentions": key, **mapping}})
    return None


def _mapping_of(samples: Sequence[tuple[str, Any]]) -> dict[str, JsonValue] | None:
    """Find the places of start, end, label and surface in mentions. Return None if they are not certain."""
    if not samples:
        return None
    leaves = [_leaves(mention) for _, mention in samples]
    shared = [place for place in leaves[0] if all(place in one for one in leaves)]
    numbers = [place for place in shared if all(type(one[place]) is int for one in leaves)]
    strings = [place for place in shared if all(isinstance(one[place], str) for one in leaves)]
    texts = [text for text, _ in samples]

    def fits(start: str, end: str, surface: str, inclusive: bool) -> bool:
        return all(
            offsets_problem(text, one[start], one[end] + inclusive, one[surface], inclusive) is None
            for text, one in zip(texts, leaves, strict=True)
        )

    for start, end in itertools.permutations(numbers, 2):
        spans = [(one[start], one[end]) for one in leaves]
        if not all(0 <= first <= last <= len(text) for (first, last), text in zip(spans, texts, strict=True)):
            continue
        surface, inclusive = next(
            ((place, kind) for place in strings for kind in (False, True) if fits(start, end, place, kind)),
            (None, None),
        )
        others = [place for place in strings if place != surface]
        if surface is None:
            reaches_end = any(last == len(text) for (_, last), text in zip(spans, texts, strict=True))
            one_character = any(first == last for first, last in spans)
            if reaches_end == one_character:
                continue
            inclusive = one_character
        if others:
            # mention numbers as in brat (T1, T2) restart in each row, so there may be fewer of them than labels
            labels = [place for place in others if not all(re.fullmatch(r"[A-Z]\d+", one[place]) for one in leaves)]
            label = min(labels or others, key=lambda place: len({one[place] for one in leaves}))
            found = {"start": start, "end": end, "label": label, "surface": surface, "inclusive": inclusive}
            return {
                name: int(place) if isinstance(place, str) and place.isdecimal() else place
                for name, place in found.items()
                if place is not None
            }
    return None


def _leaves(value: Any, prefix: str = "") -> dict[str, Any]:
    """Return the values of a mention that are not objects: place -> value."""
    pairs = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    leaves: dict[str, Any] = {}
    for key, inner in pairs:
        place = f"{prefix}{key}"
        leaves |= _leaves(inner, f"{place}.") if isinstance(inner, dict) else {place: inner}
    return leaves
