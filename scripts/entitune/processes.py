"""Processes: what they find first on their paths, and children that do not outlive their parent."""

from __future__ import annotations

import ctypes
import os
import signal
from pathlib import Path

PR_SET_PDEATHSIG = 1


def die_with_parent(signum: int = signal.SIGKILL) -> None:
    """Have the kernel send this process `signum` when its parent goes, also by `kill -9`. For preexec_fn."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signum)


def put_first(variable: str, folder: Path) -> None:
    """Put `folder` before those that a variable like PATH lists, for this process and all that it starts."""
    others = os.environ.get(variable)
    # An empty entry would mean the current folder.
    os.environ[variable] = f"{folder}{os.pathsep}{others}" if others else str(folder)
