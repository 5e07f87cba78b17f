"""Is one run better than another? Paired tests over the sentences of one split; formulas in docs/evaluation.md."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from entitune.evaluation.scoring import LEVEL, Floats, Tally, in_chunks, measure, resampled_counts

_TIE = 1e-12  # two F1 that differ by less are equal: sums in another order


@dataclass(frozen=True)
class Comparison:
    """F1 of run a minus F1 of run b, each a mean over seeds: one value for each of `Tally.names`."""

    difference: Floats
    low: Floats
    high: Floats
    p_bootstrap: Floats
    p_randomisation: Floats


def compare(counted: Tally, seeds: int, resamples: int, seed: int) -> Comparison:
    """Compare two runs, counted together: the first `seeds` of the counted are run a's, the others run b's.

    The interval is the percentile bootstrap of the difference at LEVEL. Both p-values are two-sided and at least
    1 / (resamples + 1).
    """

    def difference(counts: Floats) -> Floats:
        f1 = measure(counts)[..., 2]
        result: Floats = f1[..., :seeds, :].mean(axis=-2) - f1[..., seeds:, :].mean(axis=-2)
        return result

    observed = difference(counted.totals)
    sampled = _collect(resampled_counts(counted, resamples, seed), difference)
    low, high = np.quantile(sampled, [(1 - LEVEL) / 2, (1 + LEVEL) / 2], axis=0)

    # Two runs need not have as many seeds, so what trades places is a sentence's mean over the seeds.
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
    """A p-value to read. At the smallest value that so many resamples can give, only that it is not larger is known."""
    smallest = 1 / (resamples + 1)
    return f"p ≤ {smallest:.1g}" if p_value <= smallest + 5e-7 else f"p = {p_value:.4f}"  # tables have six decimals


def _difference_of_two(counts: Floats) -> Floats:
    f1 = measure(counts)[..., 2]
    result: Floats = f1[..., 0, :] - f1[..., 1, :]
    return result


def _traded_counts(counted: Tally, resamples: int, seed: int) -> Iterator[Floats]:
    """Counts after two runs have traded their answers on about half of the sentences, chosen by chance.

    Of the sentences with one row, how many traded is binomial: that is all that the counts depend on.
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
    """Two-sided, with the observed value counted among the draws, so that it is never 0."""
    extreme = np.abs(under_null) >= np.abs(observed) - _TIE
    p_value: Floats = (extreme.sum(axis=0) + 1) / (len(under_null) + 1)
    return p_value
