"""The rows of a raw split, and their problems.

A row becomes one sentence. It is a line or an object of a JSON file, a sentence of a CoNLL file, or a line of a brat
document. A reader yields every row in the order of the file, either with its sentence or with all of its problems. It
raises InputError only if the rest of the file cannot be read.
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

# A file of one long line, or a CoNLL file without blank lines, must not fill the memory.
MAX_ROW_BYTES = 1 << 20

MAX_LABELS = 1000
"""How many different labels of a file are counted: with a wrong mapping, each mention may have a different label."""

# Control characters other than tab and line feed, lone surrogates (JSON can escape them, UTF-8 cannot encode them) and
# noncharacters. A tokenizer drops or changes them, so offsets would be wrong.
UNUSABLE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")

# Special tokens of most chat models: <|im_end|>, or with the full-width bars of DeepSeek. A tokenizer would make one
# token of each, which ends the user's turn. The tokens of the chosen model are checked when the split is encoded.
MARKUP = re.compile(r"<[|｜][^|｜\n]{1,64}[|｜]>")

ABSENT = object()
"""Stands for the value of a missing key; None is a value of its own."""

_REPR = reprlib.Repr()  # limits length and depth, and escapes characters that cannot be printed
_REPR.maxstring = _REPR.maxother = 60


class Kind(StrEnum):
    """The kinds of problems. A user reads one message per kind, with a count."""

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
    """A problem in a raw file. `reason` includes the fix, and `line` is 1-based."""

    line: int
    reason: str
    kind: Kind
    file: str = ""
    """The name of the file in messages, if the split has several."""


class Row(NamedTuple):
    """A row of the raw file. It has either a `sentence` or `problems`.

    `line` is the 1-based number of the row's first line, and `raw` is the row's bytes (about `MAX_ROW_BYTES` at most).
    """

    line: int
    raw: bytes
    sentence: Sentence | None
    problems: list[Problem]


class Note(NamedTuple):
    """Something that was skipped or changed without loss: what, how often, and the first place."""

    text: str
    times: int
    file: str
    line: int


class Reading:
    """One reading of a raw split: the reader's settings, and what it reports in addition to the rows."""

    def __init__(
        self, split: str, labels: Sequence[str] | None = None, options: CorpusOptions | None = None, source: str = ""
    ) -> None:
        """Begin to read a split.

        Args:
            split: the split's name, which becomes part of the ids of its sentences.
            labels: the dataset's labels; None accepts any label.
            options: those of the dataset's entry.
            source: the name of the file in messages.
        """
        self.split = split
        self.labels = labels
        self.options = options or CorpusOptions()
        self.source = source
        self.label_counts: Counter[str] = Counter()
        """Label of the dataset -> its mentions in the file, including rows with problems."""
        self._notes: dict[str, tuple[int, str, int]] = {}

    def note(self, text: str, line: int, count: int = 1, file: str = "") -> None:
        """Note something `count` times. Notes with the same text are added up and keep the first place."""
        before, first_file, first_line = self._notes.get(text, (0, file or self.source, line))
        self._notes[text] = before + count, first_file, first_line

    @property
    def notes(self) -> list[Note]:
        """The notes, in the order in which they first appeared."""
        return [Note(text, *rest) for text, rest in self._notes.items()]


class Draft:
    """A row that is being read. It collects all problems, so that a user sees them at once."""

    __slots__ = ("_entities", "_file", "_prefix", "_reading", "_text", "line", "problems", "raw")

    def __init__(self, reading: Reading, line: int, raw: bytes, file: str = "", prefix: str = "") -> None:
        """`file` is the name of the file in messages, if the split has several. `prefix` begins each reason."""
        self.line = line
        self.raw = raw
        self.problems: list[Problem] = []
        self._reading = reading
        self._file = file
        self._prefix = prefix
        self._text = ""
        self._entities: dict[tuple[int, int, str], Entity] = {}

    def problem(self, kind: Kind, reason: str, line: int = 0, file: str = "") -> None:
        """Add a problem. By default, `line` and `file` are those of the row."""
        self.problems.append(Problem(line or self.line, self._prefix + reason, kind, file or self._file))

    def set_text(self, text: str, where: Callable[[int], tuple[str, int]] | None = None) -> None:
        """Set the text of the sentence and check its characters.

        `where` maps an offset to its description in messages and to its line (0: the row's). By default, messages name
        the offset.
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
                f"{quote(markup[0])}{place}: chat models read this as markup; remove or replace it",
                line,
            )

    def label(self, label: str, line: int = 0) -> str:
        """Return the dataset's name of a label. An unknown label is a problem, at `line` or at the row's line."""
        label = self._reading.options.rename.get(label, label)
        labels = self._reading.labels
        if labels is not None and label not in labels:
            self.problem(Kind.LABEL, f"unknown label {quote(label)}; expected one of {', '.join(labels)}", line)
        return label

    def add(self, label: str, start: int, end: int, line: int = 0) -> None:
        """Add a mention. The half-open offsets fit the text, and `label` has been checked by the caller."""
        counts = self._reading.label_counts
        if label in counts or len(counts) < MAX_LABELS:
            counts[label] += 1
        surface = self._text[start:end]
        if (start, end, label) in self._entities:
            self.problem(Kind.REPEATED, f"{quote(label)} {quote(surface)} at offset {start} is listed twice", line)
        self._entities[start, end, label] = Entity(label, surface, start, end)

    def finish(self, name: str, labelled: bool = True) -> Row:
        """Return the row. If it has no problems, its sentence has the id `name`."""
        if self.problems:
            return Row(self.line, self.raw, None, self.problems)
        entities = tuple(self._entities[key] for key in sorted(self._entities)) if labelled else None
        return Row(self.line, self.raw, Sentence(name, self._text, entities), self.problems)


class Ids:
    """Names the rows of a file: by their own ids, or SPLIT-NUMBER for rows without an id. No two rows share an id."""

    def __init__(self, split: str, unit: str = "line") -> None:
        """`unit` is the word in messages for what the rows' numbers count."""
        self._split = split
        self._unit = unit
        self._first: dict[str, int] = {}
        self._numbered = re.compile(re.escape(split) + "-([1-9][0-9]{0,15})")
        self._first_without = 0

    def name(self, number: int, given: object, draft: Draft) -> str:
        """Return the id of a row. `given` is its own id or ABSENT; `number` is its number in the file, from 1."""
        name = f"{self._split}-{number}"
        if given is ABSENT:
            self._first_without = self._first_without or number
            if name in self._first:
                before = f"{self._unit} {self._first[name]} already has {name!r}"
                draft.problem(Kind.ID, f"missing key 'id': {before}, the id that this {self._unit} would get")
            return name
        if isinstance(given, bool) or not isinstance(given, int | str) or given == "":
            draft.problem(Kind.VALUE, f"id {quote(given)}; expected a string or a whole number")
            return name
        name = str(given)
        if isinstance(given, str) and (unusable := UNUSABLE.search(given)):
            draft.problem(Kind.CHARACTER, f"unusable character {unusable[0]!r} in id {quote(given)}; remove it")
        if name in self._first:
            draft.problem(Kind.ID, f"duplicate id {quote(name)}: {self._unit} {self._first[name]} has the same id")
        elif (match := self._numbered.fullmatch(name)) and 0 < self._first_without <= int(match[1]) < number:
            without = f"{self._unit} {self._first_without}"
            draft.problem(Kind.ID, f"id {quote(name)}: rows without an id, such as {without}, get ids of this form")
        self._first.setdefault(name, number)
        return name


def quote(value: object) -> str:
    """Return `value` for a message: printable, and limited in length."""
    return _REPR.repr(value)


def offsets_problem(text: str, start: int, end: int, surface: str | None, inclusive: bool) -> str | None:
    """Return what is wrong with the half-open offsets of a mention, or None.

    If `inclusive`, ends are inclusive in the file, and so in the message.
    """
    if not text:
        return None  # the missing text has been reported
    if 0 <= start < end <= len(text):
        if surface is None or text[start:end] == surface:
            return None
        reason = f"these offsets hold {quote(text[start:end])}"
    elif start == end and not inclusive:
        reason = "an empty span; the end must be the offset after the last character"
    else:
        reason = f"out of range; the text has the offsets 0 to {len(text) - 1}"
    if surface is None:
        return reason
    place = text.find(surface) if surface else -1
    if place < 0:
        return f"{reason}; the surface is not in the text"
    last = place + len(surface) - inclusive
    return f"{reason}; the surface is at [{place}, {last}] (the end is {'inclusive' if inclusive else 'exclusive'})"
