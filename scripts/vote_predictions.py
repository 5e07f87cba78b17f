"""Vote over the predictions of several seeds: an entity is predicted if more than half of the seeds predict it."""

from __future__ import annotations

import argparse
import itertools
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import replace

from entitune.cli import InputError, run
from entitune.files import write_jsonl
from entitune.records import Mention, Prediction, Sentence, read_predictions


def vote(predictions: Sequence[Sequence[Mention]]) -> list[Mention]:
    """Return the mentions of more than half of the predictions, in text order; mentions without offsets come last.

    The confidence of a vote is the mean over all predictions, where a prediction without the mention counts as 0
    (Lakshminarayanan, Pritzel & Blundell 2017, "Simple and Scalable Predictive Uncertainty Estimation using Deep
    Ensembles").
    """
    found: defaultdict[Mention, list[float | None]] = defaultdict(list)
    for prediction in predictions:
        for mention in dict.fromkeys(prediction):
            found[mention].append(mention.confidence)
    winners = [
        replace(mention, confidence=mean_confidence(confidences, len(predictions)))
        for mention, confidences in found.items()
        if 2 * len(confidences) > len(predictions)
    ]
    return sorted(winners, key=lambda e: (e.start is None, e.start or 0, e.end or 0, e.label, e.text))


def mean_confidence(confidences: Sequence[float | None], voters: int) -> float | None:
    """Return the mean over all voters, or None if a voter has the mention without a confidence."""
    known = [one for one in confidences if one is not None]
    return round(sum(known) / voters, 6) if len(known) == len(confidences) else None


def voted(paths: Sequence[str]) -> Iterator[Prediction]:
    """Yield the vote on each sentence. Raises InputError unless the files have the same sentences in the same order."""
    for predictions in itertools.zip_longest(*map(read_predictions, paths)):
        if None in predictions or len({(one.id, one.text, one.gold) for one in predictions}) > 1:
            raise InputError(f"{', '.join(paths)}: expected the same sentences in the same order")
        first: Prediction = predictions[0]
        sentence = Sentence(first.id, first.text, first.gold)
        yield Prediction.without_answer(sentence, vote([one.pred for one in predictions]), "vote")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--predictions", nargs="+", required=True, help="the predictions of each seed for one split")
    parser.add_argument("--output", required=True, help="the predictions of the vote")
    args = parser.parse_args()

    write_jsonl(args.output, (prediction.to_dict() for prediction in voted(args.predictions)))


if __name__ == "__main__":
    run(main)
