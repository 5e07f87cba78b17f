"""A sentence as the chat that the model is trained on and asked with: one place for training, prediction, serving."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from entitune.records import Sentence

LABELS, DEFINITIONS = "{labels}", "{definitions}"
"""The placeholders of a prompt's text."""


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
        cls,
        user: str,
        system: str,
        labels: Mapping[str, str],
        examples: Sequence[tuple[Sentence, str]] = (),
    ) -> Prompt:
        """Fill in the labels and put the examples, sentences with their answers, before the sentence.

        `labels` are the names with a description each, which may be empty. In the texts `{labels}` becomes the names,
        `{definitions}` a line for each with its description. Raises ValueError where a description is needed and empty.
        """
        prompt = cls(_fill(user.strip("\n"), labels), _fill(system.strip("\n"), labels))
        shown = [[f"{prompt.user}\n{sentence.text}", answer] for sentence, answer in examples]
        return cls(prompt.user, prompt.system, shown)

    @classmethod
    def from_row(cls, row: dict[str, Any]) -> Prompt:
        """The prompt that an alpaca row was made with."""
        return cls(row["instruction"], row["system"], row["history"])

    def row(self, sentence: Sentence, answer: str = "") -> dict[str, Any]:
        """The alpaca row of a sentence with the answer that a model should give; empty where it is unlabelled."""
        return {
            "id": sentence.id,
            "system": self.system,
            "instruction": self.user,
            "input": sentence.text,
            "output": answer,
            "history": self.examples,
        }


def _fill(text: str, labels: Mapping[str, str]) -> str:
    """A prompt's text with its placeholders replaced. Other braces are kept: the JSON example in a prompt has some."""
    if DEFINITIONS in text and (bare := [name for name, description in labels.items() if not description]):
        raise ValueError(f"the prompt shows {DEFINITIONS}, but no description is given for {', '.join(bare)}")
    filled = {
        LABELS: ", ".join(labels),
        DEFINITIONS: "\n".join(f"- {name}：{description}" for name, description in labels.items()),
    }
    # in one pass: what a description says is not a placeholder
    return re.sub("|".join(map(re.escape, filled)), lambda found: filled[found[0]], text)


def chat_of(row: dict[str, Any]) -> list[dict[str, str]]:
    """The messages of an alpaca row up to the answer: system if it has one, examples, user.

    LLaMA-Factory joins `instruction` and `input` with one line end; so does this.
    """
    messages = [{"role": "system", "content": row["system"]}] if row["system"] else []
    for user, assistant in row["history"]:
        messages += [{"role": "user", "content": user}, {"role": "assistant", "content": assistant}]
    return [*messages, {"role": "user", "content": f"{row['instruction']}\n{row['input']}"}]
