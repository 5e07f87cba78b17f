"""The records that stages share, and their reader.

A file of records has one JSON object per line. pydantic reads a line directly into a record and checks the type of
every value. That is faster than `json.loads` alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import MISSING, dataclass, field, fields
from pathlib import Path
from typing import Any, Literal, TypeAlias, TypeVar, get_args

from pydantic import TypeAdapter, ValidationError

from entitune.files import NOT_AN_OBJECT, read_lines, to_json

Record = TypeVar("Record")

Status: TypeAlias = Literal["ok", "repaired", "unparseable", "truncated"]
STATUSES: tuple[Status, ...] = get_args(Status)
"""The results of parsing an answer; docs/contracts.md explains each."""
WORST_FIRST: tuple[Status, ...] = ("unparseable", "truncated", "repaired", "ok")
"""The statuses, worst first: a sentence that was split into windows has the worst status of their answers."""


@dataclass(frozen=True, slots=True)
class Entity:
    """A gold entity. `start` and `end` are half-open offsets in Unicode code points."""

    label: str
    text: str
    start: int
    end: int

    def to_dict(self) -> dict[str, Any]:
        """Return the entity as its JSON object."""
        return {"label": self.label, "text": self.text, "start": self.start, "end": self.end}


@dataclass(frozen=True, slots=True)
class Mention:
    """A label and a text that an answer names, and the place in the sentence where it was grounded.

    `start` and `end` are half-open offsets in Unicode code points, or both None if the text was not found in the
    sentence. Mentions that differ only in their confidence are equal.
    """

    label: str
    text: str
    start: int | None = None
    end: int | None = None
    confidence: float | None = field(default=None, compare=False)
    """The probability that the model gives the mention, 0 to 1; None if the answer's tokens were not recorded."""

    def __post_init__(self) -> None:
        if (self.start is None) != (self.end is None):
            raise ValueError(f"start and end must both be numbers or both be null, got {self.start} and {self.end}")

    def to_dict(self) -> dict[str, Any]:
        """Return the mention as its JSON object."""
        record = {"label": self.label, "text": self.text, "start": self.start, "end": self.end}
        return record if self.confidence is None else {**record, "confidence": self.confidence}


@dataclass(frozen=True, slots=True)
class Sentence:
    """A sentence of a corpus. `entities` is sorted by (start, end, label), or None if the split is unlabelled."""

    id: str
    text: str
    entities: tuple[Entity, ...] | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON object of a canonical sentence; without `entities` if the split is unlabelled."""
        record: dict[str, Any] = {"id": self.id, "text": self.text}
        if self.entities is not None:
            record["entities"] = [entity.to_dict() for entity in self.entities]
        return record


@dataclass(frozen=True, slots=True, kw_only=True)
class Prediction:
    """The answer to one sentence, parsed and grounded, with the sentence's gold entities (None: unlabelled)."""

    id: str
    text: str
    gold: tuple[Entity, ...] | None
    pred: tuple[Mention, ...]
    raw: str = ""
    finish_reason: str | None = None
    status: Status
    windows: tuple[tuple[int, int], ...] = ()
    """Start and end of the windows that were asked about, if the sentence was too long for one prompt."""

    def to_dict(self) -> dict[str, Any]:
        """Return the prediction as its JSON object."""
        return {
            "id": self.id,
            "text": self.text,
            "gold": None if self.gold is None else [entity.to_dict() for entity in self.gold],
            "pred": [mention.to_dict() for mention in self.pred],
            "raw": self.raw,
            "finish_reason": self.finish_reason,
            "status": self.status,
            **({"windows": [list(window) for window in self.windows]} if self.windows else {}),
        }

    @classmethod
    def without_answer(cls, sentence: Sentence, mentions: Sequence[Entity | Mention], source: str) -> Prediction:
        """Return the prediction of a system that gives mentions and writes no answer.

        Its `finish_reason` is the `source`: vote, imported or crf. Its `raw` has the mentions in the answer format
        `json`.
        """
        return cls(
            id=sentence.id,
            text=sentence.text,
            gold=sentence.entities,
            pred=tuple(
                one if isinstance(one, Mention) else Mention(one.label, one.text, one.start, one.end)
                for one in mentions
            ),
            raw=to_json([{"label": one.label, "text": one.text} for one in mentions]),
            finish_reason=source,
            status="ok",
        )


@dataclass(frozen=True, slots=True)
class Tokens:
    """A row of a split as the trainer encodes it."""

    id: str
    prompt_ids: list[int]
    answer_tokens: int | None
    """The length of the gold answer in tokens; None if the sentence is unlabelled."""

    @property
    def length(self) -> int:
        """The length of prompt and answer together, in tokens."""
        return len(self.prompt_ids) + (self.answer_tokens or 0)


def read_predictions(path: str | Path) -> Iterator[Prediction]:
    """Yield the predictions of a file. Raises InputError if one does not follow docs/contracts.md."""
    return read_records(path, Prediction)


def read_sentences(path: str | Path) -> Iterator[Sentence]:
    """Yield the sentences of a canonical file. Raises InputError if one does not follow docs/contracts.md."""
    return read_records(path, Sentence)


def read_tokens(path: str | Path) -> Iterator[Tokens]:
    """Yield the rows of an encoded split. Raises InputError if one does not follow docs/contracts.md."""
    return read_records(path, Tokens)


def read_records(path: str | Path, kind: type[Record]) -> Iterator[Record]:
    """Yield the records of a file as instances of the dataclass `kind`.

    Other keys are ignored. Raises InputError with file and line if a line is not such a record.
    """
    validate: Callable[..., Record] = TypeAdapter(kind).validate_json

    def read(line: bytes) -> Record:
        try:
            return validate(line, strict=True)
        except ValidationError as error:
            raise ValueError(_explain(error, kind)) from None

    return read_lines(path, read)


def _explain(error: ValidationError, kind: type[Any]) -> str:
    """Return what was expected on the line, and its first problem."""
    problem = error.errors(include_url=False)[0]
    reason = ": ".join([*map(str, problem["loc"]), problem["msg"]]).replace(" at line 1", " at")
    if problem["type"] == "json_invalid":
        return f"{NOT_AN_OBJECT} ({reason})"
    if len(problem["loc"]) > 1 and kind is not Tokens:  # in a list of entities or mentions
        return f"expected entities with end, label, start, text ({reason})"
    keys = sorted(one.name for one in fields(kind) if one.default is MISSING)
    return f"expected an object with {', '.join(keys)} ({reason})"
