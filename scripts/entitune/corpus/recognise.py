"""Recognise the format of a file, for messages about a wrong `format` and for scripts/inspect_corpus.py."""

from __future__ import annotations

import itertools
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import yaml
from pydantic import JsonValue

from entitune.cli import InputError
from entitune.corpus.conll import find_layout, is_token_line, split_columns
from entitune.corpus.huggingface import is_parquet, names_near, read_parquet_head
from entitune.corpus.inline import MARK
from entitune.corpus.json_objects import Json, read_objects
from entitune.corpus.label_studio import annotations_of, find_short_key, find_text_key, is_task
from entitune.corpus.mention_lists import DIALECTS, DialectReader, find
from entitune.corpus.options import Scheme
from entitune.corpus.parallel import looks_like_tags, open_pair
from entitune.corpus.sources import Source, decode, first_line, is_folder, open_members, read_lines

SAMPLE = 300
"""How many rows or lines are read."""

_STRAY = 0.02
"""A prefix of at most this share of the tags is a mistake, and does not decide the scheme."""

_WRONG = 0.1
"""The share of lines, tags and mentions that may be wrong in a file of a format."""

TAG = re.compile(r"O|[BIMES]-\S+")
_TAG_IN_COLUMN = re.compile(r"O|[BIMES]-\S+( (?!O\b|[BIMES]-)\S+)*")
_OTHER_SCHEME = re.compile(r"[LUW]-\S+")
PLACEHOLDER = "NAME-OF-TAG-"
"""Begins the names of tags that are numbers, if these names are not known."""

_TOKEN_KEYS = ("tokens", "words", "chars", "characters", "token")
_TAG_KEYS = ("ner_tags", "tags", "labels", "label", "ner")
_TEXT_KEYS = ("text", "sentence", "content", "context", "data", "originalText")
ANNOTATION_KEYS = (*_TAG_KEYS, "entities", "entity", "entity_list", "spans", "annotations", "output", "BIO")
LABEL_KEY = re.compile(r"label|type|tag|category|class|kind", re.IGNORECASE)


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
            names, rows = read_parquet_head(source, SAMPLE)
            found = _tokens_and_tags(rows, names or names_near(source)) if rows else None
            if found and names and "repair_iob1" not in found.options:  # the reader finds them in the file
                found.options.pop("tag_names", None)
            return found
        beginning = first_line(source.path)
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
        return [row.value for row in itertools.islice(read_objects(source), SAMPLE) if row.value is not None]
    except InputError:
        return []


def sample_lines(source: Source) -> list[str]:
    """Return the texts of the first lines of a file; a line that is not UTF-8 is empty."""
    return [decode(line)[0] for _, line in itertools.islice(read_lines(source.path), SAMPLE)]


def first_problem(source: Source) -> str | None:
    """Return the line and the reason if the first row of a JSON file cannot be read."""
    beginning = first_line(source.path)
    if not beginning.lstrip().startswith((b"{", b"[")):
        return None
    first = next(read_objects(source), None)
    return f"{first.line}: {first.reason}" if first and first.value is None else None


def annotated_keys(rows: Iterable[Json]) -> list[str]:
    """Return the keys with the usual names of annotation (ANNOTATION_KEYS) that have a value."""
    return list(dict.fromkeys(key for row in rows for key in row if key in ANNOTATION_KEYS and row[key]))


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
        lines = [line for line in itertools.islice(tags, SAMPLE) if not line.isspace()]
        if not lines or not all(map(looks_like_tags, lines)):
            return None
        return Recognised("parallel", _tag_options([decode(line)[0].split() for line in lines], "scheme"))


def _recognise_json(source: Source, rows: Sequence[Json]) -> Recognised | None:
    is_full = is_task(rows[0])
    if is_full or find_short_key(source) is not None:
        key = find_text_key(rows)
        labelled = not is_full or any(annotations_of(row, predictions=False) for row in rows)
        return Recognised("label-studio", {"text_key": key} if key else {}, labelled)
    labels = [row["label"] for row in rows if "label" in row]
    if labels and all(isinstance(label, dict) for label in labels):
        return Recognised("cluener", {})
    found = _tokens_and_tags(rows, names_near(source)) or _mention_list(rows) or _mapping(rows)
    if found:
        return found
    bare = all(not isinstance(value, list | dict) for row in rows for value in row.values())
    if bare and all(isinstance(row.get("text"), str) and not row.keys() & {*ANNOTATION_KEYS} for row in rows):
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


def _tokens_and_tags(rows: Sequence[Json], names: Mapping[str, Sequence[str]]) -> Recognised | None:
    """Find the keys of tokens and tags. `names` has the names of tags that are numbers: key -> names."""
    keys = list(dict.fromkeys((*_TAG_KEYS, *rows[0])))
    for tag_key in (key for key in keys if all(isinstance(row.get(key), list) for row in rows)):
        sentences: list[list[Any]] = [row[tag_key] for row in rows]
        if not any(sentences):
            continue
        options: dict[str, JsonValue] = {}
        if tag_key in (*names, *_TAG_KEYS) and any(type(tag) is int for tags in sentences for tag in tags):
            known = names.get(tag_key)
            if known is None:
                largest = max(tag for tags in sentences for tag in tags if isinstance(tag, int))
                options["tag_names"] = ["O", *(f"{PLACEHOLDER}{number}" for number in range(1, largest + 1))]
            elif "O" in known and not any(map(re.compile(r"[BIMESLUW]-").match, known)):  # FewNERD
                options["tag_names"] = [name if name == "O" else f"I-{name}" for name in known]
                options["repair_iob1"] = True
            else:
                options["tag_names"] = list(known)
                tags = [
                    [known[tag] for tag in tags if type(tag) is int and 0 <= tag < len(known)] for tags in sentences
                ]
                options |= _tag_options(tags, "scheme")
        elif all(isinstance(tag, str) and TAG.fullmatch(tag) for tags in sentences for tag in tags):
            options |= _tag_options(sentences, "scheme")
        else:
            continue
        for token_key in dict.fromkeys((*_TOKEN_KEYS, *rows[0])):
            pairs = [(row.get(token_key), row[tag_key]) for row in rows]
            if token_key == tag_key or not all(are_tokens_of(tokens, tags) for tokens, tags in pairs):
                continue
            if (token_key, tag_key) != ("tokens", "ner_tags"):
                options = {"columns": {"token": token_key, "tag": tag_key}, **options}
            if _are_words(token for row in rows for token in row[token_key]):
                options["spaces"] = True
            return Recognised("huggingface", options)
    return None


def are_tokens_of(tokens: Any, tags: list[Any]) -> bool:
    """Return whether a value is a list of as many tokens as there are tags."""
    return isinstance(tokens, list) and len(tokens) == len(tags) and all(isinstance(token, str) for token in tokens)


def _recognise_lines(source: Source) -> Recognised | None:
    lines = sample_lines(source)
    layout = find_layout(source, None)
    sentences = list(_table(lines, layout.columns))
    if sum(map(len, sentences)) < sum(map(is_token_line, lines)) * (1 - _WRONG):
        sentences = []
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
    known = sum(count for tag, count in tags.items() if _TAG_IN_COLUMN.fullmatch(tag))
    if any(map(_OTHER_SCHEME.fullmatch, tags)):
        return False
    return known > 0 and known >= tags.total() * (1 - _WRONG) and (tags.keys() != {"O"} or columns == 2)


def _table(lines: Iterable[str], columns: int) -> Iterator[list[list[str]]]:
    """Yield the columns of each line, by sentence. Lines with another number of columns are left out."""
    sentence: list[list[str]] = []
    for line in [*lines, ""]:
        if not line.strip(" \t\r") or line.startswith("-DOCSTART-"):
            if sentence:
                yield sentence
            sentence = []
        elif is_token_line(line) and len(fields := split_columns(line)) == columns:
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
    leaves, texts, keys = texts_and_lists(rows)
    for text_key, key in itertools.product(texts, keys):
        samples = [
            (one[text_key], mention)
            for one in leaves
            if isinstance(one.get(key), list) and isinstance(one.get(text_key), str)
            for mention in one[key]
        ][:SAMPLE]
        if mapping := _mapping_of(samples):
            return Recognised("json", {"mapping": {"text": text_key, "mentions": key, **mapping}})
    return None


def texts_and_lists(rows: Sequence[Json]) -> tuple[list[dict[str, Any]], list[str], list[str]]:
    """Return the leaves of rows, the places of texts, the likeliest first, and the places of lists of mentions."""
    leaves = [leaves_of(row, lists=False) for row in rows]
    texts = [key for key in leaves[0] if isinstance(leaves[0][key], str)]
    texts.sort(key=lambda key: (key.split(".")[-1] not in _TEXT_KEYS, -len(leaves[0][key])))
    places = dict.fromkeys(itertools.chain.from_iterable(leaves))
    return leaves, texts, [place for place in places if _is_list_of_mentions(leaves, place)]


def _is_list_of_mentions(rows: Sequence[dict[str, Any]], key: str) -> bool:
    """Return whether a key holds lists of objects or lists. `rows` are the leaves of the rows."""
    values = [row[key] for row in rows if key in row]
    return all(isinstance(value, list) for value in values) and any(
        isinstance(one, list | dict) for value in values for one in value
    )


def _mapping_of(samples: Sequence[tuple[str, Any]]) -> dict[str, JsonValue] | None:
    """Find the places of start, end, label and surface in mentions. Return None if they are not certain."""
    leaves = [(text, leaves_of(mention)) for text, mention in samples]
    places = dict.fromkeys(place for _, one in leaves for place in one)
    numbers = [place for place in places if mostly(type(one.get(place)) is int for _, one in leaves)]
    strings = [place for place in places if mostly(isinstance(one.get(place), str) for _, one in leaves)]
    surfaces = [place for place in strings if mostly(str(one.get(place)) in text for text, one in leaves)]
    mentions = [(text, one) for text, one in leaves if all(type(one.get(place)) is int for place in numbers)]
    label = _label_place([one for _, one in leaves], [place for place in strings if place not in surfaces])
    if label is None:
        return None
    for start, end in itertools.permutations(numbers, 2):
        if start.rpartition(".")[0] != end.rpartition(".")[0]:
            continue
        spans = [(len(text), one[start], one[end]) for text, one in mentions]
        if not mostly(0 <= first <= last <= length for length, first, last in spans):
            continue
        surface, inclusive = next(
            (
                (place, kind)
                for place in surfaces
                for kind in (False, True)
                if mostly(text[one[start] : one[end] + kind] == one.get(place) for text, one in mentions)
            ),
            (None, None),
        )
        if surface is None:
            # Without surfaces, offsets count from 0 if one is 0, and a mention shows whether the end is inclusive.
            reaches_end = any(last == length for length, _, last in spans)
            one_character = any(first == last for _, first, last in spans)
            from_zero = any(first == 0 for _, first, _ in spans)
            if surfaces or reaches_end == one_character or not from_zero:
                continue
            inclusive = one_character
        found = {"start": start, "end": end, "label": label, "surface": surface, "inclusive": inclusive}
        return {
            name: int(place) if isinstance(place, str) and place.isdecimal() else place
            for name, place in found.items()
            if place is not None
        }
    return None


def _label_place(mentions: Sequence[dict[str, Any]], strings: Sequence[str]) -> str | None:
    """Return the place of labels among places of strings: by its name, or because it alone varies."""
    # mention numbers as in brat (T1, T2) restart in each row
    others = [
        place for place in strings if not mostly(re.fullmatch(r"[A-Z]\d+", str(one.get(place))) for one in mentions)
    ]
    named = [place for place in others if LABEL_KEY.search(place) and not place.lower().endswith("id")]
    for candidates in (named, others):
        varied = [place for place in candidates if len({str(one.get(place)) for one in mentions}) > 1]
        for left in (candidates, varied):
            if len(left) == 1:
                return left[0]
        if candidates:
            return None
    return None


def mostly(facts: Iterable[object]) -> bool:
    """Return whether almost all facts are true, and at least one."""
    values = [bool(fact) for fact in facts]
    return sum(values) > 0 and sum(values) >= len(values) * (1 - _WRONG)


def leaves_of(value: Any, prefix: str = "", lists: bool = True) -> dict[str, Any]:
    """Return the values of a row or a mention: place -> value. With `lists`, also those in lists of numbers."""
    pairs = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    leaves: dict[str, Any] = {}
    for key, inner in pairs:
        if "." in str(key):
            continue  # a mapping cannot name it
        place = f"{prefix}{key}"
        is_pair = lists and isinstance(inner, list) and all(type(one) is int for one in inner)
        leaves |= leaves_of(inner, f"{place}.", lists) if isinstance(inner, dict) or is_pair else {place: inner}
    return leaves
