"""Encode alpaca rows as LLaMA-Factory does when it trains: the token ids of prompt and answer.

Prediction sends exactly these ids, and `register_dataset` compares the lengths with cutoff_len, because
LLaMA-Factory would cut a longer row silently. Runs in the train environment.
"""

from __future__ import annotations

import argparse
from collections import Counter
from pathlib import Path
from typing import Any

from entitune.cli import InputError, run
from entitune.files import write_jsonl
from entitune.manifests import check_model
from entitune.prompting.chat import ChatSettings, blank, control_tokens
from entitune.prompting.prompt import chat_of
from entitune.prompting.rows import read_alpaca

SHOWN = 20
"""How many rows an error message lists."""


class Encoder:
    """LLaMA-Factory's template of a model, and the tokens that mark up its chat."""

    def __init__(self, model: str, chat: ChatSettings) -> None:
        # Imported late: they take seconds, and --help should not.
        from llamafactory.data.template import get_template_and_fix_tokenizer
        from llamafactory.hparams import DataArguments, ModelArguments
        from llamafactory.model import load_tokenizer

        self._tokenizer = load_tokenizer(ModelArguments(model_name_or_path=model))["tokenizer"]
        self._template = get_template_and_fix_tokenizer(self._tokenizer, DataArguments(**chat.training_arguments))
        self._control = control_tokens(self._tokenizer)
        self._markup: dict[tuple[bool, int], Counter[int]] = {}

    def encode(self, row: dict[str, Any]) -> tuple[list[int], list[int]]:
        """Token ids of prompt and answer; those of the answer end with what ends the model's turn."""
        turns = [message for message in chat_of(row) if message["role"] != "system"]
        answer = {"role": "assistant", "content": row["output"]}
        prompt_ids, answer_ids = self._template.encode_oneturn(self._tokenizer, [*turns, answer], system=row["system"])
        return prompt_ids, answer_ids + [self._tokenizer.eos_token_id] * self._template.efficient_eos

    def control_tokens_in(self, row: dict[str, Any], ids: list[int]) -> list[str]:
        """Control tokens that a row's encoding has beyond those of its turns: they stand in its texts."""
        turns = (bool(row["system"]), len(row["history"]))
        if turns not in self._markup:
            prompt_ids, answer_ids = self.encode(blank(row))
            self._markup[turns] = self._count(prompt_ids + answer_ids)
        return sorted(self._control[token] for token in self._count(ids) - self._markup[turns])

    def _count(self, ids: list[int]) -> Counter[int]:
        return Counter(token for token in ids if token in self._control)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--alpaca", type=Path, required=True, help="alpaca JSON of the split")
    parser.add_argument("--model", required=True, help="folder of the base model")
    parser.add_argument(
        "--chat",
        type=ChatSettings.from_json,
        default=ChatSettings(),
        help='JSON: {"template", "thinking"} of the model (default: its own chat template, no thinking)',
    )
    parser.add_argument(
        "--on-invalid", choices=["fail", "drop"], default="fail", help="what a row with control tokens does"
    )
    parser.add_argument(
        "--output",
        required=True,
        help="JSONL: id, prompt_ids, answer_ids, answer_tokens (null if unlabelled); problem of a row to be dropped",
    )
    args = parser.parse_args()

    check_model(Path(args.model))
    rows, encoder = read_alpaca(args.alpaca), Encoder(args.model, args.chat)
    records, problems = [], []
    for line, row in enumerate(rows, 2):  # "[" is line 1
        prompt_ids, answer_ids = encoder.encode(row)
        if found := encoder.control_tokens_in(row, prompt_ids + answer_ids):
            problem = f"the text holds {', '.join(map(repr, found))}, which the model reads as markup of the chat"
            problems.append(f"{args.alpaca}:{line}: sentence {row['id']}: {problem}")
            records.append(
                {"id": row["id"], "prompt_ids": [], "answer_ids": None, "answer_tokens": None} | {"problem": problem}
            )
            continue
        labelled = bool(row["output"])
        records.append(
            {
                "id": row["id"],
                "prompt_ids": prompt_ids,
                "answer_ids": answer_ids if labelled else None,
                "answer_tokens": len(answer_ids) if labelled else None,
            }
        )
    if problems and args.on_invalid == "fail":
        more = [f"... and {len(problems) - SHOWN} more"] if len(problems) > SHOWN else []
        advice = "remove it from the corpus (or from the prompt, where all rows have it); a training split may also be "
        raise InputError("\n".join([*problems[:SHOWN], *more, advice + "set to on_invalid: drop"]))
    if problems:
        print(f"{len(problems)} of {len(rows)} rows will be dropped: their texts hold tokens of the chat's markup")
    write_jsonl(args.output, records)


if __name__ == "__main__":
    run(main)
