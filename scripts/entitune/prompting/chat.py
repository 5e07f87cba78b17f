"""How a model is talked to: one record for encoding, training, parity, prediction, server and client."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class ChatSettings:
    """The chat settings of a model's entry in conf/models.yaml."""

    template: str | None = None
    """LLaMA-Factory's template; None: the model's own chat template."""
    thinking: bool = False
    """Whether the model may think before it answers."""

    @classmethod
    def from_json(cls, text: str) -> ChatSettings:
        """Read what `to_json` writes, from a command line. Raises ValueError or TypeError for anything else."""
        return cls(**json.loads(text))

    def to_json(self) -> str:
        """Write the settings for a command line."""
        return json.dumps(asdict(self))

    @property
    def training_arguments(self) -> dict[str, Any]:
        """The settings as LLaMA-Factory's arguments."""
        arguments: dict[str, Any] = {"enable_thinking": self.thinking}
        return arguments | ({"template": self.template} if self.template else {})

    @property
    def template_arguments(self) -> dict[str, Any]:
        """The settings as arguments of the model's chat template: a request's `chat_template_kwargs` in vLLM."""
        return {"enable_thinking": self.thinking}


def control_tokens(tokenizer: Any) -> dict[int, str]:
    """Find the tokens that mark up a chat: a text that holds one would end a turn or begin one.

    Args:
        tokenizer: a tokenizer of transformers.

    Returns:
        Token id -> text: the special tokens, and added words that the chat template writes, as <think>. The token of
        unknown characters is not one of them, unless it marks up the chat as well.
    """
    template = tokenizer.chat_template if isinstance(tokenizer.chat_template, str) else ""
    marks = {tokenizer.eos_token_id, tokenizer.bos_token_id, tokenizer.pad_token_id}
    return {
        token_id: token.content
        for token_id, token in tokenizer.added_tokens_decoder.items()
        if (token.special and (token_id != tokenizer.unk_token_id or token_id in marks))
        or (token.content.split() == [token.content] and token.content in template)
    }


def blank(row: Mapping[str, Any]) -> dict[str, Any]:
    """An alpaca row of the same turns with plain words in all of them, to tell markup from content."""
    texts = {key: "x" if row[key] else "" for key in ("system", "instruction", "input", "output")}
    return {**row, **texts, "history": [["x", "x"] for _ in row["history"]]}
