"""The chat in which a model gets a sentence: the same for training, prediction and serving."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NotRequired

from typing_extensions import TypedDict

from entitune.records import Sentence

LABELS, DEFINITIONS = "{labels}", "{definitions}"
"""The placeholders of a prompt's text."""


class AlpacaRow(TypedDict):
    """A sentence with its prompt and answer, as docs/contracts.md describes it."""

    id: str
    system: str
    instruction: str
    input: str
    output: str
    """The answer to learn; empty if the sentence is unlabelled."""
    history: list[list[str]]
    """Pairs [user turn, assistant turn] before the sentence: the examples of a few-shot prompt."""
    sentence: NotRequired[str]
    """The id of the sentence that the row is a window of."""


@dataclass(frozen=True)
class Prompt:
    """The fixed part of a chat: system turn, user text before the sentence, and examples."""

    user: str
    system: str = ""
    """If empty, the chat template's default system turn is used."""
    examples: list[list[str]] = field(default_factory=list)
    """Pairs [user turn, assistant turn] before the sentence (few-shot)."""

    @classmethod
    def build(
        cls,
        user: str,
        system: str,
        labels: Mapping[str, str],
        examples: Sequence[tuple[Sentence, str]] = (),
    ) -> Prompt:
        """Build a prompt from its texts.

        Args:
            user: the text before the sentence. `{labels}` becomes the labels' names, `{definitions}` a line with name
                and description for each label.
            system: the system turn, with the same placeholders.
            labels: name -> description, which may be empty.
            examples: sentences with their answers.

        Raises:
            ValueError: a description is needed but empty.
        """
        prompt = cls(_fill(user.strip("\n"), labels), _fill(system.strip("\n"), labels))
        shown = [[f"{prompt.user}\n{sentence.text}", answer] for sentence, answer in examples]
        return cls(prompt.user, prompt.system, shown)

    @classmethod
    def from_row(cls, row: AlpacaRow) -> Prompt:
        """Return the prompt of an alpaca row."""
        return cls(row["instruction"], row["system"], row["history"])

    def row(self, sentence: Sentence, answer: str = "") -> AlpacaRow:
        """Return the alpaca row of a sentence."""
        return {
            "id": sentence.id,
            "system": self.system,
            "instruction": self.user,
            "input": sentence.text,
            "output": answer,
            "history": self.examples,
        }


def _fill(text: str, labels: Mapping[str, str]) -> str:
    """Replace the placeholders of a prompt's text. Other braces stay: a prompt may show JSON."""
    if DEFINITIONS in text and (bare := [name for name, description in labels.items() if not description]):
        raise ValueError(f"the prompt shows {DEFINITIONS}, but these labels have no description: {', '.join(bare)}")
    filled = {
        LABELS: ", ".join(labels),
        DEFINITIONS: "\n".join(f"- {name}：{description}" for name, description in labels.items()),
    }
    # all at once, so that a placeholder in a description is not replaced
    return re.sub("|".join(map(re.escape, filled)), lambda found: filled[found[0]], text)


def chat_of(row: AlpacaRow) -> list[dict[str, str]]:
    """Return the messages of an alpaca row before the answer: system (if there is one), examples, user.

    Like LLaMA-Factory, this joins `instruction` and `input` with one line end.
    """
    messages = [{"role": "system", "content": row["system"]}] if row["system"] else []
    for user, assistant in row["history"]:
        messages += [{"role": "user", "content": user}, {"role": "assistant", "content": assistant}]
    return [*messages, {"role": "user", "content": f"{row['instruction']}\n{row['input']}"}]
