"""Extract the entities of sentences, one a line, with a server that serve_runs.py has started.

    python scripts/extract_entities.py --run demo < sentences.txt > entities.jsonl

A line that is there already in the output is not asked for again: the same command goes on where it was interrupted.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

from tqdm import tqdm

from entitune.cli import InputError, run
from entitune.files import to_json
from entitune.serving.client import extract
from entitune.serving.finished_runs import KEY_VARIABLE, finished_run, read_key
from entitune.study import read_study


def sentences_of(stream: TextIO, name: str) -> Iterator[str]:
    """The lines of a stream, without their line ends."""
    try:
        for line in stream:
            yield line.rstrip("\n")
    except UnicodeDecodeError as error:
        raise InputError(f"{name}: not UTF-8 ({error})") from error


def finished_texts(output: Path) -> list[str]:
    """The sentences whose whole lines are in the output; a line that was cut off is removed from it."""
    if not output.exists():
        return []
    content = output.read_bytes()
    whole = content.rfind(b"\n") + 1
    os.truncate(output, whole)
    try:
        return [json.loads(line)["text"] for line in content[:whole].splitlines()]
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{output}: not an output of this script; delete it, or name another --output") from error


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", required=True, help="the run that is served: its prompt, its labels, its limits")
    parser.add_argument("--seed", type=int, help="which seed of the run (default: its first)")
    parser.add_argument("--url", default="http://127.0.0.1:8000", help="where it is served (default: %(default)s)")
    parser.add_argument("--api-key-file", type=Path, help=f"file with the API key (default: {KEY_VARIABLE}, or none)")
    parser.add_argument("--input", type=Path, help="UTF-8, one sentence a line (default: standard input)")
    parser.add_argument("--output", type=Path, help="JSON lines, continued if it is there (default: standard output)")
    parser.add_argument("--concurrency", type=int, default=32, help="requests under way at once (default: 32)")
    args = parser.parse_args()

    served, key = finished_run(read_study(), args.run, args.seed), read_key(args.api_key_file)
    name, total = str(args.input or "standard input"), None
    if args.input:
        with args.input.open(encoding="utf-8") as stream:
            total = sum(1 for _ in sentences_of(stream, name))
    done = finished_texts(args.output) if args.output else []
    with (
        open(args.input or 0, encoding="utf-8") as source,
        open(args.output or 1, "a", encoding="utf-8", newline="\n") as target,
        tqdm(total=total, initial=len(done), unit="sentence", desc=args.run) as bar,
    ):
        sentences = sentences_of(source, name)
        if list(itertools.islice(sentences, len(done))) != done:
            raise InputError(f"{args.output} holds other sentences than {name}; delete it, or name another --output")
        for extracted in extract(sentences, served, args.url, key, args.concurrency):
            target.write(to_json(extracted) + "\n")
            target.flush()
            bar.update()


if __name__ == "__main__":
    run(main)
