"""Precision, recall and F1 of named entities, with bootstrap intervals.

There are two scorings. `pairs` compares the set of (label, text) of each sentence. `spans` compares the set of (label,
start, end); a predicted mention without a place in the sentence counts as a false positive each time it is named.

All values are computed from a `Tally`: the distinct rows of per-sentence counts, and how many sentences have each row.
This is all that a bootstrap over sentences needs, and memory does not grow with the number of sentences. The formulas
and their sources are in docs/evaluation.md.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, zip_longest
from operator import attrgetter
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from entitune.cli import InputError
from entitune.records import Entity, Prediction
from entitune.tsv import MACRO, MICRO, NOT_LABELS, OTHER

SCORINGS = ("pairs", "spans")
LEVEL = 0.95

Row: TypeAlias = tuple[int, ...]
"""The counts of one sentence as sorted codes: 3 times the label's index, + 0 for each gold entity, + 1 for each
predicted one, + 2 for each correct one."""
Floats: TypeAlias = NDArray[np.float64]

_CHUNK = 2_000_000  # weights that are drawn at once: 16 MB


@dataclass(frozen=True)
class Tally:
    """Per-sentence counts: `weights[i]` sentences have the counts `rows[i]`.

    The shape of `rows` is (distinct rows, labels + 1, 3): OTHER is the last label, and the counts are gold, predicted,
    correct. With several runs, there is an axis of runs before that of the labels.
    """

    labels: tuple[str, ...]
    rows: Floats
    weights: NDArray[np.int64]

    @property
    def totals(self) -> Floats:
        """The counts of the complete split."""
        return np.tensordot(self.weights.astype(float), self.rows, axes=1)

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the values that `measure` returns, in order."""
        return (*self.labels, OTHER, MICRO, MACRO)


_values = attrgetter("label", "text", "start", "end")


class RowMaker:
    """Makes the rows of sentences for a list of labels."""

    def __init__(self, labels: Sequence[str]) -> None:
        if not labels or len(set(labels)) < len(labels) or set(NOT_LABELS) & set(labels):
            raise InputError(f"labels: expected distinct names other than {', '.join(NOT_LABELS)}, got {list(labels)}")
        self.labels = tuple(labels)
        self._codes = {label: 3 * position for position, label in enumerate(labels)}
        self._other = 3 * len(labels)

    def rows(self, prediction: Prediction) -> tuple[Row, Row]:
        """Return the rows of one sentence: (pairs, spans)."""
        gold = list(map(_values, gold_of(prediction, self._codes)))
        named = list(map(_values, prediction.pred))
        pairs = {(label, text) for label, text, _, _ in gold}
        spans = {(label, start, end) for label, _, start, end in gold}
        if gold == named:  # a shortcut for most sentences of a good run
            return self._row(pairs, pairs), self._row(spans, spans)
        predicted = [(label, start, end) for label, _, start, end in named]
        unplaced = [span for span in predicted if span[1] is None]
        return (
            self._row(pairs, {(label, text) for label, text, _, _ in named}),
            self._row(spans, set(predicted).difference(unplaced), unplaced),
        )

    def _row(self, gold: set[Any], predicted: set[Any], unplaced: Sequence[Any] = ()) -> Row:
        codes, other = self._codes, self._other
        row = [codes[item[0]] for item in gold]
        if gold == predicted:
            row += [code + more for code in row for more in (1, 2)]
        else:
            row += [codes.get(item[0], other) + 1 for item in predicted]
            row += [codes[item[0]] + 2 for item in gold & predicted]
        row += [codes.get(item[0], other) + 1 for item in unplaced]
        row.sort()
        return tuple(row)


def gold_of(prediction: Prediction, labels: Collection[str]) -> tuple[Entity, ...]:
    """Return the gold entities of a sentence.

    Raises InputError if the sentence is unlabelled or a gold label is not among `labels`.
    """
    if prediction.gold is None:
        raise InputError(
            f"sentence {prediction.id} is unlabelled: without gold entities a split cannot be scored or analysed"
        )
    for entity in prediction.gold:
        if entity.label not in labels:
            raise InputError(
                f"sentence {prediction.id}: gold label {entity.label!r} is not among the dataset's labels"
                f" {list(labels)}"
            )
    return prediction.gold


def tally(predictions: Iterable[Prediction], labels: Sequence[str]) -> dict[str, Tally]:
    """Count the sentences of one run: a Tally for each of SCORINGS."""
    maker = RowMaker(labels)
    pairs: Counter[Row] = Counter()
    spans: Counter[Row] = Counter()
    for prediction in predictions:
        pairs_row, spans_row = maker.rows(prediction)
        pairs[pairs_row] += 1
        spans[spans_row] += 1
    return {
        scoring: Tally(maker.labels, _dense(list(counter), len(labels)), _weights(counter))
        for scoring, counter in zip(SCORINGS, (pairs, spans), strict=True)
    }


def tally_together(runs: Sequence[Iterable[Prediction]], labels: Sequence[str]) -> dict[str, Tally]:
    """Count the sentences of several runs on one split together, for paired tests.

    Raises InputError if the runs do not have the same sentences in the same order.
    """
    maker = RowMaker(labels)
    counters: dict[str, Counter[tuple[Row, ...]]] = {scoring: Counter() for scoring in SCORINGS}
    for predictions in zip_longest(*runs):
        if None in predictions:
            raise InputError("the runs cannot be compared: they differ in their number of sentences")
        first = predictions[0]
        if any(one.id != first.id or one.gold != first.gold for one in predictions):
            raise InputError(f"the runs cannot be compared: sentence {first.id} or its gold entities differ")
        rows = [maker.rows(one) for one in predictions]
        for position, scoring in enumerate(SCORINGS):
            counters[scoring][tuple(row[position] for row in rows)] += 1
    return {
        scoring: Tally(
            maker.labels,
            _dense(list(chain.from_iterable(counter)), len(labels)).reshape(len(counter), -1, len(labels) + 1, 3),
            _weights(counter),
        )
        for scoring, counter in counters.items()
    }


def _dense(rows: Sequence[Row], labels: int) -> Floats:
    width = 3 * (labels + 1)
    lengths = np.fromiter(map(len, rows), dtype=np.int64, count=len(rows))
    codes = np.fromiter(chain.from_iterable(rows), dtype=np.int64, count=int(lengths.sum()))
    cells = np.repeat(np.arange(len(rows)) * width, lengths) + codes
    return np.bincount(cells, minlength=len(rows) * width).reshape(len(rows), labels + 1, 3).astype(float)


def _weights(counter: Counter[Any]) -> NDArray[np.int64]:
    if not counter:
        raise InputError("there are no sentences to score")
    return np.fromiter(counter.values(), dtype=np.int64, count=len(counter))


def measure(counts: Floats) -> Floats:
    """Compute precision, recall and F1.

    Args:
        counts: shape (..., labels + 1, 3): the labels, then OTHER; gold, predicted and correct.

    Returns:
        Shape (..., labels + 3, 3): the labels, OTHER, micro and macro; precision, recall and F1. A value is 0 if its
        denominator is 0.
    """
    with_micro = np.concatenate([counts, counts.sum(axis=-2, keepdims=True)], axis=-2)
    values = ratios(with_micro)
    macro = values[..., : counts.shape[-2] - 1, :].mean(axis=-2, keepdims=True)
    return np.concatenate([values, macro], axis=-2)


def ratios(counts: Floats) -> Floats:
    """Compute precision, recall and F1 on the last axis from gold, predicted and correct counts: both (..., 3).

    A value is 0 if its denominator is 0.
    """
    gold, predicted, correct = np.moveaxis(counts, -1, 0)
    return np.stack([_ratio(correct, predicted), _ratio(correct, gold), _ratio(2 * correct, gold + predicted)], axis=-1)


def _ratio(numerator: Floats, denominator: Floats) -> Floats:
    return np.divide(numerator, denominator, out=np.zeros_like(numerator), where=denominator > 0)


def resampled_counts(counted: Tally, resamples: int, seed: int) -> Iterator[Floats]:
    """Draw bootstrap resamples of the sentences. Yield their counts in chunks of shape (resamples, *rows[0].shape).

    Sentences with the same row are interchangeable. So we draw how often each row occurs (a multinomial), which is
    equivalent to drawing sentences with replacement. _CHUNK limits the memory.
    """
    generator = np.random.default_rng(seed)
    sentences = int(counted.weights.sum())
    chances = counted.weights / sentences
    flat = counted.rows.reshape(len(chances), -1)
    for size in in_chunks(resamples, len(chances)):
        drawn = generator.multinomial(sentences, chances, size=size)
        yield (drawn.astype(float) @ flat).reshape(size, *counted.rows.shape[1:])  # exact: integers below 2^53


def in_chunks(resamples: int, rows: int) -> Iterator[int]:
    """Yield how many resamples to draw at a time, so that a chunk has at most _CHUNK weights, `rows` per resample."""
    step = max(1, _CHUNK // rows)
    for start in range(0, resamples, step):
        yield min(step, resamples - start)


def intervals(counted: Tally, resamples: int, seed: int) -> tuple[Floats, Floats]:
    """Return lower and upper bounds of `measure(counted.totals)`: the percentile bootstrap over sentences at LEVEL."""
    sampled = np.concatenate([measure(counts) for counts in resampled_counts(counted, resamples, seed)])
    low, high = np.quantile(sampled, [(1 - LEVEL) / 2, (1 + LEVEL) / 2], axis=0)
    return low, high
