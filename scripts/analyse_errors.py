"""Analyse the errors of one run under scoring `spans`: by category, by label, and by properties of sentences.

Writes answers.tsv, categories.tsv, confusion.tsv, breakdown.tsv and examples.jsonl into a folder (columns:
docs/contracts.md).
"""

from __future__ import annotations

import argparse
from pathlib import Path

from entitune.cli import label_names, run
from entitune.evaluation.error_analysis import (
    BREAKDOWN_COLUMNS,
    CATEGORIES_COLUMNS,
    CONFUSION_COLUMNS,
    Analysis,
    surfaces,
)
from entitune.files import write_jsonl
from entitune.records import read_predictions, read_sentences
from entitune.tsv import write_tsv


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--predictions", required=True, help="JSONL of read_answers, with gold")
    parser.add_argument("--train", required=True, help="canonical JSONL of the training split")
    parser.add_argument(
        "--labels",
        type=label_names,
        required=True,
        metavar="A,B,...",
        help="the dataset's labels, in the order of the tables",
    )
    parser.add_argument("--output-dir", type=Path, required=True, help="folder to write into")
    args = parser.parse_args()

    analysis = Analysis(args.labels, surfaces(read_sentences(args.train)))
    for prediction in read_predictions(args.predictions):
        analysis.add(prediction)
    output: Path = args.output_dir
    write_tsv(output / "answers.tsv", ("status", "answers"), analysis.answer_rows())
    write_tsv(output / "categories.tsv", CATEGORIES_COLUMNS, analysis.category_rows())
    write_tsv(output / "confusion.tsv", CONFUSION_COLUMNS, analysis.confusion_rows())
    write_tsv(output / "breakdown.tsv", BREAKDOWN_COLUMNS, analysis.breakdown_rows())
    write_jsonl(output / "examples.jsonl", (example.to_dict() for example in analysis.examples()))


if __name__ == "__main__":
    run(main)
