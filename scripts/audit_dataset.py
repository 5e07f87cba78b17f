"""Audit a dataset before training: distributions, duplicates, leakage between splits, doubtful annotations.

Writes results/audit/{dataset}.tsv with one row per figure (measures: docs/contracts.md).
"""

from __future__ import annotations

import argparse

from entitune.cli import InputError, label_names, run
from entitune.evaluation.audit import Figure, audit_against, audit_split, audit_tokens
from entitune.records import Sentence, read_sentences, read_tokens
from entitune.tsv import write_tsv

COLUMNS = ("dataset", "split", "measure", "label", "value")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dataset", required=True, help="name of the dataset")
    parser.add_argument("--labels", type=label_names, required=True, metavar="A,B,...", help="the dataset's labels")
    parser.add_argument(
        "--split",
        nargs=2,
        action="append",
        required=True,
        metavar=("NAME", "FILE"),
        help="a split and its canonical JSONL; repeat it for each split: each is compared with the earlier ones",
    )
    parser.add_argument(
        "--tokens",
        nargs=4,
        action="append",
        default=[],
        metavar=("SPLIT", "NAME", "CUTOFF", "FILE"),
        help="count the tokens of a split: its name, a name for the encoding, the cutoff_len to compare with, and the "
        "file that encode_split wrote; repeat it for each encoding",
    )
    parser.add_argument("--output", required=True, help="TSV")
    args = parser.parse_args()

    splits: dict[str, list[Sentence]] = {}
    figures: list[tuple[str, Figure]] = []
    for split, path in args.split:
        sentences = list(read_sentences(path))
        if not sentences:
            raise InputError(f"{path}: no sentences")
        figures += [(split, figure) for figure in audit_split(sentences, args.labels)]
        for name, other in splits.items():
            figures += [(split, figure) for figure in audit_against(sentences, other, name, args.labels)]
        splits[split] = sentences
    for split, name, cutoff, path in args.tokens:
        rows = list(read_tokens(path))
        if not cutoff.isdecimal() or not rows:
            raise InputError(f"--tokens {split} {name} {cutoff} {path}: expected a number and a file with rows")
        figures += [(split, figure) for figure in audit_tokens(rows, name, int(cutoff))]
    write_tsv(
        args.output,
        COLUMNS,
        (
            {"dataset": args.dataset, "split": split, "measure": measure, "label": label, "value": value}
            for split, (measure, label, value) in figures
        ),
    )


if __name__ == "__main__":
    run(main)
