"""Predictions that several tests of the evaluation score."""

from __future__ import annotations

import random
from typing import Any

from entitune.records import Entity, Mention, Prediction, Status

LABELS = ["address", "book", "company", "game", "government", "movie", "name", "organization", "position", "scene"]


def entity(label: str, text: str, start: int | None = None, end: int | None = None) -> dict[str, Any]:
    return {"label": label, "text": text, "start": start, "end": end}


def record(
    gold: list[dict[str, Any]] | None,
    pred: list[dict[str, Any]],
    number: int = 1,
    text: str = "",
    status: Status = "ok",
) -> Prediction:
    return Prediction(
        id=f"dev-{number}",
        text=text,
        gold=None if gold is None else tuple(Entity(**one) for one in gold),
        pred=tuple(Mention(**one) for one in pred),
        status=status,
    )


def noisy(generator: random.Random, sentences: int = 30) -> list[Prediction]:
    """Draw predictions that are randomly correct, wrong or missing."""
    records = []
    for number in range(sentences):
        gold = [entity(generator.choice(LABELS), "X", i, i + 1) for i in range(generator.randint(0, 4))]
        pred = [generator.choice([one, {**one, "label": generator.choice([*LABELS, "动物"])}]) for one in gold[:3]]
        records.append(record(gold, pred, number, "X" * 4))
    return records
