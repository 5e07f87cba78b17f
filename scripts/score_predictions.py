"""Score the predictions of one run: precision, recall and F1 by label, micro and macro, with bootstrap intervals.

Writes the run's rows of results/metrics.tsv (columns: docs/contracts.md), a table for readers, and seqeval's report.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from entitune.cli import at_least_one, label_names, run
from entitune.evaluation.scoring import Tally, intervals, measure, tally
from entitune.files import atomic_write
from entitune.left_out import LeftOut, read_left_out
from entitune.records import read_predictions
from entitune.tsv import COUNTS, MEASURES, METRICS_COLUMNS, OTHER, Row, write_tsv


def score_rows(counted: Tally, resamples: int, seed: int) -> list[Row]:
    """Return a row per label, then micro and macro. OTHER has a row only if answers name labels the dataset lacks."""
    values = measure(counted.totals)
    counts = np.vstack([counted.totals, counted.totals.sum(axis=0), counted.totals[:-1].sum(axis=0)])
    low, high = intervals(counted, resamples, seed)
    rows: list[Row] = []
    for position, name in enumerate(counted.names):
        if name == OTHER and not counts[position].any():
            continue
        row: dict[str, Any] = {"label": name}
        row |= {column: int(count) for column, count in zip(COUNTS, counts[position], strict=True)}
        for column, measured in enumerate(MEASURES):
            row[measured] = float(values[position, column])
            row[f"{measured}_low"] = float(low[position, column])
            row[f"{measured}_high"] = float(high[position, column])
        rows.append(row)
    return rows


def markdown(title: str, rows: list[Row], left_out: Sequence[LeftOut] = ()) -> str:
    """Return the rows as a table for readers with a section per scoring, and the data that was left out."""
    lines = [f"# {title}", ""]
    for scoring in dict.fromkeys(row["scoring"] for row in rows):
        lines += [f"## {scoring}", "", "| label | P | R | F1 | 95 % interval of F1 | gold | predicted | correct |"]
        lines += ["|---|---|---|---|---|---|---|---|"]
        lines += [
            "| {label} | {precision:.4f} | {recall:.4f} | {f1:.4f} | {f1_low:.4f} to {f1_high:.4f}"
            " | {support} | {predicted} | {correct} |".format(**row)
            for row in rows
            if row["scoring"] == scoring
        ]
        lines.append("")
    if left_out:
        lines += ["## Left out of the data", "", *(f"- {one}" for one in left_out), ""]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--predictions", required=True, help="JSONL of read_answers, with gold")
    parser.add_argument("--run", required=True, help="name of the run")
    parser.add_argument("--seed", type=int, required=True, help="seed of the run")
    parser.add_argument("--dataset", required=True, help="name of the dataset")
    parser.add_argument("--split", required=True, help="name of the split")
    parser.add_argument(
        "--labels",
        type=label_names,
        required=True,
        metavar="A,B,...",
        help="the dataset's labels, in the order of the table",
    )
    parser.add_argument("--resamples", type=at_least_one, default=10_000, help="bootstrap resamples (default: 10000)")
    parser.add_argument("--bootstrap-seed", type=int, default=0, help="seed of the bootstrap (default: 0)")
    parser.add_argument("--output", required=True, help="TSV: the run's rows of results/metrics.tsv")
    parser.add_argument("--table", help="Markdown: the same figures for readers, and the data that was left out")
    parser.add_argument(
        "--summaries", type=Path, nargs="*", default=[], help="summaries of the steps that leave data out, for --table"
    )
    parser.add_argument(
        "--seqeval", help="text: seqeval's report in strict mode, for entities that BIO tags can express"
    )
    args = parser.parse_args()

    counted = tally(read_predictions(args.predictions), args.labels)
    key = {"run": args.run, "seed": args.seed, "dataset": args.dataset, "split": args.split}
    rows: list[Row] = [
        {**key, "scoring": scoring, **row}
        for scoring, scored in counted.items()
        for row in score_rows(scored, args.resamples, args.bootstrap_seed)
    ]
    write_tsv(args.output, METRICS_COLUMNS, rows)
    title = f"{args.run}, seed {args.seed}: {args.dataset} {args.split}"
    if args.table:
        with atomic_write(args.table) as stream:
            stream.write(markdown(title, rows, read_left_out(args.summaries)))
    if args.seqeval:
        from entitune.evaluation.seqeval_report import seqeval_report  # imports scikit-learn, which takes seconds

        report = seqeval_report(read_predictions(args.predictions), args.labels)
        micro = next(row for row in rows if row["scoring"] == "spans" and row["label"] == "micro")
        with atomic_write(args.seqeval) as stream:
            stream.write(f"{title}\nseqeval, strict mode, IOB2 tags, one tag per character\n\n{report}")
            stream.write(
                "Micro precision, recall and F1 of `spans`: {precision:.4f} {recall:.4f} {f1:.4f}\n".format(**micro)
            )
    for row in rows:
        if row["label"] == "micro":
            print("{run} seed {seed} {scoring}: F1 {f1:.4f} ({f1_low:.4f} to {f1_high:.4f})".format(**row))


if __name__ == "__main__":
    run(main)
