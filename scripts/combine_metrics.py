"""Write the scores of all runs to results/metrics.tsv, and their means over seeds to results/seeds.tsv."""

from __future__ import annotations

import argparse
from dataclasses import asdict

from entitune.cli import InputError, run
from entitune.evaluation.seeds import SeedMean, over_seeds, read_scores
from entitune.tsv import MEASURES, METRICS_COLUMNS, Row, write_tsv

GROUP = ("run", "dataset", "split", "scoring", "label")
SEED_COLUMNS = (*GROUP, "seeds", *(f"{name}_{figure}" for name in MEASURES for figure in ("mean", "sd")))


def seed_row(mean: SeedMean) -> Row:
    """Return a row of results/seeds.tsv."""
    values = asdict(mean)
    row = {column: values[column] for column in (*GROUP, "seeds")}
    for name in MEASURES:
        row |= {f"{name}_mean": values[name], f"{name}_sd": values[f"{name}_sd"]}
    return row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scores", nargs="+", required=True, help="TSV files of score_predictions, in order")
    parser.add_argument("--output", required=True, help="TSV: all rows, in the order of --scores")
    parser.add_argument("--seeds-output", help="TSV: mean and standard deviation over the seeds of each run")
    args = parser.parse_args()

    scores = []
    seen: dict[tuple[str, ...], str] = {}
    for path in args.scores:
        for score in read_scores(path):
            key = (score.run, score.dataset, score.split, score.scoring, score.label, str(score.seed))
            if key in seen:
                raise InputError(f"{path}: {', '.join(key)}: this row is already in {seen[key]}")
            seen[key] = path
            scores.append(score)
    write_tsv(args.output, METRICS_COLUMNS, map(asdict, scores))
    if args.seeds_output:
        write_tsv(args.seeds_output, SEED_COLUMNS, map(seed_row, over_seeds(scores)))


if __name__ == "__main__":
    run(main)
