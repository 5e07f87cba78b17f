"""What several benchmarks share: commands that must succeed, and the speed that predict_shard.py prints."""

from __future__ import annotations

import re
import subprocess

from entitune.cli import InputError


def output_of(*words: object) -> str:
    """Run a command and return what it prints. Raises InputError with its output if it fails."""
    command = list(map(str, words))
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    if done.returncode:
        raise InputError(f"{' '.join(command)}\n{done.stdout}")
    return done.stdout


def answers_and_seconds(printed: str) -> list[tuple[int, float]]:
    """Return the number of answers and the seconds, without loading, of each batch that predict_shard.py reports."""
    found = re.findall(r"(\d+) answers, \d+ tokens in ([\d.]+) s", printed)
    return [(int(count), float(seconds)) for count, seconds in found]
