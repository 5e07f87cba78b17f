"""Compare the embedded model with and without constrained answers: unreadable answers, F1, tokens/s.

    python benchmarks/bench_structured.py

Runs the workflow for four runs, one after the other, and always predicts again. Prints the table of docs/serving.md.
"""

from __future__ import annotations

import csv
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

sys.path.insert(0, "scripts")

from entitune.files import read_jsonl

RUNS = ("demo-zeroshot", "demo-zeroshot-structured", "demo", "demo-structured")


def row(name: str) -> str:
    """Return the row of a run."""
    folder = Path("results", name, "seed-1")
    statuses = Counter(record["status"] for record in read_jsonl(folder / "predictions/dev.jsonl"))
    with (folder / "scores/dev.tsv").open(encoding="utf-8") as stream:
        micro = {one["scoring"]: one["f1"] for one in csv.DictReader(stream, delimiter="\t") if one["label"] == "micro"}
    log = Path("logs/predict_shard", f"{name}@seed-1", "dev/1-of-1.log").read_text(encoding="utf-8")
    speed = re.findall(r"(\d+) tokens/s$", log, re.MULTILINE)[-1]
    counts = " | ".join(str(statuses[status]) for status in ("unparseable", "repaired", "truncated"))
    return f"| `{name}` | {counts} | {float(micro['pairs']):.4f} | {float(micro['spans']):.4f} | {speed} |"


def main() -> None:
    snakemake = [str(Path(sys.executable).parent / "snakemake"), "--cores", "1"]
    for name in RUNS:  # one after the other, because parallel runs would share the cores
        target = f"results/{name}/seed-1/scores/dev.tsv"
        subprocess.run([*snakemake, target, "--forcerun", "predict_shard"], check=True)
    print("| run | unparseable | repaired | truncated | F1 `pairs` | F1 `spans` | tokens/s |")
    print("|---|---|---|---|---|---|---|")
    print("\n".join(map(row, RUNS)))


if __name__ == "__main__":
    main()
