"""Bootstrap intervals and paired tests, compared with plain loops over sentences and with known results."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers import read_tsv, run_script, write_jsonl
from predictions import LABELS, entity, noisy, record

from entitune.evaluation import scoring
from entitune.evaluation.scoring import intervals, measure, resampled_counts, tally, tally_together
from entitune.evaluation.significance import compare
from entitune.records import Prediction


def micro_f1(counts: Any) -> float:
    gold, predicted, correct = counts
    return 2 * correct / (gold + predicted) if gold + predicted else 0.0


def sentence_counts(records: list[Prediction]) -> np.ndarray:
    """Return counts of shape (sentences, 3), computed without a Tally: spans only, one surface, no overlap."""
    rows = []
    for one in records:
        gold = {(e.label, e.start) for e in one.gold or ()}
        pred = {(e.label, e.start) for e in one.pred}
        rows.append((len(gold), len(pred), len(gold & pred)))
    return np.array(rows)


def test_intervals_equal_a_plain_bootstrap_over_sentences() -> None:
    records = noisy(random.Random(3), 120)
    counted = tally(records, LABELS)["spans"]
    low, high = intervals(counted, 20_000, seed=1)
    micro = counted.names.index("micro")

    counts = sentence_counts(records)
    generator = np.random.default_rng(2)
    plain = [micro_f1(counts[generator.integers(len(counts), size=len(counts))].sum(axis=0)) for _ in range(20_000)]
    assert [low[micro, 2], high[micro, 2]] == pytest.approx(np.quantile(plain, [0.025, 0.975]), abs=0.004)


def test_intervals_are_seeded() -> None:
    counted = tally(noisy(random.Random(3), 50), LABELS)["pairs"]
    once, again, other = (intervals(counted, 500, seed) for seed in (1, 1, 2))
    assert (once[0] == again[0]).all()
    assert not (once[0] == other[0]).all()


def test_chunks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    counted = tally(noisy(random.Random(3), 50), LABELS)["pairs"]
    whole = np.concatenate(list(resampled_counts(counted, 100, 1)))
    monkeypatch.setattr(scoring, "_CHUNK", 3 * len(counted.weights))
    parts = list(resampled_counts(counted, 100, 1))
    assert [len(part) for part in parts] == [3] * 33 + [1]
    assert (np.concatenate(parts) == whole).all()


def test_the_interval_of_a_constant_is_a_point() -> None:
    right = [record([entity("a", "X", 0, 1)], [entity("a", "X", 0, 1)], number) for number in range(20)]
    low, high = intervals(tally(right, ["a"])["spans"], 100, 1)
    assert low[0].tolist() == high[0].tolist() == [1, 1, 1]


def with_errors(share: float, seed: int, sentences: int = 300) -> list[Prediction]:
    """Find each of the two entities of a sentence with probability 1 - share."""
    generator = random.Random(seed)
    gold = [entity("a", "X", 0, 1), entity("b", "Y", 1, 2)]
    return [record(gold, [one for one in gold if generator.random() > share], number) for number in range(sentences)]


def p_values(a: list[Prediction], b: list[Prediction], resamples: int = 2000) -> tuple[float, float, float]:
    result = compare(tally_together([a, b], ["a", "b"])["spans"], 1, resamples, 7)
    micro = 3
    return float(result.difference[micro]), float(result.p_bootstrap[micro]), float(result.p_randomisation[micro])


def test_a_run_does_not_differ_from_itself() -> None:
    run = with_errors(0.3, 1)
    assert p_values(run, run) == (0, 1, 1)


def test_a_large_difference_is_significant_and_has_its_sign() -> None:
    difference, *p = p_values(with_errors(0.1, 1), with_errors(0.5, 2))
    assert difference > 0.1
    assert p == [1 / 2001, 1 / 2001]
    assert p_values(with_errors(0.5, 2), with_errors(0.1, 1))[0] == -difference


def test_p_values_equal_plain_loops() -> None:
    a, b = with_errors(0.30, 1), with_errors(0.34, 2)
    observed, p_bootstrap, p_randomisation = p_values(a, b, 20_000)
    counts = np.stack([sentence_counts(a), sentence_counts(b)])
    assert observed == pytest.approx(micro_f1(counts[0].sum(axis=0)) - micro_f1(counts[1].sum(axis=0)))
    generator = np.random.default_rng(5)
    size, rounds = counts.shape[1], 4000
    drawn = [counts[:, generator.integers(size, size=size)].sum(axis=1) for _ in range(rounds)]
    shifted = [micro_f1(x) - micro_f1(y) - observed for x, y in drawn]
    assert p_bootstrap == pytest.approx(np.mean(np.abs(shifted) >= abs(observed)), abs=0.03)
    swaps = generator.random((rounds, size, 1)) < 0.5
    swapped = [
        micro_f1(np.where(swap, counts[1], counts[0]).sum(axis=0))
        - micro_f1(np.where(swap, counts[0], counts[1]).sum(axis=0))
        for swap in swaps
    ]
    assert p_randomisation == pytest.approx(np.mean(np.abs(swapped) >= abs(observed) - 1e-12), abs=0.03)


def test_under_the_null_p_values_are_not_small_too_often() -> None:
    small = [p_values(with_errors(0.3, 2 * i), with_errors(0.3, 2 * i + 1), 400)[1:] for i in range(100)]
    for column in zip(*small, strict=True):
        assert sum(p < 0.05 for p in column) <= 12  # 5 are expected; 13 or more have a chance below 0.1 %
        assert sum(p < 0.5 for p in column) >= 30  # and they are not all large


def test_runs_are_compared_by_the_means_of_their_seeds(tmp_path: Path) -> None:
    files = {
        (name, seed): write_jsonl(tmp_path / f"{name}{seed}.jsonl", with_errors(share, seed))
        for name, seed, share in (("a", 1, 0.2), ("a", 2, 0.3), ("b", 3, 0.6))
    }
    values = {
        key: float(measure(tally(with_errors(share, key[1]), ["a", "b"])["pairs"].totals)[3, 2])
        for key, share in zip(files, (0.2, 0.3, 0.6), strict=True)
    }
    given = [part for (name, seed), path in files.items() for part in ("--predictions", name, seed, "d", "dev", path)]
    given += ["--predictions", "elsewhere", 1, "d", "test", files["b", 3], "--labels", "d", "a,b"]
    out = tmp_path / "comparison.tsv"
    done = run_script("compare_runs", *given, "--resamples", 500, "--output", out)
    assert done.returncode == 0, done.stderr
    rows = read_tsv(out)
    assert [(row["run_a"], row["run_b"], row["scoring"], row["label"]) for row in rows] == [
        ("a", "b", scoring, label) for scoring in ("pairs", "spans") for label in ("a", "b", "micro", "macro")
    ]
    micro = rows[2]
    assert (micro["seeds_a"], micro["seeds_b"], micro["sd_b"]) == ("2", "1", "")
    mine = [values["a", 1], values["a", 2]]
    assert float(micro["f1_a"]) == pytest.approx(np.mean(mine), abs=1e-6)
    assert float(micro["sd_a"]) == pytest.approx(np.std(mine, ddof=1), abs=1e-6)
    assert float(micro["difference"]) == pytest.approx(np.mean(mine) - values["b", 3], abs=1e-6)
    assert float(micro["low"]) < float(micro["difference"]) < float(micro["high"])
    first = out.read_bytes()
    run_script("compare_runs", *given, "--resamples", 500, "--output", out)
    assert out.read_bytes() == first


def test_compare_runs_on_different_sentences_fails_with_a_message(tmp_path: Path) -> None:
    a = write_jsonl(tmp_path / "a.jsonl", with_errors(0.1, 1))
    b = write_jsonl(tmp_path / "b.jsonl", with_errors(0.1, 1)[:-1])
    given = ["--predictions", "a", 1, "d", "dev", a, "--predictions", "b", 1, "d", "dev", b, "--labels", "d", "a,b"]
    done = run_script("compare_runs", *given, "--output", tmp_path / "c.tsv")
    assert done.returncode == 1
    assert "number of sentences" in done.stderr
    assert "Traceback" not in done.stderr
