"""Train the CRF baseline on a labelled split, on the CPU."""

from __future__ import annotations

import argparse
import os
import tempfile
from pathlib import Path

from entitune.cli import InputError, run
from entitune.engines.crf import train
from entitune.job_records import recorded_job
from entitune.records import read_sentences


def train_model(args: argparse.Namespace) -> None:
    """Check the sentences, train, and write the model."""
    sentences = list(read_sentences(args.sentences))
    for number, sentence in enumerate(sentences, 1):
        if sentence.entities is None:
            raise InputError(f"{args.sentences}:{number}: unlabelled; a CRF needs labelled sentences")
    if not any(sentence.entities for sentence in sentences):
        raise InputError(f"{args.sentences}: no entity in {len(sentences)} sentences; a CRF needs at least one")
    args.output.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=args.output.parent) as folder:  # crfsuite writes only to a path
        model = Path(folder) / "model"
        left_out = train(sentences, model)
        os.replace(model, args.output)
    print(
        f"{len(sentences)} sentences; left out: {left_out} entities that overlap another or whose label cannot be a tag"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sentences", required=True, help="canonical JSONL of the training split, labelled")
    parser.add_argument("--record", type=Path, help="JSON: node, time and memory of the job (default: none)")
    parser.add_argument("--output", type=Path, required=True, help="the model, in crfsuite's format")
    args = parser.parse_args()
    with recorded_job(args.record):
        train_model(args)


if __name__ == "__main__":
    run(main)
