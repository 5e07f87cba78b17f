"""Make a prediction of a model's raw answer, for batch prediction and for serving."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from entitune.prompting.answer_formats import AnswerFormat
from entitune.prompting.answer_formats.reading import read_answer
from entitune.prompting.confidence import Token, TokenProbabilities
from entitune.prompting.grounding import ground
from entitune.prompting.windows import Span, join
from entitune.records import WORST_FIRST, Prediction, Sentence


@dataclass(frozen=True, slots=True)
class RawAnswer:
    """A line of the answers that predict_shard writes."""

    run: str
    seed: int
    id: str
    raw: str
    finish_reason: str | None
    tokens: list[Token] | None = None
    """The tokens with their probabilities, if predict_shard recorded them."""
    step: int | None = None
    """The step of the checkpoint that answered, if candidates are compared."""


def read_prediction(
    answer_format: AnswerFormat,
    sentence: Sentence,
    raw: str,
    finish_reason: str | None,
    tokens: Iterable[Token] | None = None,
) -> Prediction:
    """Read the answer `raw` to a sentence and ground its mentions. docs/contracts.md explains the fields.

    With the answer's `tokens` and their probabilities, each mention gets a confidence.
    """
    answer = read_answer(answer_format, raw, sentence.text)
    mentions = ground(sentence.text, answer.mentions)
    if tokens is not None:
        probabilities = TokenProbabilities(raw, tokens)
        mentions = tuple(
            replace(mention, confidence=probabilities.confidence(ranges))
            for mention, ranges in zip(mentions, answer.ranges, strict=True)
        )
    return Prediction(
        id=sentence.id,
        text=sentence.text,
        gold=sentence.entities,
        pred=mentions,
        raw=raw,
        finish_reason=finish_reason,
        status="truncated" if finish_reason == "length" else answer.status,
    )


def joined(sentence: Sentence, spans: Sequence[Span], parts: Sequence[Prediction]) -> Prediction:
    """Join the predictions of a sentence's windows."""
    if len(parts) == 1:
        return parts[0]
    cut = any(part.finish_reason == "length" for part in parts)
    return Prediction(
        id=sentence.id,
        text=sentence.text,
        gold=sentence.entities,
        pred=join(spans, [part.pred for part in parts], len(sentence.text)),
        raw="\n".join(part.raw for part in parts),
        finish_reason="length" if cut else parts[0].finish_reason,
        status=min((part.status for part in parts), key=WORST_FIRST.index),
        windows=tuple(spans),
    )
