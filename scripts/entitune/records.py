"""The two records that every stage shares: an entity and a sentence."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


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
