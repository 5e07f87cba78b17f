"""Test whether one run is better than another, with paired tests over sentences. Formulas: docs/evaluation.md."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from entitune.evaluation.scoring import LEVEL, Floats, Tally, in_chunks, measure, resampled_counts

_TIE = 1e-12  # F1 values that differ by less are equal; sums in another order differ by rounding


@dataclass(frozen=True)
class Comparison:
    """F1 of run a minus F1 of run b, each the mean over its seeds. Each array has a value for each of `Tally.names`."""

    difference: Floats
    low: Floats
    high: Floats
    p_bootstrap: Floats
    p_randomisation: Floats


def compare(counted: Tally, seeds: int, resamples: int, seed: int) -> Comparison:
    """Compare two runs.

    Args:
        counted: the counts of all seeds of both runs, those of run a first.
        seeds: the number of run a's seeds.
        resamples: how many resamples each test draws.
        seed: the seed of the draws.

    Returns:
        The difference, with the percentile bootstrap interval at LEVEL. Both p-values are two-sided and at least
        1 / (resamples + 1).
    """

    def difference(counts: Floats) -> Floats:
        f1 = measure(counts)[..., 2]
        result: Floats = f1[..., :seeds, :].mean(axis=-2) - f1[..., seeds:, :].mean(axis=-2)
        return result

    observed = difference(counted.totals)
    sampled = _collect(resampled_counts(counted, resamples, seed), difference)
    low, high = np.quantile(sampled, [(1 - LEVEL) / 2, (1 + LEVEL) / 2], axis=0)

    # Two runs may have different numbers of seeds, so a sentence's means over the seeds are exchanged.
    means = np.stack([counted.rows[:, :seeds].mean(axis=1), counted.rows[:, seeds:].mean(axis=1)], axis=1)
    averaged = Tally(counted.labels, means, counted.weights)
    shuffled = _collect(_traded_counts(averaged, resamples, seed), _difference_of_two)
    return Comparison(
        observed,
        low,
        high,
        _p_value(sampled - observed, observed),
        _p_value(shuffled, _difference_of_two(averaged.totals)),
    )


def show_p(p_value: float, resamples: int) -> str:
    """Format a p-value. The smallest possible value with `resamples` is only an upper bound, so it is shown with ≤."""
    smallest = 1 / (resamples + 1)
    return f"p ≤ {smallest:.1g}" if p_value <= smallest + 5e-7 else f"p = {p_value:.4f}"  # tables have six decimals


def _difference_of_two(counts: Floats) -> Floats:
    f1 = measure(counts)[..., 2]
    result: Floats = f1[..., 0, :] - f1[..., 1, :]
    return result


def _traded_counts(counted: Tally, resamples: int, seed: int) -> Iterator[Floats]:
    """Yield counts after two runs have exchanged their answers on randomly chosen sentences, about half of them.

    The counts depend only on how many sentences with each row were exchanged, which is binomial.
    """
    generator = np.random.default_rng(seed)
    gain = counted.rows[:, 1] - counted.rows[:, 0]
    for size in in_chunks(resamples, len(gain)):
        traded = generator.binomial(counted.weights, 0.5, size=(size, len(gain))).astype(float)
        moved = (traded @ gain.reshape(len(gain), -1)).reshape(size, 1, *gain.shape[1:])
        yield counted.totals + np.concatenate([moved, -moved], axis=1)


def _collect(chunks: Iterator[Floats], statistic: Callable[[Floats], Floats]) -> Floats:
    return np.concatenate([statistic(chunk) for chunk in chunks])


def _p_value(under_null: Floats, observed: Floats) -> Floats:
    """Return the two-sided p-value. The observed value counts as one of the draws, so it is never 0."""
    extreme = np.abs(under_null) >= np.abs(observed) - _TIE
    p_value: Floats = (extreme.sum(axis=0) + 1) / (len(under_null) + 1)
    return p_value
