"""Encode alpaca rows as LLaMA-Factory does when it trains: the prompt's token ids and the answer's length.

Prediction sends exactly these ids, and `register_dataset` compares the lengths with cutoff_len, because
LLaMA-Factory would cut a longer row silently. Runs in the train environment.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from entitune.cli import run
from entitune.files import atomic_write, to_json
from entitune.prompting.prompt import chat_of


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--alpaca", type=Path, required=True, help="alpaca JSON of the split")
    parser.add_argument("--model", required=True, help="folder of the base model")
    parser.add_argument("--template", help="LLaMA-Factory template (default: the model's own chat template)")
    parser.add_argument("--output", required=True, help="JSONL: id, prompt_ids, answer_tokens (null if unlabelled)")
    args = parser.parse_args()

    # Imported late: they take seconds, and --help should not.
    from llamafactory.data.template import get_template_and_fix_tokenizer
    from llamafactory.hparams import DataArguments, ModelArguments
    from llamafactory.model import load_tokenizer

    tokenizer = load_tokenizer(ModelArguments(model_name_or_path=args.model))["tokenizer"]
    template = get_template_and_fix_tokenizer(tokenizer, DataArguments(template=args.template))
    with atomic_write(args.output) as stream:
        for row in json.loads(args.alpaca.read_text(encoding="utf-8")):
            turns = [message for message in chat_of(row) if message["role"] != "system"]
            answer = {"role": "assistant", "content": row["output"]}
            prompt_ids, answer_ids = template.encode_oneturn(tokenizer, [*turns, answer], system=row["system"])
            answer_tokens = len(answer_ids) + template.efficient_eos if row["output"] else None
            record = {"id": row["id"], "prompt_ids": prompt_ids, "answer_tokens": answer_tokens}
            stream.write(to_json(record) + "\n")


if __name__ == "__main__":
    run(main)
