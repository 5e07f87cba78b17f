"""Write the predictions of an unlabelled split as the CLUENER benchmark takes them: cluener_predict.json.

One JSON line a sentence, in the order of the split: {"id": 0, "label": {label: {surface: [[start, end], ...]}}}, both
offsets inclusive. A mention that has no place in its sentence, or a label that the dataset does not have, cannot be
written; their number is reported.
"""

from __future__ import annotations

import argparse
import re
from collections import Counter

from entitune.cli import InputError, label_names, run
from entitune.files import atomic_write, to_json
from entitune.records import Record, read_predictions


def submission(record: Record, labels: list[str]) -> dict[str, object]:
    """The line of one sentence: its own characters as surfaces, labels in the dataset's order, surfaces by offset."""
    if not re.fullmatch(r"\d+", str(record["id"])):
        raise InputError(f"sentence {record['id']}: the benchmark's ids are numbers")
    spans = {
        (entity["label"], entity["start"], entity["end"]) for entity in record["pred"] if entity["start"] is not None
    }
    by_label: dict[str, dict[str, list[list[int]]]] = {}
    for label in labels:
        for start, end in sorted((start, end) for name, start, end in spans if name == label):
            by_label.setdefault(label, {}).setdefault(record["text"][start:end], []).append([start, end - 1])
    return {"id": int(record["id"]), "label": by_label}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--predictions", required=True, help="JSONL of read_answers")
    parser.add_argument("--labels", type=label_names, required=True, metavar="A,B,...", help="the dataset's labels")
    parser.add_argument("--output", required=True, help="the file to submit")
    args = parser.parse_args()

    counts = Counter[str]()
    with atomic_write(args.output) as stream:
        for record in read_predictions(args.predictions):
            line = submission(record, args.labels)
            stream.write(to_json(line) + "\n")
            counts["sentences"] += 1
            for entity in record["pred"]:
                known = "written" if entity["label"] in args.labels else "unknown"
                counts["unplaced" if entity["start"] is None else known] += 1
        if not counts["sentences"]:
            raise InputError(f"{args.predictions}: no prediction")
    print(
        f"{counts['sentences']} sentences, {counts['written']} mentions; left out: {counts['unplaced']} that have no"
        f" place in their sentence, {counts['unknown']} of labels that the dataset does not have"
    )


if __name__ == "__main__":
    run(main)
