"""What the command lines of all scripts share."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TextIO


def label_names(value: str) -> list[str]:
    """Split an option such as `address,name` into distinct labels. The `type` of an argparse option."""
    names = value.split(",")
    if "" in names or len(set(names)) < len(names):
        raise argparse.ArgumentTypeError(f"{value!r}; expected distinct names with commas between them")
    return names


def at_least_one(value: str) -> int:
    """Read a count of 1 or more. The `type` of an argparse option."""
    count = int(value)
    if count < 1:
        raise argparse.ArgumentTypeError(f"{value}; expected at least 1")
    return count


class InputError(Exception):
    """Bad input. The message names the file, the line and the fix."""


def printable(name: str) -> str:
    """Return a name from outside in a form that is safe to print: control characters could rewrite the terminal."""
    return name if name.isprintable() else ascii(name)


def run(main: Callable[[], None]) -> None:
    """Run a script's `main`. After bad input, print a message instead of a traceback and exit with code 1."""
    try:
        main()
    except (InputError, OSError) as error:
        sys.exit(f"error: {error}")
    except KeyboardInterrupt:
        sys.exit(130)


def output_to(log: Path | None) -> TextIO:
    """Redirect the output of this process to `log` and return its original stderr, for progress and errors.

    The file descriptors are redirected, not only sys.stdout: worker processes and compiled code of an engine print
    to them as well.
    """
    terminal = os.fdopen(os.dup(2), "w", buffering=1)
    if log:
        log.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666)
        os.dup2(descriptor, 1)
        os.dup2(descriptor, 2)
    return terminal
