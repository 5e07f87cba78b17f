"""The records that stages share, and their one reader: a wrong line is named with file, line, what would be right."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any, TypeAlias

from entitune.cli import InputError


@dataclass(frozen=True, slots=True)
class Entity:
    """A labelled mention.

    `start` and `end` are half-open offsets in Unicode code points; both are None where a predicted mention could
    not be grounded in its sentence.
    """

    label: str
    text: str
    start: int | None
    end: int | None

    def to_dict(self) -> dict[str, Any]:
        return {"label": self.label, "text": self.text, "start": self.start, "end": self.end}

    @classmethod
    def from_dict(cls, value: dict[str, Any]) -> Entity:
        return cls(value["label"], value["text"], value["start"], value["end"])


@dataclass(frozen=True, slots=True)
class Mention:
    """What an answer names: a label and a text, and where it was grounded in the sentence.

    `start` and `end` are half-open offsets in Unicode code points, or both None where the text has no place in the
    sentence.
    """

    label: str
    text: str
    start: int | None = None
    end: int | None = None

    def to_dict(self) -> dict[str, Any]:
        return {"label": self.label, "text": self.text, "start": self.start, "end": self.end}

    @classmethod
    def from_dict(cls, value: dict[str, Any]) -> Mention:
        return cls(value["label"], value["text"], value["start"], value["end"])


@dataclass(frozen=True, slots=True)
class Prediction:
    """The answer to one sentence, read and grounded, with the sentence's gold entities (None: unlabelled)."""

    id: str
    text: str
    gold: tuple[Entity, ...] | None
    pred: tuple[Mention, ...]
    raw: str
    finish_reason: str | None
    status: str

    def to_dict(self) -> dict[str, Any]:
        return {
            "id": self.id,
            "text": self.text,
            "gold": None if self.gold is None else [entity.to_dict() for entity in self.gold],
            "pred": [mention.to_dict() for mention in self.pred],
            "raw": self.raw,
            "finish_reason": self.finish_reason,
            "status": self.status,
        }

    @classmethod
    def from_dict(cls, value: dict[str, Any]) -> Prediction:
        gold = value["gold"]
        return cls(
            value["id"],
            value["text"],
            None if gold is None else tuple(Entity.from_dict(entity) for entity in gold),
            tuple(Mention.from_dict(mention) for mention in value["pred"]),
            value.get("raw", ""),
            value.get("finish_reason"),
            value["status"],
        )


@dataclass(frozen=True, slots=True)
class Tokens:
    """A row of a split as the trainer encodes it."""

    id: str
    prompt_ids: list[int]
    answer_tokens: int | None
    """The length of the gold answer in tokens; None where the sentence is unlabelled."""

    @property
    def length(self) -> int:
        """Prompt and answer together, in tokens."""
        return len(self.prompt_ids) + (self.answer_tokens or 0)


@dataclass(frozen=True, slots=True)
class Sentence:
    """A sentence of a corpus. `entities` is sorted by (start, end, label), or None where the split is unlabelled."""

    id: str
    text: str
    entities: tuple[Entity, ...] | None

    def to_dict(self) -> dict[str, Any]:
        record: dict[str, Any] = {"id": self.id, "text": self.text}
        if self.entities is not None:
            record["entities"] = [entity.to_dict() for entity in self.entities]
        return record

    @classmethod
    def from_dict(cls, value: dict[str, Any]) -> Sentence:
        entities = value.get("entities")
        return cls(
            value["id"],
            value["text"],
            None if entities is None else tuple(Entity.from_dict(entity) for entity in entities),
        )


Record: TypeAlias = dict[str, Any]
"""An object as docs/contracts.md describes it."""

_PREDICTION = frozenset(("id", "text", "gold", "pred", "status"))
_SENTENCE = frozenset(("id", "text"))
_TOKENS = frozenset(("id", "prompt_ids", "answer_tokens"))
_ENTITY = frozenset(("label", "text", "start", "end"))


def read_predictions(path: str | Path) -> Iterator[Record]:
    """Yield the predictions of a file. Raises InputError where one is not as docs/contracts.md says."""
    return _read(path, _PREDICTION, ("gold", "pred"))


def read_sentences(path: str | Path) -> Iterator[Sentence]:
    """Yield the sentences of a canonical file. Raises InputError where one is not as docs/contracts.md says."""
    return (Sentence.from_dict(record) for record in _read(path, _SENTENCE, ("entities",)))


def read_tokens(path: str | Path) -> Iterator[Tokens]:
    """Yield the rows of an encoded split. Raises InputError where one is not as docs/contracts.md says."""
    for row in _read(path, _TOKENS, ()):
        yield Tokens(row["id"], row["prompt_ids"], row["answer_tokens"])


def _read(path: str | Path, keys: frozenset[str], entity_keys: Collection[str]) -> Iterator[Record]:
    with open(path, "rb") as stream:
        for number, line in enumerate(stream, 1):
            try:
                record = json.loads(line.decode("utf-8"))
            except ValueError as error:
                raise InputError(f"{path}:{number}: expected an object in JSON, in UTF-8 ({error})") from None
            if not isinstance(record, dict) or not record.keys() >= keys:
                raise InputError(f"{path}:{number}: expected an object with {', '.join(sorted(keys))}")
            for entity in chain.from_iterable(record.get(key) or () for key in entity_keys):
                if not isinstance(entity, dict) or not entity.keys() >= _ENTITY:
                    raise InputError(f"{path}:{number}: expected entities with {', '.join(sorted(_ENTITY))}")
            yield record
