"""Measure time and peak memory of scripts/convert_dataset.py on generated splits of growing size.

Prints one row a size and exits with status 1 where the peak memory is above the limit or the time grows faster than
the number of sentences.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

LABELS = ("address", "book", "company", "game", "government", "movie", "name", "organization", "position", "scene")
LIMIT_MB = 300
# The time per sentence at the largest size, against the one at the smallest; above 1 for what the machine does besides.
LIMIT_GROWTH = 1.3
SCRIPT = Path(__file__).parent.parent / "scripts" / "convert_dataset.py"
CHARACTERS = [chr(code) for code in range(0x4E00, 0x5600)]


def sentence(generator: random.Random) -> tuple[str, list[tuple[str, int, int]]]:
    """A sentence as long as CLUENER's (37 characters, 2.2 mentions) and its (label, start, half-open end)."""
    length = generator.randint(25, 50)
    text = "".join(generator.choices(CHARACTERS, k=length))
    cuts = sorted(generator.sample(range(length + 1), 2 * generator.randint(1, 3)))
    return text, [(generator.choice(LABELS), start, end) for start, end in itertools.batched(cuts, 2)]
