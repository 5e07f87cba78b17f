"""Analyse the errors of one run under scoring `spans`: by category, by label, by what is hard about a sentence.

Writes into a folder (columns: docs/contracts.md): answers.tsv, categories.tsv, confusion.tsv, breakdown.tsv and
examples.jsonl.
"""

from __future__ import annotations

import argparse
import heapq
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from entitune.cli import InputError, label_names, run
from entitune.evaluation.bins import ENTITY_LENGTHS, ENTITY_NUMBERS, SENTENCE_LENGTHS, bucket, names
from entitune.evaluation.error_categories import CATEGORIES, EntityDict, Error, distinct, errors_of
from entitune.evaluation.scoring import OTHER
from entitune.files import atomic_write, to_json
from entitune.records import Record, Sentence, read_predictions, read_sentences
from entitune.tsv import write_tsv

STATUSES = ("ok", "repaired", "unparseable", "truncated")
NONE = "(none)"
"""In the confusion matrix: no mention, or no prediction, with these characters."""
EXAMPLES = 50
BREAKDOWN = [
    *(("surface", value) for value in ("seen", "unseen")),
    *(("entity_length", value) for value in names(ENTITY_LENGTHS)),
    *(("sentence_length", value) for value in names(SENTENCE_LENGTHS)),
    *(("entities", value) for value in names(ENTITY_NUMBERS)),
]


class Analysis:
    """The counts of one run; sentences stream into `add`."""

    def __init__(self, labels: list[str], seen: set[str]) -> None:
        self.labels = labels
        self._seen = seen
        self.answers: Counter[str] = Counter()
        self.categories: Counter[tuple[str, str, str]] = Counter()  # (category, label, fp or fn)
        self.confusion: Counter[tuple[str, str]] = Counter()
        self.breakdown: Counter[tuple[str, str, str]] = Counter()  # (dimension, value, support or predicted or correct)
        self._candidates: defaultdict[tuple[str, str, str], list[Any]] = defaultdict(list)
        self._sizes: Counter[tuple[str, str, str]] = Counter()

    def _label(self, entity: EntityDict) -> str:
        return entity["label"] if entity["label"] in self.labels else OTHER

    def add(self, record: Record) -> None:
        """Count one sentence. Raises InputError where it has no gold or a gold label that is not the dataset's."""
        if record["gold"] is None:
            raise InputError(f"sentence {record['id']}: no gold; an unlabelled split has no errors to analyse")
        for entity in record["gold"]:
            if entity["label"] not in self.labels:
                raise InputError(
                    f"sentence {record['id']}: gold label {entity['label']!r} is not among the dataset's labels"
                    f" {self.labels}"
                )
        self.answers[record["status"]] += 1
        gold, predicted = distinct(record["gold"]), distinct(record["pred"])
        errors = errors_of(record)
        for error in errors:
            if error.gold is not None:
                self.categories[error.category, self._label(error.gold), "false_negatives"] += 1
            if error.pred is not None:
                self.categories[error.category, self._label(error.pred), "false_positives"] += 1
        wrong = {id(error.pred) for error in errors}
        right = [one for one in predicted if id(one) not in wrong]
        self._confuse(errors, right)
        for name, entities in (("support", gold), ("predicted", predicted), ("correct", right)):
            for entity in entities:
                for dimension, value in self._describe(entity, record):
                    self.breakdown[dimension, value, name] += 1
        for error in errors:
            self._consider(error, len(errors), record)

    def _confuse(self, errors: list[Error], right: list[EntityDict]) -> None:
        for entity in right:
            self.confusion[self._label(entity), self._label(entity)] += 1
        for error in errors:
            if error.category == "wrong_label" and error.gold and error.pred:
                self.confusion[self._label(error.gold), self._label(error.pred)] += 1
                continue
            if error.gold:
                self.confusion[self._label(error.gold), NONE] += 1
            if error.pred:
                self.confusion[NONE, self._label(error.pred)] += 1

    def _describe(self, entity: EntityDict, record: Record) -> Iterator[tuple[str, str]]:
        yield "surface", "seen" if entity["text"] in self._seen else "unseen"
        yield "entity_length", bucket(max(1, len(entity["text"])), ENTITY_LENGTHS)
        yield "sentence_length", bucket(len(record["text"]), SENTENCE_LENGTHS)
        yield "entities", bucket(len(record["gold"]), ENTITY_NUMBERS)

    def _consider(self, error: Error, errors: int, record: Record) -> None:
        group = (
            error.category,
            self._label(error.gold) if error.gold else NONE,
            self._label(error.pred) if error.pred else NONE,
        )
        self._sizes[group] += 1
        # Clearest first: a sentence with few errors, then a short one. A heap of what to drop next, so negated.
        candidate = (-errors, -len(record["text"]), -self._sizes[group], error, record)
        candidates = self._candidates[group]
        if len(candidates) < EXAMPLES:
            heapq.heappush(candidates, candidate)
        else:
            heapq.heappushpop(candidates, candidate)

    def examples(self) -> Iterator[dict[str, Any]]:
        """The EXAMPLES most instructive errors: in turn the clearest of each kind of error, frequent kinds first."""
        groups = sorted(self._sizes, key=lambda group: (-self._sizes[group], group))
        queues = [(group, sorted(self._candidates[group], reverse=True)) for group in groups]
        chosen = [(group, queue[turn]) for turn in range(EXAMPLES) for group, queue in queues if turn < len(queue)]
        for rank, (group, (_, _, _, error, record)) in enumerate(chosen[:EXAMPLES], 1):
            yield {
                "rank": rank,
                "category": error.category,
                "gold_label": group[1],
                "pred_label": group[2],
                "errors_of_this_kind": self._sizes[group],
                "id": record["id"],
                "text": record["text"],
                "error": {"gold": error.gold, "pred": error.pred},
                "gold": record["gold"],
                "pred": record["pred"],
                "status": record["status"],
            }


def ratio(numerator: int, denominator: int) -> float:
    return numerator / denominator if denominator else 0.0


def breakdown_rows(counts: Counter[tuple[str, str, str]]) -> Iterator[dict[str, Any]]:
    for dimension, value in BREAKDOWN:
        support, predicted, correct = (counts[dimension, value, name] for name in ("support", "predicted", "correct"))
        if support or predicted:
            yield {
                "dimension": dimension,
                "value": value,
                "precision": ratio(correct, predicted),
                "recall": ratio(correct, support),
                "f1": ratio(2 * correct, support + predicted),
                "support": support,
                "predicted": predicted,
                "correct": correct,
            }


def surfaces(sentences: Iterable[Sentence]) -> set[str]:
    """The surfaces that are marked somewhere, under any label."""
    return {entity.text for sentence in sentences for entity in sentence.entities or ()}


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
    for record in read_predictions(args.predictions):
        analysis.add(record)

    labels = [*args.labels, OTHER]
    write_tsv(
        args.output_dir / "answers.tsv",
        ("status", "answers"),
        ({"status": status, "answers": analysis.answers[status]} for status in STATUSES),
    )
    sides = ("false_positives", "false_negatives")
    write_tsv(
        args.output_dir / "categories.tsv",
        ("category", "label", *sides),
        (
            {"category": category, "label": label}
            | {side: analysis.categories[category, label, side] for side in sides}
            for category in CATEGORIES
            for label in labels
            if any(analysis.categories[category, label, side] for side in sides)
        ),
    )
    write_tsv(
        args.output_dir / "confusion.tsv",
        ("gold", "predicted", "spans"),
        (
            {"gold": gold, "predicted": predicted, "spans": analysis.confusion[gold, predicted]}
            for gold in [*args.labels, NONE]
            for predicted in [*labels, NONE]
            if (gold, predicted) != (NONE, NONE)
        ),
    )
    write_tsv(
        args.output_dir / "breakdown.tsv",
        ("dimension", "value", "precision", "recall", "f1", "support", "predicted", "correct"),
        breakdown_rows(analysis.breakdown),
    )
    with atomic_write(args.output_dir / "examples.jsonl") as stream:
        stream.writelines(to_json(example) + "\n" for example in analysis.examples())


if __name__ == "__main__":
    run(main)
