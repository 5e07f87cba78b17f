"""How a model is talked to: one record for encoding, training, parity, prediction, server and client."""

from __future__ import annotations

import argparse
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
        Token id -> text, of those that `is_control_token` names.
    """
    marks = (tokenizer.eos_token, tokenizer.bos_token, tokenizer.pad_token)
    unknown = None if tokenizer.unk_token in marks else tokenizer.unk_token
    template = text_of_template(tokenizer.chat_template)
    return {
        token_id: token.content
        for token_id, token in tokenizer.added_tokens_decoder.items()
        if is_control_token(token.content, token.special, template, unknown)
    }


def text_of_template(template: Any) -> str:
    """The text of a model's chat template, or of its named templates, as a tokenizer or its configuration has them."""
    if isinstance(template, str):
        return template
    named = template.values() if isinstance(template, Mapping) else [one["template"] for one in template or ()]
    return "\n".join(named)


def is_control_token(content: str, special: bool, template: str, unknown: str | None) -> bool:
    """Whether a token that was added to a vocabulary marks up chats.

    Args:
        content: its text.
        special: whether the tokenizer calls it special.
        template: the model's chat template; a word of it that is one token, as <think>, marks up a chat too.
        unknown: the token of unknown characters, which marks up nothing; None where it has another use as well.
    """
    return (special and content != unknown) or (content.split() == [content] and content in template)


def blank(row: Mapping[str, Any]) -> dict[str, Any]:
    """An alpaca row of the same turns with plain words in all of them, to tell markup from content."""
    texts = {key: "x" if row[key] else "" for key in ("system", "instruction", "input", "output")}
    return {**row, **texts, "history": [["x", "x"] for _ in row["history"]]}


def add_chat_option(parser: argparse.ArgumentParser) -> None:
    """Add `--chat`, the settings of the model, as scripts take them."""
    parser.add_argument(
        "--chat",
        type=ChatSettings.from_json,
        default=ChatSettings(),
        help='JSON: {"template", "thinking"} of the model (default: its own chat template, no thinking)',
    )
