"""Write the files that LLaMA-Factory reads: training rows within cutoff_len, held-out rows, and dataset_info.json."""

from __future__ import annotations

import argparse
from collections import Counter
from pathlib import Path

from entitune.cli import InputError, run
from entitune.corpus.selection import HELD_OUT
from entitune.files import write_json, write_jsonl, write_rows
from entitune.prompting.prompt import AlpacaRow
from entitune.prompting.rows import EncodedRow, listed, read_pairs
from entitune.records import read_sentences

COLUMNS = {"prompt": "instruction", "query": "input", "response": "output", "system": "system", "history": "history"}


def ids_of(path: str) -> set[str]:
    """Return the ids of the sentences in a canonical file."""
    return {sentence.id for sentence in read_sentences(path)}


def refusal(row: AlpacaRow, encoded: EncodedRow, cutoff_len: int) -> tuple[str, str] | None:
    """Return why training cannot use a row: the kind of the reason, and the reason. None if it can."""
    if encoded.problem:
        return "control token of the model's chat", encoded.problem
    if not row["output"]:
        reason = "no answer: the training split must be labelled"
        return reason, reason
    if encoded.length > cutoff_len:
        reason = f"{encoded.length} tokens with prompt and answer, cutoff_len is {cutoff_len}"
        return f"longer than cutoff_len {cutoff_len}", reason
    return None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--alpaca", type=Path, required=True, help="alpaca JSON of the training split")
    parser.add_argument("--tokens", required=True, help="JSONL of encode_split for the same rows")
    parser.add_argument("--selected", help="canonical JSONL of select_rows: the sentences to use (default: all)")
    parser.add_argument(
        "--held-out", help="canonical JSONL of select_rows: the sentences to write to held_out.json, for evaluations"
    )
    parser.add_argument("--cutoff-len", type=int, required=True, help="longest row in tokens, prompt and answer")
    parser.add_argument(
        "--on-invalid",
        choices=["fail", "drop"],
        default="fail",
        help="what to do with rows that training cannot use, such as too long ones (default: %(default)s)",
    )
    parser.add_argument(
        "--max-dropped", type=float, default=1, metavar="SHARE", help="largest share of the rows to drop (default: 1)"
    )
    parser.add_argument("--name", required=True, help="the dataset's name in dataset_info.json")
    parser.add_argument(
        "--output-dir",
        type=Path,
        required=True,
        help="folder for train.json, dataset_info.json, too_long.jsonl, train.summary.json and held_out.json",
    )
    args = parser.parse_args()

    rows = read_pairs(args.alpaca, args.tokens)
    chosen = ids_of(args.selected) if args.selected else None
    held_out = ids_of(args.held_out) if args.held_out else set()
    kept: list[AlpacaRow] = []
    evaluated: list[AlpacaRow] = []
    too_long, problems = [], []
    kinds: Counter[str] = Counter()
    for line, (row, encoded) in enumerate(rows, 2):  # "[" is line 1
        sentence = row.get("sentence", row["id"])  # the windows of a sentence are selected together
        if chosen is not None and sentence not in chosen and sentence not in held_out:
            continue
        if refused := refusal(row, encoded, args.cutoff_len):
            kind, reason = refused
            kinds[kind] += 1
            problems.append(f"{args.alpaca}:{line}: sentence {row['id']}: {reason}")
            too_long.append({"reason": reason, **row})
        else:
            (evaluated if sentence in held_out else kept).append(row)
    if problems and args.on_invalid == "fail":
        advice = (
            "split long sentences with windows: true in the dataset's entry of conf/datasets.yaml, raise cutoff_len in "
            "the recipe, shorten the prompt, or drop these rows with on_invalid: drop in the dataset's entry"
        )
        raise InputError("\n".join(["rows that training cannot use:", *listed(problems), advice]))
    used = len(kept) + len(evaluated) + len(too_long)
    if len(too_long) > args.max_dropped * used:
        raise InputError(
            f"{problems[0]}\n{args.alpaca}: {len(too_long)} of {used} rows cannot be used: "
            f"{', '.join(f'{kind} ({count})' for kind, count in kinds.items())}; max_dropped allows "
            f"{args.max_dropped:.1%}. Split long sentences with windows: true, or raise max_dropped, in the dataset's "
            "entry of conf/datasets.yaml"
        )
    if not kept:
        raise InputError(f"{args.alpaca}: no row is left to train on; cutoff_len is {args.cutoff_len}")
    if problems:
        print(f"dropped {len(problems)} of {len(rows)} rows, see {args.output_dir / 'too_long.jsonl'}")

    write_jsonl(args.output_dir / "too_long.jsonl", too_long)
    summary = {"rows": used, "dropped": len(too_long), "kinds": kinds}
    write_json(args.output_dir / "train.summary.json", summary)
    write_rows(args.output_dir / "train.json", kept)
    info = {args.name: {"file_name": "train.json", "formatting": "alpaca", "columns": COLUMNS}}
    if args.held_out:
        write_rows(args.output_dir / "held_out.json", evaluated)
        info[HELD_OUT] = {**info[args.name], "file_name": "held_out.json"}
    write_json(args.output_dir / "dataset_info.json", info)


if __name__ == "__main__":
    run(main)
