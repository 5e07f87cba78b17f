"""Make the checkpoint with the highest micro F1 (spans) on held-out rows of the training split the run's adapter.

Of several equal checkpoints, the earliest is chosen, because it was trained for the fewest steps.
"""

from __future__ import annotations

import argparse
import os
import shutil
from collections import defaultdict
from dataclasses import asdict, replace
from pathlib import Path

from entitune.cli import InputError, at_least_one, label_names, run
from entitune.engines.candidates import TRAINING_FILES, candidates_in
from entitune.evaluation.checkpoint_scores import COLUMNS, SCORING, CheckpointScore
from entitune.evaluation.scoring import intervals, measure, tally
from entitune.prompting.answer_formats import ANSWER_FORMATS
from entitune.prompting.predictions import RawAnswer, read_prediction
from entitune.records import Prediction, read_records, read_sentences
from entitune.tsv import MICRO, write_tsv


def score(step: int, predictions: list[Prediction], labels: list[str], resamples: int, seed: int) -> CheckpointScore:
    """Return the micro scores of a checkpoint, which is not chosen yet."""
    counted = tally(predictions, labels)[SCORING]
    position = counted.names.index(MICRO)
    precision, recall, f1 = map(float, measure(counted.totals)[position])
    low, high = (float(bound[position, 2]) for bound in intervals(counted, resamples, seed))
    gold, predicted, right = map(int, counted.totals.sum(axis=0))
    return CheckpointScore(
        step, len(predictions), precision, recall, f1, low, high, gold, predicted, right, chosen="no"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--candidates", type=Path, required=True, help="folder of train_adapter --candidates")
    parser.add_argument("--sentences", required=True, help="canonical JSONL of the held-out rows")
    parser.add_argument("--answers", nargs="+", required=True, help="files of predict_shard, in order")
    parser.add_argument(
        "--answer", choices=ANSWER_FORMATS, default="json", help="format of the answers (default: %(default)s)"
    )
    parser.add_argument("--labels", type=label_names, required=True, metavar="A,B,...", help="the dataset's labels")
    parser.add_argument("--run", required=True, help="name of the run whose answers are read")
    parser.add_argument("--seed", type=int, required=True, help="seed of the run")
    parser.add_argument("--resamples", type=at_least_one, default=10_000, help="bootstrap resamples (default: 10000)")
    parser.add_argument("--bootstrap-seed", type=int, default=0, help="seed of the bootstrap (default: 0)")
    parser.add_argument("--scores", required=True, help="TSV: the score of each checkpoint, and which one was chosen")
    parser.add_argument("--output-dir", type=Path, required=True, help="folder of the adapter")
    args = parser.parse_args()

    sentences, candidates = list(read_sentences(args.sentences)), candidates_in(args.candidates)
    answers = defaultdict(list)
    for path in args.answers:
        for answer in read_records(path, RawAnswer):
            if (answer.run, answer.seed) == (args.run, args.seed):
                answers[answer.step].append(answer)
    expected = [sentence.id for sentence in sentences]
    scores = []
    for step in candidates:
        if [answer.id for answer in answers[step]] != expected:
            found = ", ".join(args.answers)
            raise InputError(
                f"{found}: step {step}: expected one answer for each sentence of {args.sentences}, in order"
            )
        predictions = [
            read_prediction(args.answer, sentence, answer.raw, answer.finish_reason)
            for sentence, answer in zip(sentences, answers[step], strict=True)
        ]
        scores.append(score(step, predictions, args.labels, args.resamples, args.bootstrap_seed))
    best = max(scores, key=lambda one: (one.f1, -one.step))
    if len(scores) == 1:
        print("warning: the training wrote only one checkpoint; set a smaller save_steps")
    elif not best.f1:
        print("warning: no checkpoint finds an entity of the held-out rows; the earliest one is chosen")
    for one in scores:
        print(f"step {one.step}: F1 {one.f1:.4f} ({one.f1_low:.4f} to {one.f1_high:.4f})")
    print(f"chosen: step {best.step} of {scores[-1].step}, by F1 on {len(sentences)} held-out sentences")

    args.output_dir.mkdir(parents=True, exist_ok=True)
    chosen = candidates[best.step]
    for source in (*sorted(chosen.iterdir()), *(args.candidates / name for name in TRAINING_FILES)):
        shutil.copyfile(source, args.output_dir / f".{source.name}")
        os.replace(args.output_dir / f".{source.name}", args.output_dir / source.name)
    write_tsv(args.scores, COLUMNS, [asdict(replace(one, chosen="yes") if one is best else one) for one in scores])


if __name__ == "__main__":
    run(main)
