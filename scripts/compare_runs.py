"""Compare each pair of runs on one dataset and split: difference in F1, interval, p-values, deviation over seeds.

F1 is the mean over a run's seeds. Runs on different datasets or splits are not compared. Columns: docs/contracts.md.
"""

from __future__ import annotations

import argparse
from itertools import combinations

from entitune.cli import InputError, at_least_one, label_names, run
from entitune.evaluation.scoring import measure, tally_together
from entitune.evaluation.seeds import mean_and_deviation
from entitune.evaluation.significance import compare, show_p
from entitune.records import read_predictions
from entitune.tsv import OTHER, Row, write_tsv

COLUMNS = (
    *("dataset", "split", "scoring", "label", "run_a", "run_b"),
    *("f1_a", "f1_b", "sd_a", "sd_b", "seeds_a", "seeds_b"),
    *("difference", "low", "high", "p_bootstrap", "p_randomisation", "resamples"),
)


def compare_pair(
    a: tuple[str, list[str]], b: tuple[str, list[str]], labels: list[str], resamples: int, seed: int
) -> list[Row]:
    """Return the rows of a pair of runs. Each run is given as its name and the prediction files of its seeds."""
    (name_a, paths_a), (name_b, paths_b) = a, b
    try:
        counted = tally_together([read_predictions(path) for path in paths_a + paths_b], labels)
    except InputError as error:
        raise InputError(f"{name_a} and {name_b}: {error}") from None
    rows: list[Row] = []
    for scoring, tally in counted.items():
        f1 = measure(tally.totals)[..., 2]
        f1_a, f1_b = f1[: len(paths_a)], f1[len(paths_a) :]
        result = compare(tally, len(paths_a), resamples, seed)
        for position, label in enumerate(tally.names):
            if label == OTHER:
                continue
            mean_a, deviation_a = mean_and_deviation(f1_a[:, position].tolist())
            mean_b, deviation_b = mean_and_deviation(f1_b[:, position].tolist())
            rows.append(
                {
                    "scoring": scoring,
                    "label": label,
                    "run_a": name_a,
                    "run_b": name_b,
                    "f1_a": mean_a,
                    "f1_b": mean_b,
                    "sd_a": deviation_a,
                    "sd_b": deviation_b,
                    "seeds_a": len(paths_a),
                    "seeds_b": len(paths_b),
                    "difference": float(result.difference[position]),
                    "low": float(result.low[position]),
                    "high": float(result.high[position]),
                    "p_bootstrap": float(result.p_bootstrap[position]),
                    "p_randomisation": float(result.p_randomisation[position]),
                    "resamples": resamples,
                }
            )
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--predictions",
        nargs=5,
        action="append",
        required=True,
        metavar=("RUN", "SEED", "DATASET", "SPLIT", "FILE"),
        help="predictions of one run and seed; repeat it for each run and seed",
    )
    parser.add_argument(
        "--labels",
        nargs=2,
        action="append",
        required=True,
        metavar=("DATASET", "A,B,..."),
        help="a dataset and its labels; repeat it for each dataset",
    )
    parser.add_argument(
        "--resamples", type=at_least_one, default=10_000, help="resamples of each test (default: 10000)"
    )
    parser.add_argument("--bootstrap-seed", type=int, default=0, help="seed of the tests (default: 0)")
    parser.add_argument("--output", required=True, help="TSV; only a header if there is no pair")
    args = parser.parse_args()

    labels = {dataset: label_names(names) for dataset, names in args.labels}
    groups: dict[tuple[str, str], dict[str, list[str]]] = {}
    for name, _, dataset, split, path in args.predictions:
        if dataset not in labels:
            raise InputError(f"--predictions {name}: --labels {dataset} is missing")
        groups.setdefault((dataset, split), {}).setdefault(name, []).append(path)
    rows = [
        {"dataset": dataset, "split": split, **row}
        for (dataset, split), runs in groups.items()
        for a, b in combinations(runs.items(), 2)
        for row in compare_pair(a, b, labels[dataset], args.resamples, args.bootstrap_seed)
    ]
    write_tsv(args.output, COLUMNS, rows)
    for row in rows:
        if row["label"] == "micro":
            p_values = (show_p(row[name], args.resamples) for name in ("p_bootstrap", "p_randomisation"))
            print(
                "{dataset} {split} {scoring}: {run_a} - {run_b} = {difference:+.4f} ({low:+.4f} to {high:+.4f}),"
                " {} (bootstrap), {} (randomisation)".format(*p_values, **row)
            )


if __name__ == "__main__":
    run(main)
