"""Import the predictions of another system: match them to the sentences of a split and ground them.

The file is in a format of corpora, or has one JSON object per line and sentence, with `text` or `id` and with mentions
in text order under `entities` or `pred`. A mention has `label`, `text` and, if known, `start` and `end` in characters.
The file needs a row for each sentence of the split.
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
    parser.add_argument("--predictions", required=True, nargs="+", help="the file; two files for format parallel")
    parser.add_argument(
        "--format",
        choices=[PREDICTIONS, *FORMATS],
        default=PREDICTIONS,
        help="format of the file (default: predictions)",
    )
    parser.add_argument(
        "--options",
        type=parse_options,
        default=CorpusOptions(),
        metavar="JSON",
        help="how to read a format of corpora: the keys in docs/corpora.md",
    )
    parser.add_argument("--sentences", required=True, help="canonical JSONL of the split")
    parser.add_argument("--output", required=True, help="predictions, one JSON line per sentence")
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
    counts = f"{len(mentions)} mentions, {unplaced} of them not found in their sentence"
    print(f"{len(predictions)} sentences, {counts}")


if __name__ == "__main__":
    run(main)
