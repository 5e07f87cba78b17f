"""Extract the entities of sentences or documents with a server that serve_runs.py has started.

    python scripts/extract_entities.py --run demo --input sentences.txt --output entities.jsonl

The input has one sentence per line, or consists of documents (--documents, --column), which are split into sentences.
The same command continues an interrupted output. Exit code 3: the output is complete, but some texts have no answer.
"""

from __future__ import annotations

import argparse
import itertools
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm

from entitune.cli import InputError, run
from entitune.files import to_json
from entitune.progress import Progress
from entitune.serving.client import Client
from entitune.serving.extraction import Extraction, continued, extractions, write_csv
from entitune.serving.finished_runs import KEY_VARIABLE, finished_run, read_key
from entitune.serving.run_requests import REFUSED, TOO_LONG
from entitune.serving.texts import Document, read_column, read_files, read_lines
from entitune.study import read_study

INCOMPLETE = 3
"""The exit code if some texts have no answer."""


def with_progress(found: Iterable[Extraction], title: str, total: int | None, done: int) -> Iterator[Extraction]:
    """Yield the extractions and show their number: as a progress bar on a terminal, elsewhere as lines."""
    if sys.stderr.isatty():
        yield from tqdm(found, total=total, initial=done, desc=title, unit="text")
        return
    progress, started = Progress(title, sys.stderr), time.monotonic()
    for count, extraction in enumerate(found, 1):
        if total:
            rate = count / (time.monotonic() - started)
            left = tqdm.format_interval((total - done - count) / rate)
            progress.show(100 * (done + count) / total, f"{done + count}/{total} texts, {rate:.1f} texts/s", left)
        yield extraction


def skip_finished(source: Iterator[Document], done: Sequence[Mapping[str, Any]], output: Path, name: str) -> None:
    """Read the texts that an output already has. Raises InputError if they are not those of `source`, named `name`."""
    for number, record in enumerate(done, 1):
        document = next(source, None)
        if document is None or document.text != record["text"]:
            raise InputError(
                f"{output} has other texts than {name} (the first difference is number {number}); delete it, or choose "
                "another --output"
            )


def summary(statuses: Counter[str], output: str) -> str:
    """Return a line with the number of texts that have an answer."""
    total = sum(statuses.values())
    missing = {status: statuses[status] for status in (TOO_LONG, REFUSED) if statuses[status]}
    line = f"{total - sum(missing.values())} of {total} texts answered"
    if missing:
        line += f"; {', '.join(f'{status}: {count}' for status, count in missing.items())} (see `error` in {output})"
    return line


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", required=True, help="name of the served run, whose prompt, labels and limits are used")
    parser.add_argument("--seed", type=int, help="seed of the run (default: its first)")
    parser.add_argument("--url", default="http://127.0.0.1:8000", help="the server's address (default: %(default)s)")
    parser.add_argument("--api-key-file", type=Path, help=f"file with the API key (default: {KEY_VARIABLE}, or no key)")
    parser.add_argument("--input", type=Path, nargs="+", help="UTF-8, one sentence per line (default: standard input)")
    unit = parser.add_mutually_exclusive_group()
    unit.add_argument("--documents", action="store_true", help="each --input file is one document")
    unit.add_argument("--column", help="the texts are this column of a .csv or .tsv file, or this key of a .jsonl file")
    parser.add_argument(
        "--output", type=Path, help=".jsonl, continued if it exists; or .csv (default: JSON lines on standard output)"
    )
    parser.add_argument(
        "--min-confidence",
        type=float,
        metavar="P",
        help="leave out mentions with a confidence below P (0 to 1); 0 leaves out none and adds the confidence to each",
    )
    parser.add_argument("--concurrency", type=int, default=64, help="simultaneous requests (default: %(default)s)")
    args = parser.parse_args()

    if args.concurrency < 1:
        raise InputError(f"--concurrency {args.concurrency}: expected at least 1")
    if args.min_confidence is not None and not 0 <= args.min_confidence <= 1:
        raise InputError(f"--min-confidence {args.min_confidence:g}: expected a number from 0 to 1")
    if args.input is None and (args.documents or args.column):
        raise InputError("--documents and --column need --input")
    if args.input and len(args.input) > 1 and not args.documents:
        raise InputError("--input: several files must be documents; add --documents")

    def documents() -> Iterator[Document]:
        if args.documents:
            return read_files(args.input)
        if args.column:
            return read_column(args.input[0], args.column)
        return read_lines(args.input[0] if args.input else None)

    served, key = finished_run(read_study(), args.run, args.seed), read_key(args.api_key_file)
    total = sum(1 for _ in documents()) if args.input else None
    output = args.output.with_suffix(".jsonl") if args.output and args.output.suffix == ".csv" else args.output
    kind = "documents" if args.documents else f"column {args.column}" if args.column else "lines"
    minimum = 0.0 if args.min_confidence is None else args.min_confidence
    confidence = served.decode.confidence or args.min_confidence is not None
    done = continued(output, served, kind, f"at least {minimum:g}" if confidence else None) if output else []
    statuses = Counter(record["status"] for record in done)
    source, left_out = documents(), 0
    skip_finished(source, done, output, " ".join(map(str, args.input)) if args.input else "standard input")
    with (
        open(output or 1, "a", encoding="utf-8", newline="\n", closefd=output is not None) as target,
        Client(args.url, served, key, args.concurrency, confidence=confidence) as client,
    ):
        first = list(itertools.islice(source, 1))
        if first:
            client.check()
        found = extractions(itertools.chain(first, source), client, args.concurrency)
        for extraction in with_progress(found, args.run, total, len(done)):
            kept = extraction.at_least(minimum)
            left_out += len(extraction.mentions) - len(kept.mentions)
            target.write(to_json(kept.to_dict()) + "\n")
            target.flush()
            statuses[extraction.status] += 1
    if output and output != args.output:
        write_csv(args.output, output, confidence)
    print(f"{args.run}: {summary(statuses, str(output or 'the output'))}", file=sys.stderr)
    if left_out:
        print(f"left out: {left_out} mentions with a confidence below {minimum:g}", file=sys.stderr)
    if statuses[TOO_LONG] or statuses[REFUSED]:
        sys.exit(INCOMPLETE)


if __name__ == "__main__":
    run(main)
