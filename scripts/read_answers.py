"""Parse the raw answers of all shards into predictions: grounded mentions, with the gold entities.

The answers to the windows of a long sentence become one prediction.
"""

from __future__ import annotations

import argparse
import itertools
from collections import Counter

from entitune.cli import InputError, run
from entitune.files import write_jsonl
from entitune.prompting.answer_formats import ANSWER_FORMATS
from entitune.prompting.predictions import RawAnswer, joined, read_prediction
from entitune.prompting.windows import Window, by_sentence
from entitune.records import read_records, read_sentences


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sentences", required=True, help="canonical JSONL of the split")
    parser.add_argument(
        "--windows", help="JSONL of split_windows, if windows were asked about (default: the sentences)"
    )
    parser.add_argument("--answers", nargs="+", required=True, help="files of predict_shard, in order")
    parser.add_argument("--run", required=True, help="name of the run whose answers are read")
    parser.add_argument("--seed", type=int, required=True, help="seed of the run")
    parser.add_argument(
        "--answer", choices=ANSWER_FORMATS, default="json", help="format of the answers (default: %(default)s)"
    )
    parser.add_argument("--output", required=True, help="predictions, one JSON line per sentence")
    args = parser.parse_args()

    answers = [
        answer
        for path in args.answers
        for answer in read_records(path, RawAnswer)
        if (answer.run, answer.seed) == (args.run, args.seed)
    ]
    sentences, asked = list(read_sentences(args.sentences)), args.windows or args.sentences
    windows = list(read_records(asked, Window))
    if [answer.id for answer in answers] != [window.id for window in windows]:
        raise InputError(f"{', '.join(args.answers)}: expected one answer for each sentence of {asked}, in order")
    rest = iter(answers)
    predictions = []
    for sentence, parts in zip(sentences, by_sentence(windows), strict=True):
        read = [
            read_prediction(args.answer, part.to_sentence(), answer.raw, answer.finish_reason, answer.tokens)
            for part, answer in zip(parts, itertools.islice(rest, len(parts)), strict=True)
        ]
        predictions.append(joined(sentence, [part.span for part in parts], read))
    write_jsonl(args.output, (prediction.to_dict() for prediction in predictions))
    statuses = Counter(prediction.status for prediction in predictions)
    print(f"{len(sentences)} sentences: " + ", ".join(f"{count} {status}" for status, count in statuses.most_common()))


if __name__ == "__main__":
    run(main)
