"""Write what LLaMA-Factory reads: the training rows that fit in cutoff_len, and dataset_info.json."""

from __future__ import annotations

import argparse
from collections import Counter
from pathlib import Path

from entitune.cli import InputError, run
from entitune.files import read_json, read_jsonl, write_json, write_jsonl, write_rows
from entitune.records import read_sentences

COLUMNS = {"prompt": "instruction", "query": "input", "response": "output", "system": "system", "history": "history"}
SHOWN = 20
"""How many rows an error message lists."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--alpaca", type=Path, required=True, help="alpaca JSON of the training split")
    parser.add_argument("--tokens", required=True, help="the same rows as encoded by encode_split")
    parser.add_argument("--selected", help="canonical JSONL of select_rows: use these sentences only (default: all)")
    parser.add_argument("--cutoff-len", type=int, required=True, help="longest row in tokens, prompt and answer")
    parser.add_argument("--on-invalid", choices=["fail", "drop"], default="fail", help="what longer rows do")
    parser.add_argument(
        "--max-dropped", type=float, default=1, metavar="SHARE", help="largest share of the rows to drop (default: 1)"
    )
    parser.add_argument("--name", required=True, help="the dataset's name in dataset_info.json")
    parser.add_argument(
        "--output-dir",
        type=Path,
        required=True,
        help="train.json, dataset_info.json, too_long.jsonl, train.summary.json",
    )
    args = parser.parse_args()

    rows = read_json(args.alpaca)
    chosen = {sentence.id for sentence in read_sentences(args.selected)} if args.selected else None
    kept, too_long, problems = [], [], []
    kinds: Counter[str] = Counter()
    for line, (row, encoded) in enumerate(zip(rows, read_jsonl(args.tokens), strict=True), 2):  # "[" is line 1
        if chosen is not None and row.get("sentence", row["id"]) not in chosen:
            continue
        length = len(encoded["prompt_ids"]) + (encoded["answer_tokens"] or 0)
        kind = reason = ""
        if "problem" in encoded:
            kind, reason = "control token of the model's chat", encoded["problem"]
        elif not row["output"]:
            kind = reason = "no answer: the training split must be labelled"
        elif length > args.cutoff_len:
            kind = f"longer than cutoff_len {args.cutoff_len}"
            reason = f"{length} tokens with prompt and answer, cutoff_len is {args.cutoff_len}"
        if reason:
            kinds[kind] += 1
            problems.append(f"{args.alpaca}:{line}: sentence {row['id']}: {reason}")
            too_long.append({"reason": reason, **row})
        else:
            kept.append(row)
    if problems and args.on_invalid == "fail":
        more = [f"... and {len(problems) - SHOWN} more"] if len(problems) > SHOWN else []
        advice = (
            "split long sentences with windows: true in the dataset's entry of conf/datasets.yaml, raise cutoff_len in "
            "the recipe, shorten the prompt, or leave these rows out with on_invalid: drop in the dataset's entry"
        )
        raise InputError("\n".join(["rows that training cannot use:", *problems[:SHOWN], *more, advice]))
    if len(too_long) > args.max_dropped * (len(kept) + len(too_long)):
        raise InputError(
            f"{problems[0]}\n{args.alpaca}: {len(too_long)} of {len(kept) + len(too_long)} rows cannot be used: "
            f"{', '.join(f'{kind} ({count})' for kind, count in kinds.items())}; max_dropped allows "
            f"{args.max_dropped:.1%}. Split long sentences with windows: true, or raise max_dropped, in the dataset's "
            "entry of conf/datasets.yaml"
        )
    if not kept:
        raise InputError(f"{args.alpaca}: no row is left to train on; cutoff_len is {args.cutoff_len}")
    if problems:
        print(f"dropped {len(problems)} of {len(rows)} rows, see {args.output_dir / 'too_long.jsonl'}")

    write_jsonl(args.output_dir / "too_long.jsonl", too_long)
    summary = {"rows": len(kept) + len(too_long), "dropped": len(too_long), "kinds": kinds}
    write_json(args.output_dir / "train.summary.json", summary)
    write_rows(args.output_dir / "train.json", kept)
    info = {args.name: {"file_name": "train.json", "formatting": "alpaca", "columns": COLUMNS}}
    write_json(args.output_dir / "dataset_info.json", info)


if __name__ == "__main__":
    run(main)
