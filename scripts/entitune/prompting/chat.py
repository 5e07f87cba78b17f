"""The chat settings of a model, shared by encoding, training, parity check, prediction, server and client."""

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
    """Find the control tokens of a tokenizer: a text that contains one would end a turn or begin one.

    Args:
        tokenizer: a tokenizer of transformers.

    Returns:
        Token id -> text, for each token that `is_control_token` accepts.
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
    """Return the text of a chat template: a string, or several named templates, as tokenizers store them."""
    if isinstance(template, str):
        return template
    named = template.values() if isinstance(template, Mapping) else [one["template"] for one in template or ()]
    return "\n".join(named)


def is_control_token(content: str, special: bool, template: str, unknown: str | None) -> bool:
    """Return whether an added token of a vocabulary is a control token.

    Args:
        content: the text of the token.
        special: whether the tokenizer marks the token as special.
        template: the model's chat template. A token that is a word of it, such as <think>, is a control token too.
        unknown: the token for unknown characters, which is not a control token. None if it has another use as well.
    """
    return (special and content != unknown) or (content.split() == [content] and content in template)


def add_chat_option(parser: argparse.ArgumentParser) -> None:
    """Add the option `--chat`: the chat settings of the model."""
    parser.add_argument(
        "--chat",
        type=ChatSettings.from_json,
        default=ChatSettings(),
        help='JSON: {"template", "thinking"} of the model (default: its own chat template, no thinking)',
    )
