"""Child processes that do not outlive the script that started them."""

from __future__ import annotations

import ctypes
import signal

PR_SET_PDEATHSIG = 1


def die_with_parent(signum: int = signal.SIGKILL) -> None:
    """Have the kernel send this process `signum` when its parent goes, also by `kill -9`. For preexec_fn."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signum)
