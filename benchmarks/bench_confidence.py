"""Measure the cost of recording token probabilities: sentences/s of batch prediction without and with it.

    python benchmarks/bench_confidence.py --run demo

Prints the table of docs/evaluation.md. Each round predicts the same sentences with and without it, each time in a new
process. Loading is not measured. Nothing else should run meanwhile.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import statistics
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, "scripts")

from bench_serving import TOKENS, batch

from entitune.serving.finished_runs import finished_run
from entitune.study import read_study


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", default="demo", help="name of a finished run (default: demo)")
    parser.add_argument("--tokens", type=Path, default=TOKENS, help="prompts from encode_split (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=5, help="number of measurements of each (default: 5)")
    args = parser.parse_args()

    run = finished_run(read_study(), args.run)
    speeds: dict[bool, list[float]] = {False: [], True: []}
    with tempfile.TemporaryDirectory() as folder:
        for number in range(args.rounds):
            print(f"round {number + 1} of {args.rounds}", file=sys.stderr, flush=True)
            for confidence, found in speeds.items():
                decode = run.decode.model_copy(update={"confidence": confidence})
                asked = dataclasses.replace(run, decode=decode)
                found.append(batch(asked, args.tokens, Path(folder), decode.max_num_seqs))
    without = statistics.median(speeds[False])
    print(f"{args.rounds} rounds, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}\n")
    print("| confidence | sentences/s: median (range) | of the speed without |\n|---|---|---|")
    for confidence, found in speeds.items():
        median = statistics.median(found)
        shown = f"{median:.0f} ({min(found):.0f} to {max(found):.0f}) | {median / without:.2f}"
        print(f"| {'on' if confidence else 'off'} | {shown} |")


if __name__ == "__main__":
    main()
