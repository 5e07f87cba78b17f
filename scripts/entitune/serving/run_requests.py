"""The requests to a server of a run, the answers to them, and what the answers depend on."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from entitune.files import sha256
from entitune.manifests import MANIFEST
from entitune.prompting.answer_formats.constraints import constraint_of
from entitune.prompting.answer_formats.writing import write_answer
from entitune.prompting.confidence import Token
from entitune.prompting.predictions import read_prediction
from entitune.prompting.prompt import chat_of
from entitune.prompting.windows import Span, join
from entitune.records import WORST_FIRST, Mention, Sentence
from entitune.serving.finished_runs import FinishedRun

TOO_LONG, REFUSED = "too_long", "refused"
"""The status of a sentence without an answer. docs/contracts.md lists the status of answers."""
STATUSES = (REFUSED, TOO_LONG, *WORST_FIRST)
"""From worst to best. A text has the worst status of its sentences."""


@dataclass(frozen=True, slots=True)
class Answer:
    """The answer to one sentence; docs/contracts.md explains the fields."""

    mentions: tuple[Mention, ...]
    raw: str
    finish_reason: str | None
    status: str
    error: str | None = None
    """Why there is no answer, if the status is TOO_LONG or REFUSED."""
    windows: tuple[Span, ...] = ()
    """The windows that were asked, if the complete sentence was too long."""

    @classmethod
    def joined(cls, spans: Sequence[Span], answers: Sequence[Answer], length: int) -> Answer:
        """Join the answers to the windows of a sentence of `length` characters."""
        worst = min(answers, key=lambda answer: STATUSES.index(answer.status))
        cut = any(answer.finish_reason == "length" for answer in answers)
        return cls(
            mentions=join(spans, [answer.mentions for answer in answers], length),
            raw="\n".join(answer.raw for answer in answers),
            finish_reason="length" if cut else answers[0].finish_reason,
            status=worst.status,
            error=worst.error,
            windows=tuple(spans),
        )

    def to_dict(self) -> dict[str, Any]:
        """Return the fields of an answer in a line of the output."""
        return {
            "entities": [mention.to_dict() for mention in self.mentions],
            "raw": self.raw,
            "finish_reason": self.finish_reason,
            "status": self.status,
            **({"error": self.error} if self.error is not None else {}),
            **({"windows": [list(window) for window in self.windows]} if self.windows else {}),
        }


def constraint_on(run: FinishedRun, text: str) -> dict[str, str]:
    """Return the `structured_outputs` that constrain the answer to a sentence to the run's format."""
    return constraint_of(run.answer_format, run.labels, text).to_vllm()


def request_of(run: FinishedRun, text: str, with_tokens: bool = False) -> dict[str, Any]:
    """Return the body of the chat request that asks `run` for a sentence's entities.

    `with_tokens` also asks for the probability of each token of the answer.
    """
    body: dict[str, Any] = {
        "model": run.name,
        "messages": chat_of(run.prompt.row(Sentence(id="", text=text, entities=None))),
        "temperature": 0,
        "max_tokens": run.decode.max_tokens,
    }
    if run.decode.structured:
        body["structured_outputs"] = constraint_on(run, text)
    return body | ({"logprobs": True} if with_tokens else {})


def read_answer_to(
    run: FinishedRun,
    text: str,
    raw: str | None,
    finish_reason: str | None,
    tokens: Sequence[Token] | None = None,
) -> Answer:
    """Read the answer to a sentence. `raw` is None for a blank text, which has no entities and is not sent."""
    if raw is None:
        raw = write_answer(run.answer_format, Sentence(id="", text=text, entities=()))
    prediction = read_prediction(run.answer_format, Sentence(id="", text=text), raw, finish_reason, tokens)
    return Answer(prediction.pred, raw, finish_reason, prediction.status)


def identity_of(run: FinishedRun) -> dict[str, str]:
    """Return what a run's answers depend on: its name, and the SHA-256 of everything else."""
    settings = [run.answer_format, run.labels, run.decode.max_tokens, run.decode.structured]
    settings += [run.decode.max_model_len] if run.windows else []
    messages = chat_of(run.prompt.row(Sentence(id="", text="", entities=None)))
    return {
        "run": run.name,
        "base model": sha256(run.base / MANIFEST),
        "adapter": sha256(run.adapter / "adapter_model.safetensors") if run.adapter else "none",
        "prompt": _digest(messages),
        "answers": _digest(settings),
    }


def version_of(run: FinishedRun) -> str:
    """Return one SHA-256 for everything that a run's answers depend on."""
    return _digest(identity_of(run))


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode("ascii")).hexdigest()
