"""Encode alpaca rows as token ids with LLaMA-Factory's template code. Needs the train environment."""

from __future__ import annotations

from collections import Counter

from entitune.prompting.chat import ChatSettings, control_tokens
from entitune.prompting.prompt import AlpacaRow, chat_of

REPLACED = "{{idx}}"
"""The placeholder that LLaMA-Factory's template replaces with the number of the turn, even in a user's text."""


class Encoder:
    """LLaMA-Factory's template of a model, and the model's control tokens."""

    def __init__(self, model: str, chat: ChatSettings) -> None:
        # These imports take seconds, and --help should not.
        from llamafactory.data.template import get_template_and_fix_tokenizer
        from llamafactory.hparams import DataArguments, ModelArguments
        from llamafactory.model import load_tokenizer

        self._tokenizer = load_tokenizer(ModelArguments(model_name_or_path=model))["tokenizer"]
        self._template = get_template_and_fix_tokenizer(self._tokenizer, DataArguments(**chat.training_arguments))
        self._control = control_tokens(self._tokenizer)
        self._markup: dict[tuple[bool, int], Counter[int]] = {}

    def encode(self, row: AlpacaRow) -> tuple[list[int], list[int]]:
        """Return the token ids of the prompt and of the answer. The answer includes the end of the model's turn."""
        turns = [message for message in chat_of(row) if message["role"] != "system"]
        answer = {"role": "assistant", "content": row["output"]}
        prompt_ids, answer_ids = self._template.encode_oneturn(self._tokenizer, [*turns, answer], system=row["system"])
        return prompt_ids, answer_ids + [self._tokenizer.eos_token_id] * self._template.efficient_eos

    def find_problem(self, row: AlpacaRow, ids: list[int]) -> str | None:
        """Return why the token ids `ids` of a row do not represent its texts, or None."""
        texts = [row["instruction"], row["input"], *(user for user, _ in row["history"])]
        if any(REPLACED in text for text in texts):
            return f"the text holds {REPLACED!r}, which LLaMA-Factory's template replaces with a number"
        if found := self._control_tokens_in(row, ids):
            return f"the text holds {', '.join(map(repr, found))}, which the model reads as markup of the chat"
        return None

    def _control_tokens_in(self, row: AlpacaRow, ids: list[int]) -> list[str]:
        """Return the control tokens in a row's texts: those in its encoding that its turns do not explain."""
        turns = (bool(row["system"]), len(row["history"]))
        if turns not in self._markup:
            prompt_ids, answer_ids = self.encode(_without_content(row))
            self._markup[turns] = self._count(prompt_ids + answer_ids)
        return sorted(self._control[token] for token in self._count(ids) - self._markup[turns])

    def _count(self, ids: list[int]) -> Counter[int]:
        return Counter(token for token in ids if token in self._control)


def _without_content(row: AlpacaRow) -> AlpacaRow:
    """Return the row with the same turns and plain words in them, to tell markup from content."""
    return {
        "id": row["id"],
        "system": row["system"] and "x",
        "instruction": row["instruction"] and "x",
        "input": row["input"] and "x",
        "output": row["output"] and "x",
        "history": [["x", "x"] for _ in row["history"]],
    }
