"""Check that the model's own chat template makes the token ids that training saw, sentence by sentence.

LLaMA-Factory trains with its template; vLLM's server applies the chat template in the model's tokenizer. Where the
two differ, answers get worse without a word. Runs in the predict environment, whose tokenizer the server uses.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from entitune.cli import InputError, run
from entitune.files import atomic_write, read_jsonl, to_json
from entitune.prompting.prompt import chat_of


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--alpaca", type=Path, required=True, help="alpaca JSON of the split")
    parser.add_argument("--tokens", required=True, help="the same rows as encoded by encode_split")
    parser.add_argument("--model", required=True, help="folder of the base model")
    parser.add_argument("--output", required=True, help="JSON: how many sentences agree")
    args = parser.parse_args()

    # Imported late: it takes seconds, and --help should not.
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(args.model)
    rows = json.loads(args.alpaca.read_text(encoding="utf-8"))
    for row, encoded in zip(rows, read_jsonl(args.tokens), strict=True):
        served = tokenizer.apply_chat_template(chat_of(row), add_generation_prompt=True, return_dict=False)
        if served != encoded["prompt_ids"]:
            first = next(
                (i for i, pair in enumerate(zip(served, encoded["prompt_ids"], strict=False)) if pair[0] != pair[1]),
                min(len(served), len(encoded["prompt_ids"])),
            )
            raise InputError(
                f"{args.alpaca}: sentence {row['id']}: the prompt served differs from the prompt trained on from "
                f"token {first} on: served {tokenizer.decode(served[first:][:12])!r}, trained "
                f"{tokenizer.decode(encoded['prompt_ids'][first:][:12])!r}; give the model another `template` in "
                "conf/models.yaml (null: the model's own chat template)"
            )
    with atomic_write(args.output) as stream:
        stream.write(to_json({"sentences": len(rows), "equal": len(rows)}) + "\n")


if __name__ == "__main__":
    run(main)
