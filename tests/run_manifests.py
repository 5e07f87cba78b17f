"""Manifests of runs with made-up content, for tests of their readers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from entitune.files import write_json


def stage(seconds: float = 1.0, memory: int = 10, **changes: Any) -> dict[str, Any]:
    """Return the record of a job in a manifest."""
    hardware = {"system": "S", "python": "3.12", "processor": "P", "cores": 2, "memory_mb": 8000, "gpus": []}
    cost = {"date": "2026-01-02T00:00:00", "wall_seconds": seconds, "peak_memory_mb": memory}
    return {**cost, "peak_memory_of": "process tree", "hardware": hardware, "lock": None, **changes}


def run_manifest(**changes: Any) -> dict[str, Any]:
    """Return a manifest with these keys changed."""
    return {
        "version": "1",
        "git": {"commit": "0123456789abcdef", "modified": True},
        "code_sha256": "0" * 64,
        "config": {"run": "r", "kind": "base", "seed": 1, "dataset": {"name": "mine"}},
        "left_out": [],
        "files": {},
        "engines": {},
        "stages": {},
        **changes,
    }


def write_run_manifest(path: Path, **changes: Any) -> Path:
    """Write a manifest with these keys changed."""
    write_json(path, run_manifest(**changes))
    return path
