"""Run a command of which nothing outlives the process that has it run, however that one ends.

SIGTERM, which the kernel sends here when the starter goes, also by `kill -9`, ends the command and all that it has
started: at once, or, after SIGUSR1 has said that it has work to finish, by SIGTERM and some seconds later by force.
vLLM's server needs this: it swallows a SIGTERM while it loads, and its engine outlives it.
"""

from __future__ import annotations

import functools
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from typing import Any

from entitune.processes import die_with_parent


def kept(command: Sequence[str], seconds: float) -> list[str]:
    """The command line of a keeper, to be started in a session of its own, with die_with_parent(SIGTERM)."""
    return [sys.executable, "-m", "entitune.serving.supervisor", str(seconds), *command]


def main() -> None:
    seconds, command = float(sys.argv[1]), sys.argv[2:]
    process = subprocess.Popen(command, preexec_fn=functools.partial(die_with_parent, signal.SIGTERM))
    stopping = False

    def kill_all(*_: Any) -> None:
        os.killpg(0, signal.SIGKILL)  # this process too

    def finish(*_: Any) -> None:
        nonlocal stopping
        if not stopping:
            stopping = True
            signal.setitimer(signal.ITIMER_REAL, seconds)
            process.terminate()

    signal.signal(signal.SIGTERM, kill_all)
    signal.signal(signal.SIGALRM, kill_all)
    signal.signal(signal.SIGUSR1, lambda *_: signal.signal(signal.SIGTERM, finish))
    returncode = process.wait()
    if stopping:
        kill_all()
    sys.exit(returncode if returncode >= 0 else 128 - returncode)


if __name__ == "__main__":
    main()
