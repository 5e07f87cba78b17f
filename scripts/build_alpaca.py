"""Turn a canonical split into alpaca JSON: prompt, sentence and the answer that the model should give."""

from __future__ import annotations

import argparse
from pathlib import Path

from entitune.cli import InputError, label_names, run
from entitune.files import atomic_write, read_jsonl, to_json
from entitune.prompting.prompt import Prompt
from entitune.records import Sentence


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sentences", required=True, help="canonical JSONL of the split")
    parser.add_argument("--user", type=Path, required=True, help="text file: the user turn before the sentence")
    parser.add_argument("--system", type=Path, help="text file: the system turn (default: the chat template's)")
    parser.add_argument(
        "--labels", type=label_names, required=True, metavar="A,B,...", help="replace {labels} in the prompt"
    )
    parser.add_argument("--examples", help="canonical JSONL of the training split, for --shots")
    parser.add_argument("--shots", type=int, default=0, help="examples before the sentence (default: 0)")
    parser.add_argument("--shots-seed", type=int, default=1, help="seed that draws the examples (default: 1)")
    parser.add_argument("--output", required=True, help="alpaca JSON")
    args = parser.parse_args()

    pool = [Sentence.from_dict(record) for record in read_jsonl(args.examples)] if args.shots else []
    try:
        prompt = Prompt.build(
            user=args.user.read_text(encoding="utf-8"),
            system=args.system.read_text(encoding="utf-8") if args.system else "",
            labels=args.labels,
            pool=pool,
            shots=args.shots,
            seed=args.shots_seed,
        )
    except ValueError as error:
        raise InputError(f"{args.examples}: {error}") from error
    with atomic_write(args.output) as stream:
        # One row a line, so that a person can find a sentence in the file and a diff shows what changed.
        separator = "[\n"
        for record in read_jsonl(args.sentences):
            stream.write(separator + to_json(prompt.row(Sentence.from_dict(record))))
            separator = ",\n"
        stream.write("\n]\n")


if __name__ == "__main__":
    run(main)
