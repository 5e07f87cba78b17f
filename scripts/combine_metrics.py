"""Put the scores of all runs into results/metrics.tsv, and their means and standard deviations over seeds beside it."""

from __future__ import annotations

import argparse
from typing import Any

from entitune.cli import InputError, run
from entitune.evaluation.seeds import mean_and_deviation
from entitune.tsv import MEASURES, METRICS_COLUMNS, Row, read_tsv, write_tsv

GROUP = ("run", "dataset", "split", "scoring", "label")
SEED_COLUMNS = (*GROUP, "seeds", *(f"{name}_{figure}" for name in MEASURES for figure in ("mean", "sd")))


def seed_rows(rows: list[dict[str, str]]) -> list[Row]:
    """Mean and sample standard deviation over seeds, one row a run, dataset, split, scoring and label.

    The deviation of a single seed is empty. A label that only some seeds have rows for (OTHER) counts those seeds.
    """
    groups: dict[tuple[str, ...], list[dict[str, str]]] = {}
    for row in rows:
        groups.setdefault(tuple(row[column] for column in GROUP), []).append(row)
    result: list[Row] = []
    for group, members in groups.items():
        figures: dict[str, Any] = {**dict(zip(GROUP, group, strict=True)), "seeds": len(members)}
        for name in MEASURES:
            mean, deviation = mean_and_deviation([float(member[name]) for member in members])
            figures |= {f"{name}_mean": mean, f"{name}_sd": deviation}
        result.append(figures)
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scores", nargs="+", required=True, help="TSV files of score_predictions, in order")
    parser.add_argument("--output", required=True, help="TSV: all rows, in the order of --scores")
    parser.add_argument("--seeds-output", help="TSV: mean and standard deviation over the seeds of each run")
    args = parser.parse_args()

    rows = []
    seen: dict[tuple[str, ...], str] = {}
    for path in args.scores:
        for row in read_tsv(path, METRICS_COLUMNS):
            key = tuple(row[column] for column in (*GROUP, "seed"))
            if key in seen:
                raise InputError(f"{path}: {', '.join(key)}: this row is already in {seen[key]}")
            seen[key] = path
            rows.append(row)
    write_tsv(args.output, METRICS_COLUMNS, rows)
    if args.seeds_output:
        write_tsv(args.seeds_output, SEED_COLUMNS, seed_rows(rows))


if __name__ == "__main__":
    run(main)
