"""Draw sentences of a training split as the examples of a few-shot prompt.

The examples are not in any split that runs are scored on. All files are canonical JSONL.
"""

from __future__ import annotations

import argparse

from entitune.cli import InputError, run
from entitune.corpus.selection import draw_examples, without
from entitune.files import write_jsonl
from entitune.records import read_sentences


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sentences", required=True, help="the training split")
    parser.add_argument("--exclude", nargs="+", default=[], metavar="FILE", help="splits whose sentences are not drawn")
    parser.add_argument("--count", type=int, required=True, help="number of examples")
    parser.add_argument("--seed", type=int, required=True, help="seed of the draw")
    parser.add_argument("--output", required=True, help="the examples, in the order of the prompt")
    args = parser.parse_args()

    pool = list(read_sentences(args.sentences))
    for path in args.exclude:
        pool = without(pool, read_sentences(path))
    try:
        examples = draw_examples(pool, args.count, args.seed)
    except InputError as error:
        raise InputError(f"{args.sentences}: {error}; set a smaller `shots` in conf/prompts.yaml") from None
    write_jsonl(args.output, (sentence.to_dict() for sentence in examples))


if __name__ == "__main__":
    run(main)
