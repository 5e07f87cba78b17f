"""What the shell commands of rules find, whichever environment Snakemake was started from."""

from __future__ import annotations

import os
from pathlib import Path


def put_first(variable: str, folder: Path) -> None:
    """Put `folder` before those that a variable like PATH lists, for this process and all that it starts."""
    others = os.environ.get(variable)
    # An empty entry would mean the current folder.
    os.environ[variable] = f"{folder}{os.pathsep}{others}" if others else str(folder)
