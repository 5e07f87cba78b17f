"""What the terminal says when the workflow ends: where the table is, or which step failed and why."""

from __future__ import annotations

import csv
import re
from pathlib import Path

from entitune import paths


def summary_of(seeds_table: Path) -> str:
    """The micro F1 (`spans`) of each run of results/seeds.tsv, one line per run; empty where there is no such table."""
    if not seeds_table.is_file():
        return ""
    with seeds_table.open(encoding="utf-8") as stream:
        rows = [
            row
            for row in csv.DictReader(stream, delimiter="\t")
            if row["label"] == "micro" and row["scoring"] == "spans"
        ]
    width = max((len(row["run"]) for row in rows), default=0)
    lines = []
    for row in rows:
        deviation = f" ± {float(row['f1_sd']):.4f} ({row['seeds']} seeds)" if row["f1_sd"] else ""
        lines.append(f"  {row['run']:<{width}}  {float(row['f1_mean']):.4f}{deviation}")
    return "\n".join(["Micro F1 (spans):", *lines, f"All scores: {paths.METRICS}"]) if lines else ""


def failure_of(snakemake_log: str) -> str:
    """Which steps failed, the first error of each, and where its log is, from the text of Snakemake's own log."""
    lines = []
    for block in re.findall(r"^Error in rule (\w+):\n((?:    .*\n|\n)*)", snakemake_log + "\n", re.MULTILINE):
        rule, details = block
        logs = re.search(r"^ +log: (.+?)(?: \(check log file.*)?$", details, re.MULTILINE)
        wildcards = re.search(r"^ +wildcards: (.+)$", details, re.MULTILINE)
        what = f"{rule} ({wildcards[1]})" if wildcards else rule
        lines.append(f"The step {what} failed" + (f"; its log: {logs[1]}" if logs else ""))
        if logs and (error := first_error(Path(logs[1].split(", ")[0]))):
            lines.append(f"  {error}")
    return "\n".join(dict.fromkeys(lines))


def first_error(log: Path) -> str | None:
    """The first line of a log that says what is wrong; None where there is none."""
    if not log.is_file():
        return None
    text = log.read_text(encoding="utf-8", errors="replace")
    found = re.search(r"^error: .*$", text, re.MULTILINE) or re.search(r"^\w*(?:Error|Exception): .*$", text, re.MULTILINE)
    return found[0] if found else None
