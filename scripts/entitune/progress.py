"""Live progress of a long stage, line by line: frequent on a terminal, rare in a log, none with `--quiet`."""

from __future__ import annotations

import os
import time
from typing import TextIO

QUIET = "ENTITUNE_QUIET"
"""The variable that silences progress lines. The workflow sets it for its jobs under `snakemake --quiet`."""

SECONDS_ON_A_TERMINAL, SECONDS_ELSEWHERE = 5.0, 60.0


class Progress:
    """Prints lines such as `train demo seed 1: 40 %, step 20/50, loss 0.3100, 0:01:10 left`.

    No line is overwritten, because several jobs share a terminal.
    """

    def __init__(self, title: str, stream: TextIO) -> None:
        self._title = title
        self._stream = stream
        self._pause = SECONDS_ON_A_TERMINAL if stream.isatty() else SECONDS_ELSEWHERE
        self._next = 0.0
        self._ended = bool(os.environ.get(QUIET))

    def show(self, percentage: float, details: str, remaining: str) -> None:
        """Print a line, unless one was printed a moment ago. The line for 100 % is always printed, as the last one."""
        now = time.monotonic()
        if self._ended or (now < self._next and percentage < 100):
            return
        print(f"{self._title}: {percentage:.0f} %, {details}, {remaining} left", file=self._stream, flush=True)
        self._next = now + self._pause
        self._ended = percentage >= 100
