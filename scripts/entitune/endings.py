"""The last lines on the terminal when the workflow ends: where the table is, or which step failed and why."""

from __future__ import annotations

import contextlib
import csv
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from entitune import paths
from entitune.cli import InputError
from entitune.run_manifest import RunManifest


def summary_of(seeds_table: Path) -> str:
    """Return one line per run and split of results/seeds.tsv with its micro F1 (`spans`); empty without that table."""
    if not seeds_table.is_file():
        return ""
    with seeds_table.open(encoding="utf-8") as stream:
        rows = [
            row
            for row in csv.DictReader(stream, delimiter="\t")
            if row["label"] == "micro" and row["scoring"] == "spans"
        ]
    several = len({row["split"] for row in rows}) > 1
    names = [f"{row['run']}, {row['split']}" if several else row["run"] for row in rows]
    width = max(map(len, names), default=0)
    lines = []
    for name, row in zip(names, rows, strict=True):
        deviation = f" ± {float(row['f1_sd']):.4f} ({row['seeds']} seeds)" if row["f1_sd"] else ""
        lines.append(f"  {name:<{width}}  {float(row['f1_mean']):.4f}{deviation}")
    return "\n".join(["Micro F1 (spans):", *lines, f"All scores: {paths.METRICS}"]) if lines else ""


def _readable(manifests: Iterable[str]) -> Iterator[tuple[str, RunManifest]]:
    """Yield path and content of each manifest; without those that are damaged or of an earlier version of EntiTune."""
    for path in filter(os.path.isfile, manifests):
        with contextlib.suppress(InputError):
            yield path, RunManifest.read(path)


def left_out_of(manifests: Iterable[str]) -> str:
    """Return one line for each part of the data that the runs with these manifests leave out; empty if none."""
    lines: dict[str, None] = {}
    for _, manifest in _readable(manifests):
        for one in manifest.left_out:
            lines[f"  {manifest.dataset}, {one}"] = None
    return "\n".join(["Not all of the data was used:", *lines]) if lines else ""


def kept_of_other_cuda(manifests: Iterable[str], cuda: int) -> str:
    """Return the finished runs that were made with engines for another CUDA version; empty if there are none.

    Args:
        manifests: The manifests of runs.
        cuda: The version that this machine's environments are built for, 12 or 13.
    """
    others = []
    for path, manifest in _readable(manifests):
        locks = dict.fromkeys(stage.lock for stage in manifest.stages.values())
        if made_with := [lock for lock in locks if lock and paths.cuda_of(lock) not in (None, cuda)]:
            others.append(f"  {os.path.dirname(path)}: {', '.join(made_with)}")
    return (
        "\n".join([f"Kept, although made with engines for another CUDA version than {cuda}:", *others])
        if others
        else ""
    )


def failure_of(rule: str, wildcards: Mapping[str, str], log: Path | None) -> str:
    """Return which step failed, the first error in its log, and where the log is."""
    values = ", ".join(f"{name}={value}" for name, value in wildcards.items())
    lines = [f"The step {rule}{f' ({values})' if values else ''} failed" + (f"; its log: {log}" if log else "")]
    if log and (error := first_error(log)):
        lines.append(f"  {error}")
    return "\n".join(lines)


def first_error(log: Path) -> str | None:
    """Return the first line of a log that reports an error; None if there is none."""
    if not log.is_file():
        return None
    text = log.read_text(encoding="utf-8", errors="replace")
    found = re.search(r"^error: .*$", text, re.MULTILINE) or re.search(
        r"^\w*(?:Error|Exception): .*$", text, re.MULTILINE
    )
    return found[0] if found else None
