"""Import the predictions of another system: match them to the sentences of a split, and ground them.

The file is JSON lines, an object per sentence with its `text` or `id`, and under `entities` or `pred` its mentions in
text order, each with `label` and `text`, and `start` and `end` in characters where they are known; or it is in a format
of corpora. Every sentence of the split needs a row.
"""

from __future__ import annotations

import argparse

from entitune.cli import run
from entitune.corpus.formats import FORMATS, check_options
from entitune.corpus.options import CorpusOptions, parse_options
from entitune.corpus.sources import Source
from entitune.evaluation.imported import PREDICTIONS, import_predictions, read_imported
from entitune.files import write_jsonl
from entitune.records import read_sentences


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--predictions", required=True, nargs="+", help="the file; two for format parallel")
    parser.add_argument(
        "--format", choices=[PREDICTIONS, *FORMATS], default=PREDICTIONS, help="its format (default: predictions)"
    )
    parser.add_argument(
        "--options", type=parse_options, default=CorpusOptions(), metavar="JSON", help="how a corpus format is read"
    )
    parser.add_argument("--sentences", required=True, help="canonical JSONL of the split")
    parser.add_argument("--output", required=True, help="predictions, one JSON line a sentence")
    args = parser.parse_args()
    try:
        if args.format != PREDICTIONS:
            check_options(args.format, args.options)
    except ValueError as error:
        parser.error(f"argument --options: {error}")

    source = Source.of(args.predictions)
    rows = list(read_imported(source, args.format, args.options))
    predictions = import_predictions(rows, list(read_sentences(args.sentences)), source.name)
    write_jsonl(args.output, (prediction.to_dict() for prediction in predictions))
    mentions = [mention for prediction in predictions for mention in prediction.pred]
    unplaced = sum(mention.start is None for mention in mentions)
    counts = f"{len(mentions)} mentions, {unplaced} of them without a place in their sentence"
    print(f"{len(predictions)} sentences, {counts}")


if __name__ == "__main__":
    run(main)
