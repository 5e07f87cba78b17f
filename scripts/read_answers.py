"""Read the raw answers of all shards into predictions: the mentions in them, grounded, with the gold entities."""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Mapping
from typing import Any

from entitune.cli import InputError, run
from entitune.files import read_jsonl, write_jsonl
from entitune.prompting.answer_formats import ANSWER_FORMATS
from entitune.prompting.confidence import Token
from entitune.prompting.predictions import read_prediction
from entitune.records import read_sentences


def tokens_of(answer: Mapping[str, Any]) -> list[Token] | None:
    """The tokens of an answer with their probabilities, where predict_shard recorded them."""
    return [Token(*token) for token in answer["tokens"]] if "tokens" in answer else None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sentences", required=True, help="canonical JSONL of the split")
    parser.add_argument("--answers", nargs="+", required=True, help="predict_shard's files, in order")
    parser.add_argument("--run", required=True, help="the run whose answers are read")
    parser.add_argument("--seed", type=int, required=True, help="and its seed")
    parser.add_argument(
        "--answer", choices=ANSWER_FORMATS, default="json", help="format of the answers (default: %(default)s)"
    )
    parser.add_argument("--output", required=True, help="predictions, one JSON line a sentence")
    args = parser.parse_args()

    answers = [
        answer
        for path in args.answers
        for answer in read_jsonl(path)
        if (answer["run"], answer["seed"]) == (args.run, args.seed)
    ]
    sentences = list(read_sentences(args.sentences))
    if [answer["id"] for answer in answers] != [sentence.id for sentence in sentences]:
        raise InputError(f"{', '.join(args.answers)}: not one answer for each sentence of {args.sentences}, in order")
    predictions = [
        read_prediction(args.answer, sentence, answer["raw"], answer["finish_reason"], tokens_of(answer))
        for sentence, answer in zip(sentences, answers, strict=True)
    ]
    write_jsonl(args.output, (prediction.to_dict() for prediction in predictions))
    statuses = Counter(prediction.status for prediction in predictions)
    print(f"{len(sentences)} answers: " + ", ".join(f"{count} {status}" for status, count in statuses.most_common()))


if __name__ == "__main__":
    run(main)
