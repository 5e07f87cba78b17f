"""A sentence as the chat that the model is trained on and asked with: one place for training, prediction, serving."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from entitune.files import to_json
from entitune.records import Sentence


def format_answer(sentence: Sentence) -> str:
    """The answer that the model learns: a JSON array of {"label", "text"}, one element a mention, in text order."""
    return to_json([{"label": entity.label, "text": entity.text} for entity in sentence.entities or ()])


def answer_schema(labels: Sequence[str]) -> dict[str, Any]:
    """The JSON schema of an answer: what vLLM holds a model to where decoding is structured."""
    mention = {
        "type": "object",
        "properties": {"label": {"enum": list(labels)}, "text": {"type": "string"}},
        "required": ["label", "text"],
        "additionalProperties": False,
    }
    return {"type": "array", "items": mention}


@dataclass(frozen=True)
class Prompt:
    """The fixed part of a chat: system turn, user text before the sentence, worked examples."""

    user: str
    system: str = ""
    """Empty: the chat template's own default system turn."""
    examples: list[list[str]] = field(default_factory=list)
    """[user turn, assistant turn] pairs that precede the sentence (few-shot)."""

    @classmethod
    def build(
        cls, user: str, system: str, labels: Sequence[str], pool: Sequence[Sentence] = (), shots: int = 0, seed: int = 0
    ) -> Prompt:
        """Fill in `{labels}` and draw `shots` labelled sentences from `pool` with `seed`."""
        # str.replace, not str.format: the braces of the JSON example in a prompt are meant as they stand.
        user, system = (text.strip("\n").replace("{labels}", ", ".join(labels)) for text in (user, system))
        if shots > len(pool):
            raise ValueError(f"{shots} examples asked for, but the training split has {len(pool)} sentences")
        drawn = random.Random(seed).sample(list(pool), shots)
        return cls(user, system, [[f"{user}\n{sentence.text}", format_answer(sentence)] for sentence in drawn])

    @classmethod
    def from_row(cls, row: dict[str, Any]) -> Prompt:
        """The prompt that an alpaca row was made with."""
        return cls(row["instruction"], row["system"], row["history"])

    def row(self, sentence: Sentence) -> dict[str, Any]:
        """The alpaca row of a sentence; `output` is empty where the sentence is unlabelled."""
        return {
            "id": sentence.id,
            "system": self.system,
            "instruction": self.user,
            "input": sentence.text,
            "output": "" if sentence.entities is None else format_answer(sentence),
            "history": self.examples,
        }


def chat_of(row: dict[str, Any]) -> list[dict[str, str]]:
    """The messages of an alpaca row up to the answer: system if it has one, examples, user.

    LLaMA-Factory joins `instruction` and `input` with one line end; so does this.
    """
    messages = [{"role": "system", "content": row["system"]}] if row["system"] else []
    for user, assistant in row["history"]:
        messages += [{"role": "user", "content": user}, {"role": "assistant", "content": assistant}]
    return [*messages, {"role": "user", "content": f"{row['instruction']}\n{row['input']}"}]
