"""From a model's raw answer to a prediction: one way for the batch path and for what a server answers."""

from __future__ import annotations

from entitune.prompting.answer_formats import AnswerFormat
from entitune.prompting.answer_formats.reading import read_answer
from entitune.prompting.grounding import ground
from entitune.records import Prediction, Sentence


def read_prediction(answer_format: AnswerFormat, sentence: Sentence, raw: str, finish_reason: str | None) -> Prediction:
    """Read the answer `raw` to a sentence and ground its mentions. docs/contracts.md explains the fields."""
    answer = read_answer(answer_format, raw, sentence.text)
    return Prediction(
        id=sentence.id,
        text=sentence.text,
        gold=sentence.entities,
        pred=ground(sentence.text, answer.mentions),
        raw=raw,
        finish_reason=finish_reason,
        status="truncated" if finish_reason == "length" else answer.status,
    )
