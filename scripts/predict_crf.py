"""Predict a split with the CRF baseline."""

from __future__ import annotations

import argparse
from pathlib import Path

from entitune.cli import InputError, run
from entitune.engines.crf import Crf
from entitune.files import write_jsonl
from entitune.records import Prediction, read_sentences


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sentences", required=True, help="canonical JSONL of the split")
    parser.add_argument("--model", type=Path, required=True, help="model that train_crf wrote")
    parser.add_argument("--output", required=True, help="predictions, one JSON line per sentence")
    args = parser.parse_args()

    try:
        crf = Crf(args.model)
    except ValueError as error:
        raise InputError(f"{args.model}: not a model of train_crf ({error})") from None
    predictions = (
        Prediction.without_answer(sentence, crf.entities(sentence.text), "crf").to_dict()
        for sentence in read_sentences(args.sentences)
    )
    print(f"{write_jsonl(args.output, predictions)} sentences")


if __name__ == "__main__":
    run(main)
