"""Measure the time of the demo from data to metrics, and the part of it in which no engine runs.

    python benchmarks/bench_demo.py

Works in a copy of the repository. The environments must have been built. An engine runs while a process of .envs/train
or .envs/predict-cpu is alive; the rest of the time is that of Snakemake and the small scripts.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
ENGINES = (b"/.envs/train/", b"/.envs/predict-cpu/", b".envs/train/bin", b".envs/predict-cpu/bin")
SAMPLE_SECONDS = 0.05


def engine_alive() -> bool:
    """Return whether a process runs from an engine's environment."""
    for process in Path("/proc").iterdir():
        if process.name.isdigit():
            try:
                program = (process / "cmdline").read_bytes().split(b"\0")[0]
            except OSError:
                continue  # the process has ended
            if any(engine in program for engine in ENGINES):
                return True
    return False


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", default="demo,demo-zeroshot", help="runs to measure (default: %(default)s)")
    args = parser.parse_args()
    snakemake = [str(Path(sys.executable).parent / "snakemake"), "results/metrics.tsv", "--cores", "all"]
    snakemake += ["--config", f"runs={args.runs}"]
    with tempfile.TemporaryDirectory() as folder:
        files = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True).stdout
        subprocess.run(["cp", "-p", "--parents", "-t", folder, *files.decode().strip("\0").split("\0")], cwd=ROOT)
        os.symlink(ROOT / ".envs", Path(folder) / ".envs")

        started, busy = time.monotonic(), 0.0
        process = subprocess.Popen(snakemake, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        last = started
        while process.poll() is None:
            time.sleep(SAMPLE_SECONDS)
            now = time.monotonic()
            if engine_alive():
                busy += now - last
            last = now
        total = time.monotonic() - started
        if process.returncode:
            sys.exit(f"error: the workflow ended with exit code {process.returncode}")
        started = time.monotonic()
        subprocess.run(snakemake, cwd=folder, check=True, capture_output=True)
        nothing = time.monotonic() - started
    print("| part | seconds |\n|---|---|")
    print(f"| from data to the table | {total:.0f} |")
    print(f"| of these, an engine works | {busy:.0f} |")
    print(f"| of these, no engine works | {total - busy:.0f} |")
    print(f"| the same command again | {nothing:.1f} |")


if __name__ == "__main__":
    main()
