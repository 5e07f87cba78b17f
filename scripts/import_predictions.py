"""Import the predictions of another system: match them to the sentences of a split, and ground them.

The file has a JSON object a line: `text` or `id` of a sentence, and under `entities` or `pred` its mentions in text
order, each with `label`, `text`, and `start` and `end` in characters or without both. Every sentence of the split has
a line.
"""

from __future__ import annotations

import argparse

from entitune.cli import run
from entitune.evaluation.imported import import_predictions
from entitune.files import write_jsonl
from entitune.records import read_sentences


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--predictions", required=True, help="JSONL of another system")
    parser.add_argument("--sentences", required=True, help="canonical JSONL of the split")
    parser.add_argument("--output", required=True, help="predictions, one JSON line a sentence")
    args = parser.parse_args()

    predictions = import_predictions(args.predictions, list(read_sentences(args.sentences)))
    write_jsonl(args.output, (prediction.to_dict() for prediction in predictions))
    mentions = [mention for prediction in predictions for mention in prediction.pred]
    unplaced = sum(mention.start is None for mention in mentions)
    print(
        f"{len(predictions)} sentences, {len(mentions)} mentions, {unplaced} of them without a place in their sentence"
    )


if __name__ == "__main__":
    run(main)
