"""Evaluate confidences: precision and recall above a threshold, and calibration.

A mention is correct if the scoring `spans` counts it as correct. The mentions of all sentences are pooled.
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
    """The scores if only mentions with at least this confidence count as predicted."""

    threshold: float
    precision: float
    recall: float
    f1: float


@dataclass(frozen=True)
class Bin:
    """The mentions with a confidence in one range: their number, mean confidence, and the share that is correct."""

    mentions: int
    confidence: float
    right: float


@dataclass(frozen=True)
class Judged:
    """The predicted mentions of some sentences, and the number of their gold entities."""

    confidences: NDArray[np.float64]
    right: NDArray[np.bool_]
    gold: int

    def at_thresholds(self, thresholds: Iterable[float]) -> Iterator[Threshold]:
        """Yield the scores at each threshold that a mention reaches. A value is 0 if its denominator is 0."""
        for threshold in thresholds:
            counted = self.confidences >= threshold
            if not counted.any():
                return
            counts = np.array([self.gold, counted.sum(), self.right[counted].sum()], dtype=np.float64)
            yield Threshold(threshold, *map(float, ratios(counts)))

    def bins(self) -> list[Bin]:
        """Divide the mentions into BINS ranges of confidence of equal width. Return non-empty ones, lowest first."""
        numbers = np.minimum((self.confidences * BINS).astype(int), BINS - 1)
        members = (numbers == number for number in range(BINS))
        return [
            Bin(int(one.sum()), float(self.confidences[one].mean()), float(self.right[one].mean()))
            for one in members
            if one.any()
        ]

    def calibration_error(self) -> float:
        """Return the expected calibration error, 0 to 1: how far confidences are from the shares that are correct.

        This is the mean over mentions of |share correct - mean confidence| in the bin of the mention (Naeini, Cooper &
        Hauskrecht 2015, "Obtaining Well Calibrated Probabilities Using Bayesian Binning"; Guo et al. 2017, "On
        Calibration of Modern Neural Networks", equation 3).
        """
        bins = self.bins()
        return sum(one.mentions * abs(one.right - one.confidence) for one in bins) / max(1, len(self.confidences))


def judge(predictions: Iterable[Prediction]) -> Judged:
    """Decide which predicted mentions are correct.

    A span that an answer names several times counts once, with its highest confidence.

    Raises:
        InputError: a sentence is unlabelled, or a mention has no confidence.
    """
    confidences: list[float] = []
    right: list[bool] = []
    gold_count = 0
    for prediction in predictions:
        if prediction.gold is None:
            raise InputError(f"sentence {prediction.id} is unlabelled, so its confidences cannot be evaluated")
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
