"""Predictions to score, and the scripts that score them: what the tests of the evaluation share."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

SCRIPTS = Path(__file__).parents[1] / "scripts"
LABELS = ["address", "book", "company", "game", "government", "movie", "name", "organization", "position", "scene"]


def entity(label: str, text: str, start: int | None = None, end: int | None = None) -> dict[str, Any]:
    return {"label": label, "text": text, "start": start, "end": end}


def record(gold: list[dict[str, Any]] | None, pred: list[dict[str, Any]], number: int = 1) -> dict[str, Any]:
    return {"id": f"dev-{number}", "text": "", "gold": gold, "pred": pred, "status": "ok"}


def run_script(name: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(SCRIPTS / f"{name}.py"), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def write_jsonl(path: Path, records: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(one, ensure_ascii=False) + "\n" for one in records), encoding="utf-8")
    return path


def noisy(generator: random.Random, sentences: int = 30) -> list[dict[str, Any]]:
    """Predictions that are right, wrong or missing by chance."""
    records = []
    for number in range(sentences):
        gold = [entity(generator.choice(LABELS), "X", i, i + 1) for i in range(generator.randint(0, 4))]
        pred = [generator.choice([one, {**one, "label": generator.choice([*LABELS, "动物"])}]) for one in gold[:3]]
        records.append(record(gold, pred, number))
    return records
