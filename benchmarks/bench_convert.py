"""Measure time and peak memory of scripts/convert_dataset.py on generated splits of growing size.

Prints one line a size and exits with status 1 where the peak memory is above the limit or where the time grows
faster than the number of sentences.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

LABELS = ("address", "book", "company", "game", "government", "movie", "name", "organization", "position", "scene")
LIMIT_MB = 300
LIMIT_GROWTH = 1.3  # of the time per sentence from the smallest to the largest size; not 1, as machines are not steady
SCRIPT = Path(__file__).parent.parent / "scripts" / "convert_dataset.py"

Mentions = list[tuple[str, int, int]]
"""(label, start, half-open end)"""


def sentence(generator: random.Random) -> tuple[str, Mentions]:
    """A sentence of CLUENER's length (37 characters and 2 mentions on average)."""
    length = generator.randint(25, 50)
    text = "".join(chr(generator.randrange(0x4E00, 0x9FA5)) for _ in range(length))
    cuts = sorted(generator.sample(range(length + 1), 2 * generator.randint(1, 3)))
    return text, [(generator.choice(LABELS), start, end) for start, end in zip(cuts[::2], cuts[1::2], strict=True)]


def cluener(number: int, text: str, mentions: Mentions) -> str:
    label: dict[str, dict[str, list[list[int]]]] = {}
    for name, start, end in mentions:
        label.setdefault(name, {}).setdefault(text[start:end], []).append([start, end - 1])
    return json.dumps({"text": text, "label": label}, ensure_ascii=False) + "\n"


def cluener_ids(number: int, text: str, mentions: Mentions) -> str:
    return f'{{"id": {number}, {cluener(number, text, mentions)[1:]}'


def conll_bio(number: int, text: str, mentions: Mentions) -> str:
    tags = ["O"] * len(text)
    for name, start, end in mentions:
        tags[start:end] = [f"B-{name}", *[f"I-{name}"] * (end - start - 1)]
    return "".join(f"{character}\t{tag}\n" for character, tag in zip(text, tags, strict=True)) + "\n"


FORMATS: dict[str, tuple[str, Callable[[int, str, Mentions], str]]] = {
    "cluener": ("cluener", cluener),
    "cluener-ids": ("cluener", cluener_ids),
    "conll-bio": ("conll-bio", conll_bio),
}
"""What is generated -> the format that the script is told, and the writer of one sentence."""


def generate(path: Path, name: str, size: int) -> None:
    generator = random.Random(1)
    # Drawing a million sentences takes longer than converting them; the script does not see that they recur.
    sentences = [sentence(generator) for _ in range(10_000)]
    with open(path, "w", encoding="utf-8", newline="\n") as stream:
        for number in range(size):
            stream.write(FORMATS[name][1](number, *sentences[number % len(sentences)]))


def measure(raw: Path, raw_format: str) -> tuple[float, float]:
    """Convert `raw` and return the wall time in seconds and the peak resident memory in MB."""
    command = [sys.executable, SCRIPT, "--raw", raw, "--format", raw_format, "--labels", ",".join(LABELS)]
    command += ["--split", "train", "--output", raw.with_suffix(".jsonl"), "--dropped", raw.with_suffix(".dropped")]
    started = time.perf_counter()
    process = subprocess.Popen([str(word) for word in command], stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - started
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        sys.exit(f"bench_convert: the conversion failed with status {process.returncode}")
    return seconds, usage.ru_maxrss * 1024 / 1e6


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=[250_000, 500_000, 1_000_000], metavar="N")
    parser.add_argument("--formats", nargs="+", choices=FORMATS, default=list(FORMATS))
    args = parser.parse_args()
    failures = []
    print(f"{'format':<12} {'sentences':>10} {'MB in':>7} {'seconds':>8} {'us/sentence':>12} {'peak MB':>8}")
    for name in args.formats:
        costs = []
        for size in sorted(args.sizes):
            with tempfile.TemporaryDirectory() as directory:
                raw = Path(directory) / "train"
                generate(raw, name, size)
                seconds, peak = measure(raw, FORMATS[name][0])
                megabytes = raw.stat().st_size / 1e6
            costs.append(seconds / size)
            cost = f"{costs[-1] * 1e6:.1f}"
            print(f"{name:<12} {size:>10,} {megabytes:>7.0f} {seconds:>8.1f} {cost:>12} {peak:>8.0f}", flush=True)
            if peak > LIMIT_MB:
                failures.append(f"{name}, {size:,} sentences: {peak:.0f} MB, expected at most {LIMIT_MB}")
        if costs[-1] > LIMIT_GROWTH * costs[0]:
            failures.append(f"{name}: the time per sentence grew by {costs[-1] / costs[0]:.2f}")
    print("\n".join(failures) or f"within {LIMIT_MB} MB, and linear")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
