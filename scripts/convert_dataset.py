"""Validate a raw split and convert it to canonical JSON lines.

Every problem is reported on stderr as FILE:LINE: what is wrong and what would be right. With --on-invalid fail any
problem ends the conversion with exit status 1 and without outputs. With --on-invalid drop the rows with problems are
written to --dropped, with the reasons, and a byte order mark or CRLF line ends, which cost no row, are read past.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Collection
from pathlib import Path

from entitune.cli import InputError, label_names, run
from entitune.corpus.readers import READERS, Problem, file_problems
from entitune.files import atomic_write, to_json


class Report:
    """Prints a raw file's problems to stderr, up to a limit, and counts them all."""

    def __init__(self, raw: str, limit: int) -> None:
        self.raw = raw
        self.limit = limit
        self.count = 0

    def add(self, problem: Problem) -> str:
        """Count `problem`, print it if the limit allows, and return it as printed."""
        message = f"{self.raw}:{problem.line}: {problem.reason}"
        self.count += 1
        if self.count <= self.limit:
            print(message, file=sys.stderr)
        return message

    def close(self) -> None:
        """Say how many problems were not printed."""
        if self.count > self.limit:
            print(f"... and {self.count - self.limit} more", file=sys.stderr)


def convert(
    raw: str,
    raw_format: str,
    labels: Collection[str],
    split: str,
    on_invalid: str,
    limit: int,
    output: Path,
    dropped: Path,
) -> str:
    """Convert `raw` to `output` and `dropped` and return a summary.

    Raises InputError, leaving no outputs, where no valid row is left or, under `on_invalid` ``fail``, where there
    is any problem.
    """
    report = Report(raw, limit)
    with atomic_write(output) as stream, atomic_write(dropped) as dropped_stream:
        for problem in file_problems(raw):
            report.add(problem)
        rows, sentences, mentions, labelled = 0, 0, 0, False
        for row in READERS[raw_format](raw, labels, split):
            rows += 1
            if row.sentence is None:
                reasons = [report.add(problem) for problem in row.problems]
                raw_text = row.raw.decode(errors="backslashreplace")
                dropped_stream.write(to_json({"line": row.line, "reasons": reasons, "raw": raw_text}) + "\n")
            else:
                sentences += 1
                if row.sentence.entities is not None:
                    labelled = True
                    mentions += len(row.sentence.entities)
                stream.write(to_json(row.sentence.to_dict()) + "\n")
        report.close()
        if rows == 0:
            raise InputError(f"{raw}:1: no rows; expected at least one")
        if on_invalid == "fail" and report.count:
            raise InputError(
                f"{raw}: {report.count} problems in {rows} rows, nothing is written. Mend them, "
                "or leave the invalid rows out with on_invalid: drop"
            )
        if sentences == 0:
            raise InputError(f"{raw}: none of the {rows} rows is valid, nothing is written")
    summary = f"{output}: {sentences} sentences, " + (f"{mentions} mentions" if labelled else "unlabelled")
    return summary + (f"; dropped {rows - sentences} of {rows} rows, see {dropped}" if rows > sentences else "")


def _limit(value: str) -> int:
    limit = int(value)
    if limit < 1:
        raise argparse.ArgumentTypeError(f"{value}; expected at least 1")
    return limit


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--raw", required=True, help="the publisher's file of one split")
    parser.add_argument("--format", required=True, choices=READERS, help="the raw file's format")
    parser.add_argument("--labels", required=True, type=label_names, metavar="A,B,...", help="the dataset's labels")
    parser.add_argument("--split", required=True, help="the split's name; rows without an id are called SPLIT-LINE")
    parser.add_argument(
        "--on-invalid", choices=["fail", "drop"], default="fail", help="what to do with invalid rows (default: fail)"
    )
    parser.add_argument(
        "--limit", type=_limit, default=50, metavar="N", help="how many problems to print (default: 50)"
    )
    parser.add_argument("--output", required=True, type=Path, help="canonical JSON lines")
    parser.add_argument("--dropped", required=True, type=Path, help="dropped rows and reasons; empty without any")
    args = parser.parse_args()
    summary = convert(
        args.raw, args.format, args.labels, args.split, args.on_invalid, args.limit, args.output, args.dropped
    )
    print(summary)


if __name__ == "__main__":
    run(main)
