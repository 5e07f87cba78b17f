"""Measure dry runs over sweeps of growing size: the number of jobs, and the seconds from the command to the plan.

    python benchmarks/bench_sweep.py
    python benchmarks/bench_sweep.py --runs 200 2000 10000

Works in a copy of the repository with an additional sweep in the sheet. On a busy machine, only the CPU time is
meaningful.
"""

from __future__ import annotations

import argparse
import os
import re
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def sweep_row(runs: int) -> str:
    """Return a row of conf/runs.tsv that expands into `runs` runs of the demo."""
    rates = ",".join(f"{rate}.0e-6" for rate in range(1, runs + 1))
    return f"sweep\tdemo\tentitune-tiny\tner-zh-short-brackets\tdemo\tcpu\t1\tlearning_rate={rates}\n"


def measure(folder: Path, sheet: str, runs: int) -> tuple[int, float, float]:
    """Return the jobs, CPU seconds and wall seconds of a dry run over a sweep of `runs` runs."""
    (folder / "conf" / "runs.tsv").write_text(sheet + sweep_row(runs), encoding="utf-8")
    command = [str(Path(sys.executable).parent / "snakemake"), "results/metrics.tsv", "-n", "-q", "rules"]
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    done = subprocess.run(
        [*command, "--cores", "1", "--config", "runs=sweep"], cwd=folder, capture_output=True, text=True, check=False
    )
    wall, after = time.monotonic() - started, resource.getrusage(resource.RUSAGE_CHILDREN)
    total = re.search(r"^total +(\d+)$", done.stdout + done.stderr, re.MULTILINE)
    if done.returncode or not total:
        sys.exit(f"error: the dry run ended with exit code {done.returncode}:\n{done.stdout}{done.stderr}")
    return int(total[1]), after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, wall


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--runs", type=int, nargs="+", default=[1, 200, 1000], help="numbers of runs (default: 1 200 1000)"
    )
    args = parser.parse_args()
    print("| runs | jobs | CPU s | wall s | CPU s per 1,000 jobs above the smallest |\n|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        files = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True).stdout
        subprocess.run(["cp", "-p", "--parents", "-t", folder, *files.decode().strip("\0").split("\0")], cwd=ROOT)
        os.symlink(ROOT / ".envs", folder / ".envs")
        sheet = (folder / "conf" / "runs.tsv").read_text(encoding="utf-8")
        first: tuple[int, float] | None = None
        for runs in args.runs:
            jobs, cpu, wall = measure(folder, sheet, runs)
            first = first or (jobs, cpu)
            slope = f"{1000 * (cpu - first[1]) / (jobs - first[0]):.2f}" if jobs > first[0] else "–"
            print(f"| {runs:,} | {jobs:,} | {cpu:.1f} | {wall:.1f} | {slope} |", flush=True)


if __name__ == "__main__":
    main()
