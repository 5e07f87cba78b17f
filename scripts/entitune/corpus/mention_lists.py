"""JSON rows with a text and a list of mentions with offsets: one reader and one writer for a table of dialects."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple, TypeAlias

from entitune.cli import InputError
from entitune.corpus.cluener import read_text
from entitune.corpus.json_objects import Json, is_array, read_objects
from entitune.corpus.options import Mapping, Place
from entitune.corpus.rows import ABSENT, Draft, Ids, Kind, Reading, Row, offsets_problem, quote
from entitune.corpus.sources import Source
from entitune.records import Entity, Sentence

_SAMPLE = 1000
"""How many mentions with a surface are read to find out whether ends are inclusive."""

SENTENCE_ID = "sentence_id"
"""The key of a sentence's id in files for annotation tools. The tools renumber the rows."""

Path: TypeAlias = tuple[str | int, ...]


class Dialect(NamedTuple):
    """The places of text and mentions in rows."""

    mapping: Mapping
    accepted: str | None = None
    """The key that is 'accept' in rows whose annotation was accepted; None if there is no such key."""


def _dialect(mentions: str, start: Place, end: Place, label: Place, inclusive: bool = False, **more: Any) -> Dialect:
    accepted = more.pop("accepted", None)
    return Dialect(Mapping(mentions=mentions, start=start, end=end, label=label, inclusive=inclusive, **more), accepted)


DIALECTS: dict[str, tuple[Dialect, ...]] = {
    # the exports JSONL and JSONL (text label), then JSONL (relation); the first one is also written
    "doccano": (
        _dialect("label", 0, 1, 2),
        _dialect("labels", 0, 1, 2),
        _dialect("entities", "start_offset", "end_offset", "label"),
        _dialect("entities", 0, 1, 2),
    ),
    "entity-list": (
        _dialect("entity_list", "entity_index.begin", "entity_index.end", "entity_type", surface="entity"),
    ),
    "cmeee": (_dialect("entities", "start_idx", "end_idx", "type", inclusive=True, surface="entity"),),
    "ccks": (_dialect("entities", "start_pos", "end_pos", "label_type", text="originalText"),),
    "spans": (_dialect("spans", "start", "end", "label", accepted="answer"),),  # spaCy and prodigy
    "entitune": (_dialect("entities", "start", "end", "label", surface="text"),),
}
"""Format -> its dialects. A row is read in the dialect whose key of mentions it has."""


def read_mention_lists(source: Source, reading: Reading, dialects: Sequence[Dialect] = ()) -> Iterator[Row]:
    """Read JSON lines or an array; without `dialects`, by the mapping of the options.

    A file in which no row has a list of mentions is unlabelled. If mentions have surfaces, these show whether ends are
    inclusive. Raises InputError if they contradict the mapping, or if neither of them decides.
    """
    if not dialects:
        if reading.options.mapping is None:
            raise InputError(f"{source.name}: format json needs the option mapping: the keys of text and mentions")
        dialects = (Dialect(reading.options.mapping),)
    readers, labelled = _survey(source, reading, dialects)
    ids = Ids(reading.split, "row" if is_array(source.path) else "line")
    for row in read_objects(source, reading):
        draft = row.draft(reading)
        name = ""
        if row.value is not None:
            name = read_row(row.value, row.number, readers, labelled, ids, draft, reading)
        yield draft.finish(name, labelled)


class DialectReader:
    """A dialect with each place as a tuple of keys, and with `inclusive` decided."""

    def __init__(self, dialect: Dialect, inclusive: bool | None) -> None:
        mapping = dialect.mapping
        self.text, self.id, self.mentions = (parts(place) for place in (mapping.text, mapping.id, mapping.mentions))
        self.start, self.end, self.label = (parts(place) for place in (mapping.start, mapping.end, mapping.label))
        self.surface = None if mapping.surface is None else parts(mapping.surface)
        self.inclusive = bool(inclusive)
        self.accepted = dialect.accepted

    def fits(self, mention: object, text: str) -> bool:
        """Return whether a mention's offsets hold its surface."""
        start, end, surface = (find(mention, place) for place in (self.start, self.end, self.surface or ()))
        return type(start) is int and type(end) is int and text[start : end + self.inclusive] == surface

    def takes(self, mention: object) -> bool:
        """Return whether a mention has the dialect's type: a list or an object."""
        return isinstance(mention, list if isinstance(self.start[0], int) else dict)


def parts(place: Place) -> Path:
    """Return the keys of a place, the outermost first: "span.begin" -> ("span", "begin")."""
    if isinstance(place, int):
        return (place,)
    return tuple(int(part) if part.isdecimal() else part for part in place.split("."))


def find(value: Any, path: Path) -> Any:
    """Return the value at a place in a JSON value, or ABSENT."""
    for part in path:
        try:
            value = value[part]
        except (KeyError, IndexError, TypeError):
            return ABSENT
    return value


def read_row(
    row: Json,
    number: int,
    readers: Sequence[DialectReader],
    labelled: bool,
    ids: Ids,
    draft: Draft,
    reading: Reading,
) -> str:
    """Read a row into `draft` and return its id."""
    found = [reader for reader in readers if find(row, reader.mentions) is not ABSENT]
    reader = found[0] if found else readers[0]
    given = row.get(SENTENCE_ID, ABSENT)
    name = ids.name(number, find(row, reader.id) if given is ABSENT else given, draft)
    text = find(row, reader.text)
    key = ".".join(map(str, reader.text))
    text = read_text({} if text is ABSENT else {key: text}, key, draft)
    if not labelled and not found:
        return name
    key = ".".join(map(str, reader.mentions))
    mentions = find(row, reader.mentions)
    if mentions is ABSENT and reader.accepted and row.get(reader.accepted) == "accept":
        return name  # prodigy leaves the key out if there is no mention
    if mentions is ABSENT:
        reason = f"missing key {key!r}, which other rows have; use [] for a sentence without mentions"
        draft.problem(Kind.KEY, reason)
    elif not isinstance(mentions, list):
        draft.problem(Kind.VALUE, f"{key} {quote(mentions)}; expected a list of mentions")
    elif len(lists := dict.fromkeys(reader.mentions for reader in found)) > 1:
        names = " and ".join(".".join(map(str, place)) for place in lists)
        draft.problem(Kind.VALUE, f"mentions under both {names}; expected one list of mentions")
    else:
        for mention in mentions:
            fitting = next((reader for reader in found if reader.takes(mention)), found[0])
            read_mention(mention, text, fitting, draft, reading)
    if reader.accepted and row.get("_is_binary") is True:
        draft.problem(Kind.REJECTED, "_is_binary: the answer is about one mention; the others are not annotated")
    if reader.accepted and row.get(reader.accepted, "accept") != "accept":
        reason = f"{reader.accepted} {quote(row[reader.accepted])}; only rows with 'accept' are annotated"
        draft.problem(Kind.REJECTED, reason)
    return name


def read_mention(mention: Any, text: str, reader: DialectReader, draft: Draft, reading: Reading) -> None:
    """Check a mention and add it to `draft`."""
    start, end, given = find(mention, reader.start), find(mention, reader.end), find(mention, reader.label)
    surface = find(mention, reader.surface) if reader.surface else ABSENT
    # type() and not isinstance(), because a bool is an int and true is not an offset.
    if type(start) is not int or type(end) is not int:
        key = ".".join(map(str, reader.end if type(start) is int else reader.start))
        what = "is missing" if ABSENT in (start, end) else "is not a whole number"
        reason = f"mention {quote(mention)}: {key} {what}"
        draft.problem(Kind.VALUE, reason)
        return
    labels = given if isinstance(given, list) else [given]
    if not labels or not all(label and isinstance(label, str) for label in labels):
        found = "no label" if given is ABSENT else f"label {quote(given)}; expected a string"
        draft.problem(Kind.VALUE, f"mention {quote(mention)}: {found}")
        return
    known = surface if isinstance(surface, str) else None
    stop = end + reader.inclusive
    problem = offsets_problem(text, start, stop, known, reader.inclusive)
    if problem and known and (units := _from_utf16(text, start, stop)) and text[slice(*units)] == known:
        reading.note("offsets that count UTF-16 units, as JavaScript does, were converted to characters", draft.line)
        (start, stop), problem = units, None
    if problem:
        about = f"{quote(labels[0])} {quote(known) + ' ' if known else ''}[{start}, {end}]"
        draft.problem(Kind.OFFSETS, f"{about}: {problem}")
        return
    for label in labels:
        draft.add(draft.label(label), start, stop)


def _from_utf16(text: str, start: int, end: int) -> tuple[int, int] | None:
    """Convert offsets that count UTF-16 units to characters. Return None if that changes nothing or is impossible."""
    if text.isascii() or max(text) <= "\uffff":
        return None
    units = list(itertools.accumulate((2 if character > "\uffff" else 1 for character in text), initial=0))
    try:
        return units.index(start), units.index(end)
    except ValueError:
        return None


def _survey(source: Source, reading: Reading, dialects: Sequence[Dialect]) -> tuple[list[DialectReader], bool]:
    """Read the first rows: decide whether ends are inclusive, and whether the file is labelled."""
    candidates = [DialectReader(dialect, dialect.mapping.inclusive) for dialect in dialects]
    labelled = False
    fits = {False: 0, True: 0}
    looked_at = 0
    for row in read_objects(source):
        reader = next((one for one in candidates if find(row.value, one.mentions) is not ABSENT), None)
        if reader is None:
            continue
        labelled = True
        text, mentions = find(row.value, reader.text), find(row.value, reader.mentions)
        if reader.surface is None or looked_at > _SAMPLE:
            break
        for mention in mentions if isinstance(mentions, list) and isinstance(text, str) else ():
            start, end, surface = (find(mention, place) for place in (reader.start, reader.end, reader.surface))
            looked_at += 1
            if type(start) is int and type(end) is int and isinstance(surface, str):
                for inclusive in fits:
                    fits[inclusive] += offsets_problem(text, start, end + inclusive, surface, inclusive) is None
    return [_settle(source, reading, dialect, fits, looked_at) for dialect in dialects], labelled


def _settle(source: Source, reading: Reading, dialect: Dialect, fits: dict[bool, int], looked_at: int) -> DialectReader:
    """Decide whether the ends of a dialect are inclusive.

    `fits` counts the surfaces that fit exclusive and inclusive ends, `looked_at` the mentions that were read.
    """
    declared = dialect.mapping.inclusive
    shown = None if fits[True] == fits[False] else fits[True] > fits[False]
    if declared is None and shown is None and looked_at:
        raise InputError(
            f"{source.name}: mapping: the surfaces do not show whether ends are inclusive; set inclusive: true or false"
        )
    if shown is not None and declared is not None and shown != declared:
        if reading.options.mapping:
            raise InputError(
                f"{source.name}: mapping: inclusive: {str(declared).lower()}, but {fits[shown]} surfaces fit "
                f"{'inclusive' if shown else 'exclusive'} ends and {fits[declared]} fit the others; change it"
            )
        about = "inclusive" if shown else "exclusive"
        reading.note(f"ends were read as {about}, because this fits the surfaces", 1)
    return DialectReader(dialect, declared if shown is None else shown)


def write_mention_lists(sentences: Iterable[Sentence], dialect: Dialect) -> Iterator[Json]:
    """Yield the rows of sentences in a dialect. Every mention must have offsets."""
    reader = DialectReader(dialect, dialect.mapping.inclusive)
    for sentence in sentences:
        row: Json = {}
        if sentence.id:
            _put(row, reader.id, sentence.id)
        _put(row, reader.text, sentence.text)
        if sentence.entities is not None:
            _put(row, reader.mentions, [_write_mention(entity, reader) for entity in sentence.entities])
        yield row


def _write_mention(entity: Entity, reader: DialectReader) -> Json | list[Any]:
    values = {reader.start: entity.start, reader.end: entity.end - reader.inclusive, reader.label: entity.label}
    if reader.surface:
        values[reader.surface] = entity.text
    if isinstance(reader.start[0], int):
        return [values[path] for path in sorted(values)]
    mention: Json = {}
    for path, value in values.items():
        _put(mention, path, value)
    return mention


def _put(row: Json, path: Path, value: Any) -> None:
    """Set the value at a place in a row."""
    *outer, last = path
    for part in outer:
        row = row.setdefault(str(part), {})
    row[str(last)] = value
