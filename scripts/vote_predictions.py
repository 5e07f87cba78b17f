"""Vote over the predictions of several seeds, entity by entity: what most of them predict is predicted."""

from __future__ import annotations

import argparse
import itertools
from collections import Counter

from entitune.cli import InputError, run
from entitune.files import atomic_write, read_jsonl, to_json
from entitune.records import Entity


def vote(predictions: list[list[Entity]]) -> list[Entity]:
    """The entities that more than half of the predictions hold, in text order; those without a place come last."""
    votes = Counter(entity for prediction in predictions for entity in set(prediction))
    winners = [entity for entity, count in votes.items() if 2 * count > len(predictions)]
    return sorted(winners, key=lambda e: (e.start is None, e.start or 0, e.end or 0, e.label, e.text))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--predictions", nargs="+", required=True, help="predictions of each seed, for one split")
    parser.add_argument("--output", required=True, help="the vote, in the same form")
    args = parser.parse_args()

    with atomic_write(args.output) as stream:
        for records in itertools.zip_longest(*map(read_jsonl, args.predictions)):
            if None in records or len({record["id"] for record in records}) > 1:
                raise InputError(f"{', '.join(args.predictions)}: not the same sentences in the same order")
            winners = vote([[Entity.from_dict(entity) for entity in record["pred"]] for record in records])
            pred = [entity.to_dict() for entity in winners]
            raw = to_json([{"label": entity.label, "text": entity.text} for entity in winners])
            line = {**records[0], "pred": pred, "raw": raw, "finish_reason": "vote", "status": "ok"}
            stream.write(to_json(line) + "\n")


if __name__ == "__main__":
    run(main)
