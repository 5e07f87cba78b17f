"""What confidences are worth: precision and recall above a threshold, and whether a confidence is a probability.

A mention is right as under scoring `spans`. Mentions of all sentences are taken together.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from entitune.cli import InputError
from entitune.evaluation.error_categories import distinct, span_of
from entitune.evaluation.scoring import ratios
from entitune.records import Prediction

BINS = 10


@dataclass(frozen=True)
class Threshold:
    """Scores where only mentions with at least this confidence count as predicted."""

    threshold: float
    precision: float
    recall: float
    f1: float


@dataclass(frozen=True)
class Bin:
    """The mentions whose confidence is in one range: their mean confidence, and the share that is right."""

    mentions: int
    confidence: float
    right: float


@dataclass(frozen=True)
class Judged:
    """The predicted mentions of some sentences, in no order, and how many gold entities the sentences have."""

    confidences: NDArray[np.float64]
    right: NDArray[np.bool_]
    gold: int

    def at_thresholds(self, thresholds: Iterable[float]) -> Iterator[Threshold]:
        """Yield the scores above each threshold that a mention reaches; a value is 0 where its denominator is 0."""
        for threshold in thresholds:
            counted = self.confidences >= threshold
            if not counted.any():
                return
            counts = np.array([self.gold, counted.sum(), self.right[counted].sum()], dtype=np.float64)
            yield Threshold(threshold, *map(float, ratios(counts)))

    def bins(self) -> list[Bin]:
        """The mentions in BINS ranges of confidence of equal width, without the empty ones, lowest first."""
        numbers = np.minimum((self.confidences * BINS).astype(int), BINS - 1)
        members = (numbers == number for number in range(BINS))
        return [
            Bin(int(one.sum()), float(self.confidences[one].mean()), float(self.right[one].mean()))
            for one in members
            if one.any()
        ]

    def calibration_error(self) -> float:
        """The expected calibration error, 0 to 1: how far confidences are from the shares that are right.

        The mean over mentions of |share right - mean confidence| of the bin that a mention is in (Naeini, Cooper &
        Hauskrecht 2015, "Obtaining Well Calibrated Probabilities Using Bayesian Binning"; Guo et al. 2017, "On
        Calibration of Modern Neural Networks", equation 3).
        """
        bins = self.bins()
        return sum(one.mentions * abs(one.right - one.confidence) for one in bins) / max(1, len(self.confidences))


def judge(predictions: Iterable[Prediction]) -> Judged:
    """Tell which mentions are right.

    A span that an answer names several times counts once, with its highest confidence.

    Raises:
        InputError: a sentence is unlabelled, or a mention has no confidence.
    """
    confidences: list[float] = []
    right: list[bool] = []
    gold_count = 0
    for prediction in predictions:
        if prediction.gold is None:
            raise InputError(f"sentence {prediction.id} has no gold entities: its confidences cannot be judged")
        gold = {span_of(one) for one in prediction.gold}
        gold_count += len(gold)
        for mention in distinct(sorted(prediction.pred, key=lambda one: -(one.confidence or 0.0))):
            if mention.confidence is None:
                raise InputError(
                    f"sentence {prediction.id}: a mention has no confidence; set `confidence: true` in the run's "
                    "decode settings and predict again"
                )
            confidences.append(mention.confidence)
            right.append(span_of(mention) in gold)
    return Judged(np.array(confidences, dtype=np.float64), np.array(right, dtype=np.bool_), gold_count)
