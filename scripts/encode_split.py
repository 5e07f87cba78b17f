"""Encode alpaca rows as LLaMA-Factory does in training: the token ids of prompt and answer.

Prediction sends exactly these ids. `register_dataset` compares their number with cutoff_len, because LLaMA-Factory
would silently cut a longer row. Runs in the train environment.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from entitune.cli import InputError, run
from entitune.files import write_jsonl
from entitune.manifests import check_model
from entitune.prompting.chat import add_chat_option
from entitune.prompting.encoding import Encoder
from entitune.prompting.rows import listed, read_alpaca


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--alpaca", type=Path, required=True, help="alpaca JSON of the split")
    parser.add_argument("--model", required=True, help="folder of the base model")
    add_chat_option(parser)
    parser.add_argument(
        "--on-invalid",
        choices=["fail", "drop"],
        default="fail",
        help="what to do with rows whose text contains control tokens (default: %(default)s)",
    )
    parser.add_argument(
        "--output",
        required=True,
        help="JSONL: id, prompt_ids, answer_ids and answer_tokens (null if unlabelled); problem (of dropped rows)",
    )
    args = parser.parse_args()

    check_model(Path(args.model))
    rows, encoder = read_alpaca(args.alpaca), Encoder(args.model, args.chat)
    records: list[dict[str, object]] = []
    problems = []
    for line, row in enumerate(rows, 2):  # "[" is line 1
        prompt_ids, answer_ids = encoder.encode(row)
        if problem := encoder.find_problem(row, prompt_ids + answer_ids):
            problems.append(f"{args.alpaca}:{line}: sentence {row['id']}: {problem}")
            empty: dict[str, object] = {"prompt_ids": [], "answer_ids": None, "answer_tokens": None}
            records.append({"id": row["id"], **empty, "problem": problem})
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
        advice = "remove it from the corpus, or from the prompt if all rows have it; or drop such rows of a training "
        raise InputError("\n".join([*listed(problems), advice + "split with on_invalid: drop"]))
    if problems:
        print(f"{len(problems)} of {len(rows)} rows will be dropped: their text cannot be encoded unchanged")
    write_jsonl(args.output, records)


if __name__ == "__main__":
    run(main)
