"""Write the predictions of an unlabelled split for the CLUENER benchmark: cluener_predict.json.

One JSON line per sentence, in the order of the split: {"id": 0, "label": {label: {surface: [[start, end], ...]}}}, both
offsets inclusive. Mentions that were not found in their sentence, or whose label the dataset lacks, cannot be written;
their number is reported.
"""

from __future__ import annotations

import argparse
import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from itertools import chain
from typing import Any

from entitune.cli import InputError, label_names, run
from entitune.files import write_jsonl
from entitune.records import Prediction, read_predictions


def submission(prediction: Prediction, labels: Sequence[str]) -> dict[str, Any]:
    """Return the line of one sentence: labels in the dataset's order, surfaces in text order, spelled as there."""
    if not re.fullmatch(r"[0-9]+", prediction.id):
        raise InputError(f"sentence {prediction.id}: the id must be a number in this benchmark")
    spans: defaultdict[str, set[tuple[int, int]]] = defaultdict(set)
    for mention in prediction.pred:
        if mention.start is not None and mention.end is not None:
            spans[mention.label].add((mention.start, mention.end))
    by_label: dict[str, dict[str, list[list[int]]]] = {}
    for label in labels:
        for start, end in sorted(spans[label]):
            surface = prediction.text[start:end]
            by_label.setdefault(label, {}).setdefault(surface, []).append([start, end - 1])
    return {"id": int(prediction.id), "label": by_label}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--predictions", required=True, help="JSONL of read_answers")
    parser.add_argument("--labels", type=label_names, required=True, metavar="A,B,...", help="the dataset's labels")
    parser.add_argument("--output", required=True, help="the file to submit")
    args = parser.parse_args()

    predictions = list(read_predictions(args.predictions))
    if not predictions:
        raise InputError(f"{args.predictions}: no predictions")
    write_jsonl(args.output, (submission(prediction, args.labels) for prediction in predictions))
    counts = Counter[str]()
    for mention in chain.from_iterable(prediction.pred for prediction in predictions):
        known = "written" if mention.label in args.labels else "unknown"
        counts["unplaced" if mention.start is None else known] += 1
    print(
        f"{len(predictions)} sentences, {counts['written']} mentions; left out: {counts['unplaced']} that were not"
        f" found in their sentence, {counts['unknown']} whose label the dataset lacks"
    )


if __name__ == "__main__":
    run(main)
