"""From a model's raw answer to a prediction: one way for the batch path and for what a server answers."""

from __future__ import annotations

from typing import Any

from entitune.prompting.answer_parser import read_answer
from entitune.prompting.grounding import ground


def read_prediction(text: str, raw: str, finish_reason: str | None) -> dict[str, Any]:
    """The part of a prediction that comes from the answer; docs/contracts.md explains the keys."""
    answer = read_answer(raw)
    return {
        "pred": [entity.to_dict() for entity in ground(text, answer.mentions)],
        "raw": raw,
        "finish_reason": finish_reason,
        "status": "truncated" if finish_reason == "length" else answer.status,
    }
