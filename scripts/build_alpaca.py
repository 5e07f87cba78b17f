"""Convert a canonical split to alpaca JSON: prompt, sentence, and the answer that the model should give."""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal

from entitune.cli import InputError, label_names, run
from entitune.config_files import read_text
from entitune.files import write_json, write_rows
from entitune.prompting.answer_formats import ANSWER_FORMATS, AnswerFormat
from entitune.prompting.answer_formats.writing import inexpressible, write_answer
from entitune.prompting.prompt import Prompt
from entitune.records import Entity, Sentence, read_sentences


def described(names: Sequence[str], definitions: str) -> dict[str, str]:
    """Return label -> description. Raises InputError if `definitions` is not a JSON object of some of the names."""
    try:
        descriptions = json.loads(definitions)
    except ValueError as error:
        raise InputError(f"--definitions: not JSON ({error})") from None
    if not isinstance(descriptions, dict) or not all(isinstance(text, str) for text in descriptions.values()):
        raise InputError("--definitions: expected a JSON object of label: description")
    if unknown := descriptions.keys() - set(names):
        raise InputError(f"--definitions: {', '.join(sorted(unknown))} is not among --labels {','.join(names)}")
    return {name: descriptions.get(name, "") for name in names}


def with_answers(
    path: str, answer_format: AnswerFormat, on_invalid: Literal["fail", "drop"], counts: Counter[str] | None = None
) -> Iterator[tuple[Sentence, str]]:
    """Yield each sentence of a canonical file with its answer, which is empty for an unlabelled sentence.

    Entities that the format cannot write are left out with a warning, or raise InputError with `on_invalid` fail. Adds
    the numbers of `mentions` and `mentions_lost` to `counts`.
    """
    counts = Counter() if counts is None else counts
    refused: list[tuple[Sentence, Entity]] = []
    for sentence in read_sentences(path):
        refused += [(sentence, entity) for entity in inexpressible(answer_format, sentence)]
        counts.update(mentions=len(sentence.entities or ()))
        yield sentence, write_answer(answer_format, sentence)
    counts.update(mentions_lost=len(refused))
    if refused:
        sentence, entity = refused[0]
        problem = (
            f"{path}: {len(refused)} entities cross another one, which the answer format {answer_format} cannot write; "
            f"the first: {entity.label} {entity.text!r} at {entity.start} in sentence {sentence.id}"
        )
        if on_invalid == "fail":
            raise InputError(f"{problem}; use another answer format, or leave these entities out with on_invalid: drop")
        print(f"warning: {problem}; these entities are left out of the answers", file=sys.stderr)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sentences", required=True, help="canonical JSONL of the split")
    parser.add_argument("--user", type=Path, required=True, help="text file: the user turn before the sentence")
    parser.add_argument("--system", type=Path, help="text file: the system turn (default: that of the chat template)")
    parser.add_argument(
        "--labels", type=label_names, required=True, metavar="A,B,...", help="replace {labels} in the prompt"
    )
    parser.add_argument(
        "--definitions", default="{}", help="JSON object of label: description; replace {definitions} in the prompt"
    )
    parser.add_argument(
        "--answer", choices=ANSWER_FORMATS, default="json", help="format of the answers (default: %(default)s)"
    )
    parser.add_argument(
        "--on-invalid",
        choices=["fail", "drop"],
        default="fail",
        help="what to do with entities that the format cannot write (default: %(default)s)",
    )
    parser.add_argument("--examples", help="canonical JSONL of draw_examples: the examples before the sentence")
    parser.add_argument("--output", required=True, help="alpaca JSON")
    parser.add_argument("--summary", help="JSON: the numbers of mentions, and of those left out of the answers")
    args = parser.parse_args()

    labels = described(args.labels, args.definitions)
    examples = list(with_answers(args.examples, args.answer, args.on_invalid)) if args.examples else []
    if any(sentence.entities is None for sentence, _ in examples):
        raise InputError(f"{args.examples}: a sentence is unlabelled and cannot be an example")
    try:
        prompt = Prompt.build(
            user=read_text(args.user),
            system=read_text(args.system) if args.system else "",
            labels=labels,
            examples=examples,
        )
    except ValueError as error:
        raise InputError(f"{args.user}: {error}") from error
    counts: Counter[str] = Counter()
    rows = with_answers(args.sentences, args.answer, args.on_invalid, counts)
    write_rows(args.output, (prompt.row(sentence, answer) for sentence, answer in rows))
    if args.summary:
        lost = counts["mentions_lost"]
        kinds = {f"crosses another mention, which the answer format {args.answer} cannot write": lost} if lost else {}
        write_json(args.summary, {"mentions": counts["mentions"], "mentions_lost": lost, "kinds": kinds})


if __name__ == "__main__":
    run(main)
