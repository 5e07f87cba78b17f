"""Run a command so that none of its processes outlives the process that started it, even on `kill -9`.

The kernel sends SIGTERM here when the starter ends. It ends the command and all that the command has started: at once,
or, once SIGUSR1 has told that the command has work to finish, by passing on SIGUSR1 and killing after some seconds.
vLLM's server needs this: it ignores a SIGTERM while it loads, and its engine outlives it. Its guard
(entitune.serving.middleware) takes SIGUSR1 as the order to answer what is under way and then stop.
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
    """Return the command line of a supervisor. Start it in a session of its own, with die_with_parent(SIGTERM).

    Args:
        command: The command to run.
        seconds: How long it may take to finish its work.
    """
    return [sys.executable, "-m", "entitune.serving.supervisor", str(seconds), *command]


def main() -> None:
    """Run the command of the arguments, whose first is the seconds that it has to finish after SIGTERM."""
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
