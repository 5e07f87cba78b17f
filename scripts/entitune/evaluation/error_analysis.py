"""Count the errors of one run by category and label and by properties of the sentences, and choose examples to read."""

from __future__ import annotations

import heapq
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from entitune.evaluation.bins import ENTITY_LENGTHS, ENTITY_NUMBERS, SENTENCE_LENGTHS, bucket, names
from entitune.evaluation.error_categories import CATEGORIES, Error, distinct, errors_of, span_of
from entitune.evaluation.scoring import gold_of, ratios
from entitune.records import STATUSES, Entity, Mention, Prediction, Sentence, Status
from entitune.tsv import COUNTS, MEASURES, OTHER, Row

NONE = "(none)"
"""In the confusion matrix: no gold entity, or no prediction, with these characters."""
EXAMPLES = 50
SIDES = ("false_positives", "false_negatives")
BREAKDOWN = [
    *(("surface", value) for value in ("seen", "unseen")),
    *(("entity_length", value) for value in names(ENTITY_LENGTHS)),
    *(("sentence_length", value) for value in names(SENTENCE_LENGTHS)),
    *(("entities", value) for value in names(ENTITY_NUMBERS)),
]

CATEGORIES_COLUMNS = ("category", "label", *SIDES)
CONFUSION_COLUMNS = ("gold", "predicted", "spans")
BREAKDOWN_COLUMNS = ("dimension", "value", *MEASURES, *COUNTS)

Kind: TypeAlias = tuple[str, str, str]
"""A kind of error: (category, gold label or NONE, predicted label or NONE)."""


@dataclass(frozen=True, slots=True)
class Sides:
    """The two sides of an error; None for a missing side."""

    gold: Entity | None
    pred: Mention | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    """A line of examples.jsonl: one error in its sentence."""

    rank: int
    category: str
    gold_label: str
    pred_label: str
    errors_of_this_kind: int
    id: str
    text: str
    error: Sides
    gold: tuple[Entity, ...]
    pred: tuple[Mention, ...]
    status: Status

    def to_dict(self) -> dict[str, Any]:
        """Return the row of examples.jsonl, as docs/contracts.md describes it."""
        return {
            "rank": self.rank,
            "category": self.category,
            "gold_label": self.gold_label,
            "pred_label": self.pred_label,
            "errors_of_this_kind": self.errors_of_this_kind,
            "id": self.id,
            "text": self.text,
            "error": {
                "gold": self.error.gold.to_dict() if self.error.gold else None,
                "pred": self.error.pred.to_dict() if self.error.pred else None,
            },
            "gold": [entity.to_dict() for entity in self.gold],
            "pred": [mention.to_dict() for mention in self.pred],
            "status": self.status,
        }


class Analysis:
    """The counts of one run. `add` counts a sentence."""

    def __init__(self, labels: Sequence[str], seen: set[str]) -> None:
        """`labels` are those of the dataset, `seen` the surfaces of the training split's entities."""
        self.labels = tuple(labels)
        self._known = frozenset(labels)
        self._seen = seen
        self.answers: Counter[Status] = Counter()
        self.categories: Counter[tuple[str, str, str]] = Counter()  # (category, label, one of SIDES)
        self.confusion: Counter[tuple[str, str]] = Counter()
        self.breakdown: Counter[tuple[str, str, str]] = Counter()  # (dimension, value, one of COUNTS)
        self._candidates: defaultdict[Kind, list[tuple[int, int, int, Error, Prediction]]] = defaultdict(list)
        self._sizes: Counter[Kind] = Counter()

    def add(self, prediction: Prediction) -> None:
        """Count one sentence. Raises InputError if it is unlabelled or a gold label is not one of the dataset's."""
        gold, predicted = distinct(gold_of(prediction, self._known)), distinct(prediction.pred)
        self.answers[prediction.status] += 1
        errors = errors_of(prediction)
        for error in errors:
            if error.gold is not None:
                self.categories[error.category, error.gold.label, "false_negatives"] += 1
            if error.pred is not None:
                self.categories[error.category, self._label(error.pred), "false_positives"] += 1
        marked = {span_of(one) for one in gold}
        right = [one for one in predicted if span_of(one) in marked]
        self._confuse(errors, right)
        counted: tuple[Sequence[Entity | Mention], ...] = (gold, predicted, right)
        for name, entities in zip(COUNTS, counted, strict=True):
            for one in entities:
                for dimension, value in self._describe(one, prediction):
                    self.breakdown[dimension, value, name] += 1
        for error in errors:
            self._consider(error, len(errors), prediction)

    def _label(self, one: Entity | Mention) -> str:
        return one.label if one.label in self._known else OTHER

    def _confuse(self, errors: Iterable[Error], right: Iterable[Mention]) -> None:
        for one in right:
            self.confusion[one.label, one.label] += 1
        for error in errors:
            if error.category == "wrong_label" and error.gold and error.pred:
                self.confusion[error.gold.label, self._label(error.pred)] += 1
                continue
            if error.gold:
                self.confusion[error.gold.label, NONE] += 1
            if error.pred:
                self.confusion[NONE, self._label(error.pred)] += 1

    def _describe(self, one: Entity | Mention, prediction: Prediction) -> Iterator[tuple[str, str]]:
        yield "surface", "seen" if one.text in self._seen else "unseen"
        yield "entity_length", bucket(max(1, len(one.text)), ENTITY_LENGTHS)
        yield "sentence_length", bucket(len(prediction.text), SENTENCE_LENGTHS)
        yield "entities", bucket(len(prediction.gold or ()), ENTITY_NUMBERS)

    def _consider(self, error: Error, errors: int, prediction: Prediction) -> None:
        kind = (
            error.category,
            error.gold.label if error.gold else NONE,
            self._label(error.pred) if error.pred else NONE,
        )
        self._sizes[kind] += 1
        # The clearest examples have few errors, then short sentences. The heap drops its smallest item, so negate.
        candidate = (-errors, -len(prediction.text), -self._sizes[kind], error, prediction)
        candidates = self._candidates[kind]
        if len(candidates) < EXAMPLES:
            heapq.heappush(candidates, candidate)
        else:
            heapq.heappushpop(candidates, candidate)

    def answer_rows(self) -> Iterator[Row]:
        """Return the number of answers with each status."""
        return ({"status": status, "answers": self.answers[status]} for status in STATUSES)

    def category_rows(self) -> Iterator[Row]:
        """Yield the errors of each category and label; categories without errors have no row."""
        for category in CATEGORIES:
            for label in (*self.labels, OTHER):
                counts = {side: self.categories[category, label, side] for side in SIDES}
                if any(counts.values()):
                    yield {"category": category, "label": label, **counts}

    def confusion_rows(self) -> Iterator[Row]:
        """Yield the complete confusion matrix, including zeros."""
        for gold in (*self.labels, NONE):
            for predicted in (*self.labels, OTHER, NONE):
                if (gold, predicted) != (NONE, NONE):
                    yield {"gold": gold, "predicted": predicted, "spans": self.confusion[gold, predicted]}

    def breakdown_rows(self) -> Iterator[Row]:
        """Yield precision, recall and F1 of each group of BREAKDOWN that has entities."""
        for dimension, value in BREAKDOWN:
            counts = [self.breakdown[dimension, value, name] for name in COUNTS]
            if any(counts):
                measured = ratios(np.array(counts, dtype=float)).tolist()
                yield {"dimension": dimension, "value": value} | dict(
                    zip((*MEASURES, *COUNTS), (*measured, *counts), strict=True)
                )

    def examples(self) -> Iterator[Example]:
        """Yield EXAMPLES errors at most: in turn the clearest one of each kind, frequent kinds first."""
        kinds = sorted(self._sizes, key=lambda kind: (-self._sizes[kind], kind))
        queues = [(kind, sorted(self._candidates[kind], reverse=True)) for kind in kinds]
        chosen = [(kind, queue[turn]) for turn in range(EXAMPLES) for kind, queue in queues if turn < len(queue)]
        for rank, (kind, (_, _, _, error, prediction)) in enumerate(chosen[:EXAMPLES], 1):
            yield Example(
                rank=rank,
                category=error.category,
                gold_label=kind[1],
                pred_label=kind[2],
                errors_of_this_kind=self._sizes[kind],
                id=prediction.id,
                text=prediction.text,
                error=Sides(error.gold, error.pred),
                gold=prediction.gold or (),
                pred=prediction.pred,
                status=prediction.status,
            )


def surfaces(sentences: Iterable[Sentence]) -> set[str]:
    """Return the surfaces of all entities."""
    return {entity.text for sentence in sentences for entity in sentence.entities or ()}
