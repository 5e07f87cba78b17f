"""Predictions to score: what the tests of the evaluation share."""

from __future__ import annotations

import random
from typing import Any

LABELS = ["address", "book", "company", "game", "government", "movie", "name", "organization", "position", "scene"]


def entity(label: str, text: str, start: int | None = None, end: int | None = None) -> dict[str, Any]:
    return {"label": label, "text": text, "start": start, "end": end}


def record(gold: list[dict[str, Any]] | None, pred: list[dict[str, Any]], number: int = 1) -> dict[str, Any]:
    return {"id": f"dev-{number}", "text": "", "gold": gold, "pred": pred, "status": "ok"}


def noisy(generator: random.Random, sentences: int = 30) -> list[dict[str, Any]]:
    """Predictions that are right, wrong or missing by chance."""
    records = []
    for number in range(sentences):
        gold = [entity(generator.choice(LABELS), "X", i, i + 1) for i in range(generator.randint(0, 4))]
        pred = [generator.choice([one, {**one, "label": generator.choice([*LABELS, "动物"])}]) for one in gold[:3]]
        records.append(record(gold, pred, number))
    return records
