"""Validate a raw split and convert it to canonical JSON lines.

Problems are reported on stderr as FILE:LINE: problem and fix, one line per kind of problem, with a count. With
--on-invalid fail, any problem ends the conversion with exit code 1 and without outputs. With --on-invalid drop, rows
with problems are written to --dropped with the reasons; the conversion also fails if they are more than max_dropped
allows. A byte order mark, CRLF line ends and the like are accepted with a note.
"""

from __future__ import annotations

import argparse
import itertools
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import JsonValue

from entitune.cli import InputError, at_least_one, label_names, printable, run
from entitune.corpus.counts import Counts
from entitune.corpus.formats import FORMATS, check_options, read_split
from entitune.corpus.options import CorpusOptions, parse_options
from entitune.corpus.problems import Problems, note_lines
from entitune.corpus.recognise import annotated_keys, looks_annotated, recognise, sample_rows
from entitune.corpus.rows import Kind, Reading, Row
from entitune.corpus.sources import Source
from entitune.corpus.unread import advise
from entitune.files import atomic_write, to_json, write_json

MAX_LISTED = 100
"""The most labels of a file that a message lists."""

MANY = 0.2
"""If more than this share of the rows is invalid, the message also suggests another format."""


@dataclass(frozen=True)
class Request:
    """A conversion: the arguments of the command line."""

    source: Source
    format: str
    labels: Sequence[str]
    split: str
    on_invalid: str
    options: CorpusOptions
    require_labels: bool
    limit: int

    @property
    def name(self) -> str:
        """The name of the split in messages."""
        return self.source.name


def convert(request: Request, output: Path, dropped: Path) -> tuple[Counts, Problems, Reading]:
    """Convert the raw split to `output` and `dropped`.

    Raises InputError and leaves no outputs if there is no valid row, if required labels are missing, or if there are
    more problems than the dataset allows.
    """
    counts, problems = Counts(), Problems(request.name)
    with atomic_write(output) as stream, atomic_write(dropped) as dropped_stream:
        reading, rows = read_split(request.source, request.format, request.split, request.labels, request.options)
        for row in _with_advice(rows, request):
            counts.add(row)
            if row.sentence is None:
                reasons = [problems.add(problem) for problem in row.problems]
                raw_text = row.raw.decode(errors="backslashreplace")
                dropped_stream.write(to_json({"line": row.line, "reasons": reasons, "raw": raw_text}) + "\n")
            else:
                stream.write(to_json(row.sentence.to_dict()) + "\n")
        for line in itertools.chain(note_lines(reading.notes), problems.lines(request.limit)):
            print(line, file=sys.stderr)
        if Kind.LABEL in problems.by_kind:
            print(label_line(request, reading.label_counts), file=sys.stderr)
        if reason := refusal(request, counts, problems):
            raise InputError(f"{request.name}{reason}")
        if not counts.labelled and (unread := unread_keys(request)):
            print(f"{request.name}:1: note: read as unlabelled; ignored keys: {', '.join(unread)}", file=sys.stderr)
    return counts, problems, reading


def _with_advice(rows: Iterator[Row], request: Request) -> Iterator[Row]:
    """Yield the rows. If reading fails, add to the error which other format the file looks like."""
    try:
        yield from rows
    except InputError as error:
        raise InputError(f"{error}{other_format(request)}") from None


def label_line(request: Request, found: Counter[str]) -> str:
    """Return a line with all labels of the file and how to declare them."""
    most = [(printable(label), count) for label, count in found.most_common(MAX_LISTED)]
    listed = ", ".join(f"{label} ({count})" for label, count in most) + (", ..." if len(found) > len(most) else "")
    every = dict.fromkeys((*request.labels, *(label for label, _ in most)))
    return (
        f"{request.name}: labels in the file: {listed}; declared: {', '.join(request.labels)}. "
        f"To declare all of them: labels: [{', '.join(every)}]"
    )


def refusal(request: Request, counts: Counts, problems: Problems) -> str | None:
    """Return why nothing is written, to follow the file's name in a message; None if all is well."""
    if counts.rows == 0:
        return f":1: no rows; expected at least one{other_format(request)}"
    if problems.count and request.on_invalid == "fail":
        return (
            f": {problems.count} problems in {counts.rows} rows, nothing is written. Fix them, or leave the invalid "
            f"rows out with on_invalid: drop{other_format(request) if counts.dropped > counts.rows * MANY else ''}"
        )
    if counts.sentences == 0:
        return f": none of the {counts.rows} rows is valid, nothing is written{other_format(request)}"
    if counts.dropped > request.options.max_dropped * counts.rows:
        return (
            f": {counts.dropped} of {counts.rows} rows are invalid, {counts.dropped / counts.rows:.1%}; max_dropped "
            f"allows {request.options.max_dropped:.1%}, nothing is written. Fix them, or raise max_dropped in the "
            f"dataset's entry{other_format(request)}"
        )
    if not counts.labelled:
        return missing_labels(request)
    if request.require_labels and not counts.mentions:
        return f": no mentions in {counts.sentences} sentences; the split {request.split} must be labelled"
    return None


def missing_labels(request: Request) -> str | None:
    """Return why a split without labels is refused; None if it needs none and does not look like another format."""
    rows = sample_rows(request.source)
    keys = ", ".join(map(repr, dict.fromkeys(key for row in rows for key in row)))
    reason = f": no labels; format {request.format} has them under {FORMATS[request.format].labels}"
    reason += f", and the rows have the keys {keys}" if keys else ""
    if advice := other_format(request):
        return reason + advice
    if unread := annotated_keys(rows):
        return f"{reason}. It does not read {', '.join(map(repr, unread))}"
    if request.require_labels:
        return f"{reason}. The split {request.split} must be labelled: runs train on it or are scored on it"
    return None


def unread_keys(request: Request) -> list[str]:
    """Return the keys of an unlabelled split's rows that look like annotation: they hold offsets."""
    return list(dict.fromkeys(key for row in sample_rows(request.source) for key in looks_annotated(row)))


def other_format(request: Request) -> str:
    """Return advice if the file looks like another format than the dataset's entry has, or needs other options."""
    found = recognise(request.source)
    if found is None:
        advice = advise(request.source)
        return f". This looks like {advice}" if advice else ""
    if not found.labelled:
        return ""
    given = request.options.model_dump(exclude_unset=True, mode="json")
    if found.format == request.format and all(given.get(key) == value for key, value in found.options.items()):
        return ""
    return f". This looks like {FORMATS[found.format].about}: {found.entry()}"


def summarise(request: Request, counts: Counts, problems: Problems, reading: Reading) -> dict[str, JsonValue]:
    """Return counts of what was read and dropped, for the manifest, the tables and the report."""
    repeated, contradictory = counts.duplicates()
    return {
        "source": request.name,
        "format": request.format,
        "rows": counts.rows,
        "sentences": counts.sentences,
        "mentions": counts.mentions if counts.labelled else None,
        "labels": {label: reading.label_counts[label] for label in request.labels} if counts.labelled else None,
        "dropped": counts.dropped,
        "kinds": {kind.value: count for kind, count in problems.by_kind.items()},
        "notes": {note.text: note.times for note in reading.notes},
        "duplicates": repeated,
        "contradictory_duplicates": contradictory,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--raw", required=True, nargs="+", help="the publisher's file of one split; two for format parallel"
    )
    parser.add_argument("--source", nargs="+", default=[], help="the file's name in messages (default: that of --raw)")
    parser.add_argument("--format", required=True, choices=FORMATS, help="the raw file's format")
    parser.add_argument(
        "--options",
        type=parse_options,
        default=CorpusOptions(),
        metavar="JSON",
        help="how to read the file, beyond its format: the keys in docs/corpora.md",
    )
    parser.add_argument("--labels", required=True, type=label_names, metavar="A,B,...", help="the dataset's labels")
    parser.add_argument("--split", required=True, help="the split's name; rows without an id get the id SPLIT-LINE")
    parser.add_argument("--require-labels", action="store_true", help="refuse a split without labels")
    parser.add_argument(
        "--on-invalid", choices=["fail", "drop"], default="fail", help="what to do with invalid rows (default: fail)"
    )
    parser.add_argument(
        "--limit", type=at_least_one, default=50, metavar="N", help="the most kinds of problems to print (default: 50)"
    )
    parser.add_argument("--output", required=True, type=Path, help="canonical JSON lines")
    parser.add_argument("--dropped", required=True, type=Path, help="JSON lines: dropped rows and reasons")
    parser.add_argument("--summary", type=Path, help="counts of what was read and dropped, as JSON")
    args = parser.parse_args()
    try:
        check_options(args.format, args.options)
    except ValueError as error:
        parser.error(f"argument --options: {error}")

    request = Request(
        Source.of(args.raw, args.source),
        args.format,
        args.labels,
        args.split,
        args.on_invalid,
        args.options,
        args.require_labels,
        args.limit,
    )
    counts, problems, reading = convert(request, args.output, args.dropped)
    summary = summarise(request, counts, problems, reading)
    if args.summary:
        write_json(args.summary, summary)
    if summary["duplicates"]:
        print(
            f"{request.name}:1: note: {summary['duplicates']} sentences repeat an earlier one, "
            f"{summary['contradictory_duplicates']} of them with another annotation",
            file=sys.stderr,
        )
    print(
        f"{args.output}: {counts.sentences} sentences, "
        + (f"{counts.mentions} mentions" if counts.labelled else "unlabelled")
        + (f"; dropped {counts.dropped} of {counts.rows} rows, see {args.dropped}" if counts.dropped else "")
    )


if __name__ == "__main__":
    run(main)
