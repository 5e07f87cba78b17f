"""What every script's command line shares."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TextIO


def label_names(value: str) -> list[str]:
    """Labels as every command line has them, for argparse: `address,name`. Distinct names with commas between them."""
    names = value.split(",")
    if "" in names or len(set(names)) < len(names):
        raise argparse.ArgumentTypeError(f"{value!r}; expected distinct names with commas between them")
    return names


class InputError(Exception):
    """Bad input: the message names file, line and the fix."""


def printable(name: str) -> str:
    """A name that somebody else chose, safe to print: control characters could rewrite the terminal."""
    return name if name.isprintable() else ascii(name)


def run(main: Callable[[], None]) -> None:
    """Run a script's `main`. Bad input ends with a message and exit code 1, not with a traceback."""
    try:
        main()
    except (InputError, OSError) as error:
        sys.exit(f"error: {error}")
    except KeyboardInterrupt:
        sys.exit(130)


def output_to(log: Path | None) -> TextIO:
    """Send all that this process prints to `log`, and return the stderr it had, for progress and errors.

    File descriptors, not only sys.stdout: an engine's worker processes and compiled code print there as well.
    """
    terminal = os.fdopen(os.dup(2), "w", buffering=1)
    if log:
        log.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666)
        os.dup2(descriptor, 1)
        os.dup2(descriptor, 2)
    return terminal
