"""Vote over the predictions of several seeds, entity by entity: what most of them predict is predicted."""

from __future__ import annotations

import argparse
import itertools
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

from entitune.cli import InputError, run
from entitune.files import write_jsonl
from entitune.records import Mention, Prediction, Sentence, read_predictions


def vote(predictions: Sequence[Sequence[Mention]]) -> list[Mention]:
    """The mentions that more than half of the predictions hold, in text order; those without a place come last."""
    votes = Counter(mention for prediction in predictions for mention in set(prediction))
    winners = [mention for mention, count in votes.items() if 2 * count > len(predictions)]
    return sorted(winners, key=lambda e: (e.start is None, e.start or 0, e.end or 0, e.label, e.text))


def voted(paths: Sequence[str]) -> Iterator[dict[str, Any]]:
    """The vote on each sentence. Raises InputError where the files do not have the same sentences in the same order."""
    for predictions in itertools.zip_longest(*map(read_predictions, paths)):
        if None in predictions or len({(one.id, one.text, one.gold) for one in predictions}) > 1:
            raise InputError(f"{', '.join(paths)}: not the same sentences in the same order")
        first: Prediction = predictions[0]
        sentence = Sentence(first.id, first.text, first.gold)
        yield Prediction.without_answer(sentence, vote([one.pred for one in predictions]), "vote").to_dict()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--predictions", nargs="+", required=True, help="predictions of each seed, for one split")
    parser.add_argument("--output", required=True, help="the vote, in the same form")
    args = parser.parse_args()

    write_jsonl(args.output, voted(args.predictions))


if __name__ == "__main__":
    run(main)
