"""Processes: what they find first on their paths, and children that do not outlive their parent."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
from pathlib import Path

PR_SET_PDEATHSIG = 1


def die_with_parent(signum: int = signal.SIGKILL) -> None:
    """Have the kernel send this process `signum` when its parent goes, also by `kill -9`. For preexec_fn."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signum)


def output_of(*command: str) -> str | None:
    """Return what a command prints, without white space around it; None where it is missing, fails or hangs."""
    # What runs within one of Git's hooks finds that hook's repository in variables.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60, env=environment)
    except (OSError, subprocess.SubprocessError, UnicodeDecodeError):
        return None
    return done.stdout.strip()


def put_first(variable: str, folder: Path) -> None:
    """Put `folder` before those that a variable like PATH lists, for this process and all that it starts."""
    others = os.environ.get(variable)
    # An empty entry would mean the current folder.
    os.environ[variable] = f"{folder}{os.pathsep}{others}" if others else str(folder)
