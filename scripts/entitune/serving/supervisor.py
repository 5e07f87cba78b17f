"""Run a command whose whole process tree ends with its parent, even on SIGKILL.

The kernel sends SIGTERM to this process when its parent ends. This process then kills the command and all processes
that the command has started. If it has received SIGUSR1 before, which means that the command has work to finish, it
sends SIGUSR1 to the command instead, and kills it after some seconds.

vLLM's server needs this, because it ignores SIGTERM while it loads, and its engine may outlive it. When its guard
(entitune.serving.middleware) gets SIGUSR1, it answers the active requests and then stops the server.
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


def supervised(command: Sequence[str], seconds: float) -> list[str]:
    """Return the command line of a supervisor. Start it in a new session, with die_with_parent(SIGTERM).

    Args:
        command: the command to run.
        seconds: how long it may take to finish its work.
    """
    return [sys.executable, "-m", "entitune.serving.supervisor", str(seconds), *command]


def main() -> None:
    """Run a command. The arguments are the seconds that it has to finish after SIGTERM, and the command."""
    seconds, command = float(sys.argv[1]), sys.argv[2:]
    process = subprocess.Popen(command, preexec_fn=functools.partial(die_with_parent, signal.SIGTERM))
    stopping = False

    def kill_all(*_: Any) -> None:
        os.killpg(0, signal.SIGKILL)  # includes this process

    def finish(*_: Any) -> None:
        nonlocal stopping
        if not stopping:
            stopping = True
            signal.setitimer(signal.ITIMER_REAL, seconds)
            process.send_signal(signal.SIGUSR1)

    signal.signal(signal.SIGTERM, kill_all)
    signal.signal(signal.SIGALRM, kill_all)
    signal.signal(signal.SIGUSR1, lambda *_: signal.signal(signal.SIGTERM, finish))
    returncode = process.wait()
    if stopping:
        kill_all()
    sys.exit(returncode if returncode >= 0 else 128 - returncode)


if __name__ == "__main__":
    main()
