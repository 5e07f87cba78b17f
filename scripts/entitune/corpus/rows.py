"""Rows of a raw split, and what is wrong with them.

A row is what becomes one sentence: a line or an object of a JSON file, a sentence of a CoNLL file, a line of a brat
document. A reader yields every row in the file's order, each either with its sentence or with everything that is wrong
with it. It raises InputError only where the rest of the file cannot be read.
"""

from __future__ import annotations

import re
import reprlib
from collections import Counter
from collections.abc import Callable, Sequence
from enum import StrEnum
from typing import NamedTuple

from entitune.corpus.options import CorpusOptions
from entitune.records import Entity, Sentence

# A file that is one single line, or a CoNLL file without blank lines, must not fill the memory.
MAX_ROW_BYTES = 1 << 20

MAX_LABELS = 1000
"""How many different labels of a file are counted: a wrong mapping can make every mention a label of its own."""

# Control characters other than tab and line feed, lone surrogates (JSON can escape them, UTF-8 cannot hold them) and
# noncharacters: a tokenizer drops or changes them, so that offsets would no longer fit.
UNUSABLE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")

# What most chat models have as special tokens, <|im_end|> or with the full-width bars of DeepSeek: a tokenizer makes
# one token of it, and the sentence would end the user's turn. The tokens of the model itself are checked where the
# split is encoded.
MARKUP = re.compile(r"<[|｜][^|｜\n]{1,64}[|｜]>")

ABSENT = object()
"""What a row has under a key that it does not have."""

_REPR = reprlib.Repr()  # bounded in length and in depth, and with escapes for what cannot be printed
_REPR.maxstring = _REPR.maxother = 60


class Kind(StrEnum):
    """Kinds of problems: a message per kind, with a count, is what a user reads."""

    ENCODING = "not UTF-8"
    SIZE = "row too long"
    JSON = "broken JSON"
    KEY = "missing key"
    VALUE = "unexpected value"
    ID = "id used twice"
    EMPTY = "empty text"
    CHARACTER = "unusable character"
    MARKUP = "control token of chat models"
    LABEL = "unknown label"
    OFFSETS = "offsets do not fit the text"
    REPEATED = "mention listed twice"
    DISCONTINUOUS = "discontinuous mention"
    ACROSS_LINES = "mention across lines"
    COLUMNS = "columns"
    TAG = "tag outside the scheme"
    SEQUENCE = "tag out of sequence"
    LENGTHS = "as many tags as tokens are needed"
    REJECTED = "annotation that was not accepted"
    ANNOTATIONS = "one annotation per text is needed"
    MARKS = "inline marks"


class Problem(NamedTuple):
    """What is wrong in a raw file, and the fix. `line` is 1-based."""

    line: int
    reason: str
    kind: Kind
    file: str = ""
    """The file, as messages name it, where the split has more than one."""


class Row(NamedTuple):
    """A row as it is in the raw file: `sentence` is None exactly where there are `problems`.

    `line` is the 1-based number of the row's first line, `raw` the row's bytes (at most about `MAX_ROW_BYTES`).
    """

    line: int
    raw: bytes
    sentence: Sentence | None
    problems: list[Problem]


class Note(NamedTuple):
    """Something that was read past or changed without loss: how often, and the first place."""

    text: str
    times: int
    file: str
    line: int


class Reading:
    """One pass through a raw split: what a reader is told, and what it tells in addition to the rows."""

    def __init__(
        self, split: str, labels: Sequence[str] | None = None, options: CorpusOptions | None = None, source: str = ""
    ) -> None:
        """Begin to read a split.

        Args:
            split: the split's name, which is part of the ids of its sentences.
            labels: the dataset's labels; None: any label is accepted.
            options: those of the dataset's entry.
            source: what messages call the file.
        """
        self.split = split
        self.labels = labels
        self.options = options or CorpusOptions()
        self.source = source
        self.label_counts: Counter[str] = Counter()
        """Label -> mentions of it in the file, in refused rows too, under the names of the dataset."""
        self._notes: dict[str, tuple[int, str, int]] = {}

    def note(self, text: str, line: int, count: int = 1, file: str = "") -> None:
        """Count `count` more of what `text` tells; of the first, its place is kept."""
        before, first_file, first_line = self._notes.get(text, (0, file or self.source, line))
        self._notes[text] = before + count, first_file, first_line

    @property
    def notes(self) -> list[Note]:
        """What was read past or changed, in the order in which it was met."""
        return [Note(text, *rest) for text, rest in self._notes.items()]


class Draft:
    """A row that is being read. What is wrong with it is collected, so that a user sees all of it at once."""

    __slots__ = ("_entities", "_file", "_prefix", "_reading", "_text", "line", "problems", "raw")

    def __init__(self, reading: Reading, line: int, raw: bytes, file: str = "", prefix: str = "") -> None:
        """`file` is the file as messages name it, where the split has several; `prefix` begins each reason."""
        self.line = line
        self.raw = raw
        self.problems: list[Problem] = []
        self._reading = reading
        self._file = file
        self._prefix = prefix
        self._text = ""
        self._entities: dict[tuple[int, int, str], Entity] = {}

    def problem(self, kind: Kind, reason: str, line: int = 0, file: str = "") -> None:
        """Note what is wrong; `line` and `file` are those of the row unless they are given."""
        self.problems.append(Problem(line or self.line, self._prefix + reason, kind, file or self._file))

    def set_text(self, text: str, where: Callable[[int], tuple[str, int]] | None = None) -> None:
        """Take the text of the sentence and check its characters.

        `where` says of an offset how a message names it and on which line it is; default: the offset itself.
        """
        self._text = text
        if not text.strip():
            self.problem(Kind.EMPTY, "empty text; expected a sentence")
        for found in UNUSABLE.finditer(text):
            place, line = where(found.start()) if where else (f" in text, at offset {found.start()}", 0)
            self.problem(Kind.CHARACTER, f"unusable character {found[0]!r}{place}; remove it", line)
            if not where:
                break
        if "<" in text and (markup := MARKUP.search(text)):
            place, line = where(markup.start()) if where else (f" in text, at offset {markup.start()}", 0)
            self.problem(
                Kind.MARKUP,
                f"{quote(markup[0])}{place}: chat models read this as markup, not as text; remove or replace it",
                line,
            )

    def label(self, label: str, line: int = 0) -> str:
        """The dataset's name of a label, which is checked. `line` is that of the mention, unless it is the row's."""
        label = self._reading.options.rename.get(label, label)
        labels = self._reading.labels
        if labels is not None and label not in labels:
            self.problem(Kind.LABEL, f"unknown label {quote(label)}; expected one of {', '.join(labels)}", line)
        return label

    def add(self, label: str, start: int, end: int, line: int = 0) -> None:
        """Add a mention whose half-open offsets fit the text. `label` has been checked."""
        counts = self._reading.label_counts
        if label in counts or len(counts) < MAX_LABELS:
            counts[label] += 1
        surface = self._text[start:end]
        if (start, end, label) in self._entities:
            self.problem(Kind.REPEATED, f"{quote(label)} {quote(surface)} at offset {start} is listed twice", line)
        self._entities[start, end, label] = Entity(label, surface, start, end)

    def finish(self, name: str, labelled: bool = True) -> Row:
        """The row, with a sentence of that id unless there are problems."""
        if self.problems:
            return Row(self.line, self.raw, None, self.problems)
        entities = tuple(self._entities[key] for key in sorted(self._entities)) if labelled else None
        return Row(self.line, self.raw, Sentence(name, self._text, entities), self.problems)


class Ids:
    """The ids of a file's rows: the rows' own, or SPLIT-NUMBER where a row has none. No two rows share one."""

    def __init__(self, split: str, unit: str = "line") -> None:
        """`unit` is what the rows' numbers count, as messages call it."""
        self._split = split
        self._unit = unit
        self._first: dict[str, int] = {}
        self._numbered = re.compile(re.escape(split) + "-([1-9][0-9]{0,15})")
        self._first_without = 0

    def name(self, number: int, given: object, draft: Draft) -> str:
        """The id of a row. `given` is its own, or ABSENT; `number` is its number in the file, from 1."""
        name = f"{self._split}-{number}"
        if given is ABSENT:
            self._first_without = self._first_without or number
            if name in self._first:
                before = f"{self._unit} {self._first[name]} already has {name!r}"
                draft.problem(Kind.ID, f"missing key 'id': {before}, this {self._unit}'s own")
            return name
        if isinstance(given, bool) or not isinstance(given, int | str) or given == "":
            draft.problem(Kind.VALUE, f"id {quote(given)}; expected a string or a whole number")
            return name
        name = str(given)
        if isinstance(given, str) and (unusable := UNUSABLE.search(given)):
            draft.problem(Kind.CHARACTER, f"unusable character {unusable[0]!r} in id {quote(given)}; remove it")
        if name in self._first:
            draft.problem(Kind.ID, f"duplicate id {quote(name)}: {self._unit} {self._first[name]} has it too")
        elif (match := self._numbered.fullmatch(name)) and 0 < self._first_without <= int(match[1]) < number:
            draft.problem(Kind.ID, f"id {quote(name)} is what a row without an id is called after its {self._unit}")
        self._first.setdefault(name, number)
        return name


def quote(value: object) -> str:
    """`value` as a message shows it: printable, and not longer than a message should be."""
    return _REPR.repr(value)


def offsets_problem(text: str, start: int, end: int, surface: str | None, inclusive: bool) -> str | None:
    """What is wrong with the half-open offsets of a mention, or None. `inclusive`: how the file writes its ends."""
    if not text:
        return None  # the missing text is what is reported
    if 0 <= start < end <= len(text):
        if surface is None or text[start:end] == surface:
            return None
        reason = f"these offsets hold {quote(text[start:end])}"
    elif start == end and not inclusive:
        reason = "an empty span; its end is the character after the last"
    else:
        reason = f"out of range, the text has the offsets 0 to {len(text) - 1}"
    if surface is None:
        return reason
    place = text.find(surface) if surface else -1
    if place < 0:
        return f"{reason}; the surface is not in the text"
    last = place + len(surface) - inclusive
    return f"{reason}; the surface is at [{place}, {last}] (the end is {'inclusive' if inclusive else 'exclusive'})"
