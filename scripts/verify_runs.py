"""Compare finished runs with their manifests: data, models, adapters, predictions, scores and tables.

    python scripts/verify_runs.py                 # the runs of results/metrics.tsv
    python scripts/verify_runs.py --runs demo

Reads all files (about 1 GB per second). Prints a line for each problem and ends with exit code 1 if there is one.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from entitune import paths
from entitune.cli import InputError, run
from entitune.runs import Run
from entitune.study import read_study
from entitune.verification import run_problems

REMEDY = f"""delete the files that differ and make them again with
    snakemake {paths.METRICS} --cores all"""


def table_problems(runs: list[Run], splits: Sequence[str]) -> list[str]:
    """Combine the scores of the runs again and return the tables under results/ that differ from the result."""
    scores = [run.files(seed).scores(split) for run in runs for seed in run.seeds for split in splits]
    with tempfile.TemporaryDirectory() as folder:
        fresh = [Path(folder, name) for name in ("metrics.tsv", "seeds.tsv")]
        command = [sys.executable, str(Path(__file__).with_name("combine_metrics.py")), "--scores", *scores]
        subprocess.run(
            [*command, "--output", str(fresh[0]), "--seeds-output", str(fresh[1])],
            check=True,
            stdout=subprocess.DEVNULL,
        )
        return [
            f"{table} differs from the combined scores of {', '.join(run.name for run in runs)}"
            for table, file in zip((paths.METRICS, paths.SEEDS), fresh, strict=True)
            if Path(table).is_file() and Path(table).read_bytes() != file.read_bytes()
        ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", help="runs of conf/runs.tsv, comma-separated (default: those of conf/config.yaml)")
    args = parser.parse_args()

    study = read_study({"runs": args.runs} if args.runs else {})
    runs, problems = study.selected_runs, []
    for one in runs:
        for seed in one.seeds:
            found = run_problems(study, one, seed)
            print(f"{one.name} seed {seed}: {'intact' if not found else f'{len(found)} problems'}")
            problems += found
    if not problems and not args.runs:
        problems += table_problems(runs, study.splits)
        print(f"{paths.METRICS}, {paths.SEEDS}: {'intact' if not problems else 'changed'}")
    if problems:
        raise InputError("\n".join([*problems, REMEDY]))


if __name__ == "__main__":
    run(main)
