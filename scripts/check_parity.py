"""Check for each sentence that serving sends the token ids that the model was trained on.

LLaMA-Factory trains with its own template, but vLLM's server applies the chat template of the model's tokenizer. If the
two differ, answers silently get worse. Runs in the predict environment, because the server uses its tokenizer.
"""

from __future__ import annotations

import argparse
from itertools import zip_longest
from pathlib import Path
from typing import Any

from entitune.cli import InputError, run
from entitune.files import write_json
from entitune.prompting.chat import add_chat_option
from entitune.prompting.prompt import chat_of
from entitune.prompting.rows import read_pairs

REMEDY = "give the model another `template` in conf/models.yaml (null: the model's own chat template)"


def check_thinking_switch(tokenizer: Any, model: str) -> None:
    """Raise InputError if the chat template gives the same prompt with thinking and without."""
    on, off = (
        tokenizer.apply_chat_template(
            [{"role": "user", "content": "x"}], add_generation_prompt=True, tokenize=False, enable_thinking=thinking
        )
        for thinking in (True, False)
    )
    if on == off:
        raise InputError(
            f"{model}: the chat template has no switch for thinking (enable_thinking); "
            "remove `thinking: true` from the model's entry in conf/models.yaml"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--alpaca", type=Path, required=True, help="alpaca JSON of the split")
    parser.add_argument("--tokens", required=True, help="JSONL of encode_split for the same rows")
    parser.add_argument("--model", required=True, help="folder of the base model")
    add_chat_option(parser)
    parser.add_argument("--output", required=True, help="JSON: the numbers of sentences and of equal prompts")
    args = parser.parse_args()

    # Imported late, because it takes seconds and --help should be fast.
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(args.model)
    settings = args.chat.template_arguments
    if args.chat.thinking:
        check_thinking_switch(tokenizer, args.model)
    rows, equal = read_pairs(args.alpaca, args.tokens), 0
    for row, encoded in rows:
        if encoded.problem:
            continue  # a row that is used neither for training nor for prediction
        trained = encoded.prompt_ids
        served = tokenizer.apply_chat_template(chat_of(row), add_generation_prompt=True, return_dict=False, **settings)
        if served != trained:
            first = next(i for i, (a, b) in enumerate(zip_longest(served, trained)) if a != b)
            raise InputError(
                f"{args.alpaca}: sentence {row['id']}: the prompt served differs from the prompt trained on from "
                f"token {first} on: served {tokenizer.decode(served[first:][:12])!r}, trained "
                f"{tokenizer.decode(trained[first:][:12])!r}; {REMEDY}"
            )
        if encoded.answer_ids and tokenizer.eos_token_id not in encoded.answer_ids:
            raise InputError(
                f"{args.alpaca}: sentence {row['id']}: a trained answer ends with "
                f"{tokenizer.decode(encoded.answer_ids[-2:])!r}, but generation stops at the tokenizer's "
                f"{tokenizer.eos_token!r}; set eos_token in {args.model}/tokenizer_config.json, or {REMEDY}"
            )
        equal += 1
    write_json(args.output, {"sentences": len(rows), "equal": equal})


if __name__ == "__main__":
    run(main)
