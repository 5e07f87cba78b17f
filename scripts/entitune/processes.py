"""Processes: their search paths, their output, and children that do not outlive their parent."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
from pathlib import Path

import psutil

PR_SET_PDEATHSIG = 1


def die_with_parent(signum: int = signal.SIGKILL) -> None:
    """Have the kernel send `signum` to this process when its parent ends, even by `kill -9`. For preexec_fn."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signum)


def output_of(*command: str) -> str | None:
    """Return the stripped output of a command, or None if the command is missing, fails or hangs."""
    # Within a Git hook, these variables point to the repository of the hook.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60, env=environment)
    except (OSError, subprocess.SubprocessError, UnicodeDecodeError):
        return None
    return done.stdout.strip()


def nvidia_smi(fields: str, units: bool = False) -> list[str]:
    """Return a line for each GPU of this machine; empty if nvidia-smi is missing, fails or hangs.

    Args:
        fields: What nvidia-smi prints about a GPU: names of `nvidia-smi --help-query-gpu`, with commas between them.
        units: Whether numbers have their units.
    """
    form = "csv,noheader" if units else "csv,noheader,nounits"
    return (output_of("nvidia-smi", f"--query-gpu={fields}", f"--format={form}") or "").splitlines()


def put_first(variable: str, folder: Path) -> None:
    """Put `folder` first in a variable like PATH, for this process and all that it starts."""
    others = os.environ.get(variable)
    # An empty entry would mean the current folder.
    os.environ[variable] = f"{folder}{os.pathsep}{others}" if others else str(folder)


class Workflow:
    """The Snakemake processes that started this process; there are none if a user started it.

    A shell runs between Snakemake and a script. It outlives a Snakemake that is killed with SIGKILL, so
    `die_with_parent` is not enough.
    """

    def __init__(self) -> None:
        self._processes = [process for process in psutil.Process().parents() if _is_snakemake(process)]

    def is_gone(self) -> bool:
        """Return whether one of them has ended, so that nothing waits for the results of this process."""
        return not all(_runs(process) for process in self._processes)


def _is_snakemake(process: psutil.Process) -> bool:
    try:
        command, *words = process.cmdline()
    except (psutil.Error, ValueError):
        return False
    return Path(command).name.startswith("python") and any(Path(word).name == "snakemake" for word in words[:3])


def _runs(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
