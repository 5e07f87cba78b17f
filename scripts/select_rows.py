"""Choose rows of a training split: hold out rows, leave out sentences of other splits, choose a nested subset.

In this order, the held-out rows depend neither on the number of chosen rows nor on the order of the file. All files are
canonical JSONL. No sentence of the output is held out or excluded.
"""

from __future__ import annotations

import argparse

from entitune.cli import InputError, run
from entitune.corpus.selection import hold_out, select_rows, without
from entitune.files import write_jsonl
from entitune.records import Sentence, read_sentences


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sentences", required=True, help="canonical JSONL of the training split")
    parser.add_argument(
        "--exclude",
        nargs="+",
        default=[],
        metavar="FILE",
        help="canonical JSONL whose sentences to leave out",
    )
    parser.add_argument("--hold-out", type=float, metavar="SHARE", help="share of the rows to hold out, such as 0.1")
    parser.add_argument(
        "--never-held-out",
        nargs="+",
        default=[],
        metavar="FILE",
        help="canonical JSONL whose sentences are never held out",
    )
    parser.add_argument("--held-out", metavar="FILE", help="output: the held-out rows")
    parser.add_argument("--rows", type=int, help="number of the remaining rows to choose (default: all)")
    parser.add_argument("--seed", type=int, required=True, help="seed of the choice; subsets of one seed are nested")
    parser.add_argument("--output", required=True, help="the chosen rows")
    args = parser.parse_args()
    if (args.hold_out is None) != (args.held_out is None):
        parser.error("--hold-out and --held-out: give both or neither")

    rows = list(read_sentences(args.sentences))
    held: list[Sentence] = []
    report = f"{len(rows)} rows"
    try:
        if args.hold_out is not None:
            never = [sentence for path in args.never_held_out for sentence in read_sentences(path)]
            rows, held = hold_out(rows, args.hold_out, args.seed, never)
            report += f", {len(held)} held out"
        for path in args.exclude:
            before = len(rows)
            rows = without(rows, read_sentences(path))
            report += f", {before - len(rows)} left out because {path} has the same sentences"
        if args.rows is not None:
            rows = select_rows(rows, args.rows, args.seed)
    except InputError as error:
        raise InputError(f"{args.sentences}: {report}: {error}") from None
    if not rows:
        raise InputError(f"{args.sentences}: {report}: no row is left")
    if args.held_out:
        write_jsonl(args.held_out, (sentence.to_dict() for sentence in held))
    write_jsonl(args.output, (sentence.to_dict() for sentence in rows))
    print(f"{report}, {len(rows)} chosen")


if __name__ == "__main__":
    run(main)
