"""Scoring, compared with the reference's table, seqeval strict and nervaluate; counts; the scripts."""

from __future__ import annotations

import itertools
import json
import random
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers import read_tsv, run_script, write_jsonl, zipped_rows
from hypothesis import given
from hypothesis import strategies as st
from nervaluate import Evaluator
from predictions import LABELS, entity, noisy, record
from seqeval.metrics.v1 import precision_recall_fscore_support
from seqeval.scheme import IOB2

from entitune.cli import InputError
from entitune.evaluation.scoring import measure, tally, tally_together
from entitune.evaluation.seqeval_report import seqeval_report
from entitune.prompting.grounding import ground
from entitune.records import Mention, Prediction, read_predictions, read_sentences, read_tokens
from entitune.tsv import COUNTS, METRICS_COLUMNS, OTHER

# CLUENER dev: the reference's precision, recall and F1 (scoring pairs), and the gold pairs of each label.
REFERENCE = {
    "address": (0.6104, 0.6154, 0.6129, 364),
    "name": (0.8686, 0.9091, 0.8884, 451),
    "organization": (0.8140, 0.7762, 0.7946, 344),
    "game": (0.8484, 0.9164, 0.8811, 287),
    "scene": (0.6919, 0.6432, 0.6667, 199),
    "book": (0.8299, 0.8026, 0.8161, 152),
    "position": (0.8127, 0.7859, 0.7990, 425),
    "company": (0.8255, 0.8142, 0.8198, 366),
    "government": (0.8168, 0.8770, 0.8458, 244),
    "movie": (0.8723, 0.8200, 0.8454, 150),
}


def score(
    path: Path, output: Path, *arguments: object, seed: int = 1, labels: list[str] = LABELS
) -> list[dict[str, str]]:
    done = run_script(
        "score_predictions",
        *("--predictions", path, "--run", "r", "--seed", seed, "--dataset", "d", "--split", "dev"),
        *("--resamples", 200, "--output", output, *arguments, "--labels", ",".join(labels)),
    )
    assert done.returncode == 0, done.stderr
    return read_tsv(output)


def test_the_reference_table_to_the_fourth_decimal(tmp_path: Path) -> None:
    records = []
    for number, (label, (precision, recall, _, gold)) in enumerate(REFERENCE.items()):
        correct = round(recall * gold)
        predicted = round(correct / precision)
        texts = [f"{label}{i}" for i in range(gold + predicted - correct)]
        records.append(
            record(
                [entity(label, text, 0, 1) for text in texts[:gold]],
                [entity(label, text) for text in texts[gold - correct :]],
                number,
            )
        )
    rows = score(write_jsonl(tmp_path / "p.jsonl", records), tmp_path / "s.tsv")
    table = {
        row["label"]: tuple(f"{float(row[name]):.4f}" for name in ("precision", "recall", "f1"))
        for row in rows
        if row["scoring"] == "pairs"
    }
    for label, values in REFERENCE.items():
        assert table[label] == tuple(f"{value:.4f}" for value in values[:3])
    assert table["macro"][2] == "0.7970"
    assert table["micro"] == ("0.7986", "0.7991", "0.7989")
    # The reference prints 0.7988, because it computed F1 from rounded precision and recall.
    assert f"{2 * 0.7986 * 0.7991 / (0.7986 + 0.7991):.4f}" == "0.7988"


def counts_of(records: list[Prediction], labels: list[str]) -> dict[str, dict[str, list[int]]]:
    """Return {scoring: {label: [gold, predicted, correct]}}."""
    return {
        scoring: dict(zip([*labels, OTHER], counted.totals.astype(int).tolist(), strict=True))
        for scoring, counted in tally(records, labels).items()
    }


def test_counts_of_pairs_and_spans() -> None:
    gold = [entity("a", "X", 0, 1), entity("a", "X", 2, 3), entity("b", "Y", 4, 5)]
    pred = [
        entity("a", "X", 0, 1),
        entity("a", "X", 0, 1),  # the same span twice counts once
        entity("b", "Y", 4, 5),
        entity("b", "Z"),  # not in the sentence, named twice: one pair, two false positive spans
        entity("b", "Z"),
        entity("动物", "Y", 4, 5),  # a label that the dataset does not have
    ]
    assert counts_of([record(gold, pred)], ["a", "b"]) == {
        "pairs": {"a": [1, 1, 1], "b": [1, 2, 1], OTHER: [0, 1, 0]},
        "spans": {"a": [2, 1, 1], "b": [1, 3, 1], OTHER: [0, 1, 0]},
    }


def test_other_is_in_micro_and_not_in_macro() -> None:
    counted = tally([record([entity("a", "X", 0, 1)], [entity("a", "X", 0, 1), entity("动物", "X", 0, 1)])], ["a", "b"])
    values = dict(zip(counted["pairs"].names, measure(counted["pairs"].totals).tolist(), strict=True))
    assert values["a"] == [1, 1, 1]
    assert values["b"] == [0, 0, 0]  # no gold and no prediction: counts as 0 in the mean
    assert values[OTHER] == [0, 0, 0]
    assert values["micro"] == pytest.approx([1 / 2, 1, 2 / 3])
    assert values["macro"] == [0.5, 0.5, 0.5]


def test_bad_input_is_named() -> None:
    with pytest.raises(InputError, match="dev-1: gold label 'c' is not among"):
        tally([record([entity("c", "X", 0, 1)], [])], ["a"])
    with pytest.raises(InputError, match="unlabelled"):
        tally([record(None, [])], ["a"])
    with pytest.raises(InputError, match="no sentence"):
        tally([], ["a"])
    with pytest.raises(InputError, match="distinct names"):
        tally([record([], [])], ["a", "micro"])
    with pytest.raises(InputError, match="number of sentences"):
        tally_together([[record([], [])], []], ["a"])
    with pytest.raises(InputError, match="sentence dev-1"):
        tally_together([[record([], [])], [record([], [], 2)]], ["a"])


@pytest.mark.parametrize(
    ("read", "good", "bad", "message"),
    [
        (read_predictions, record([], []).to_dict(), b"{", ":2: expected an object in JSON, in UTF-8"),
        (read_predictions, record([], []).to_dict(), b"\xff", ":2: expected an object in JSON, in UTF-8"),
        (read_predictions, record([], []).to_dict(), b"[]", ":2: expected an object with gold, id, pred, status, text"),
        (
            read_predictions,
            record([], []).to_dict(),
            b'{"id": "1", "text": "", "gold": [], "pred": [{"label": "a"}], "status": "ok"}',
            ":2: expected entities with end, label, start, text",
        ),
        (read_sentences, {"id": "1", "text": ""}, b'{"id": "1"}', ":2: expected an object with id, text"),
        (
            read_sentences,
            {"id": "1", "text": ""},
            b'{"id": "1", "text": "", "entities": [1]}',
            ":2: expected entities with end, label, start, text",
        ),
        (
            read_tokens,
            {"id": "1", "prompt_ids": [], "answer_tokens": 1},
            b"{}",
            ":2: expected an object with answer_tokens, id, prompt_ids",
        ),
    ],
)
def test_a_bad_line_is_named(
    tmp_path: Path, read: Callable[[Path], Any], good: dict[str, Any], bad: bytes, message: str
) -> None:
    path = tmp_path / "p.jsonl"
    path.write_bytes(json.dumps(good).encode() + b"\n" + bad + b"\n")
    with pytest.raises(InputError, match=message):
        list(read(path))


# --- comparison with seqeval and nervaluate --------------------------------------------------------------------------

Span = tuple[str, int, int]


@st.composite
def flat_spans(draw: st.DrawFn, length: int) -> list[Span]:
    """Draw spans that do not overlap, as BIO tags require."""
    bounds = sorted(draw(st.sets(st.integers(0, length), max_size=6)))
    return [
        (draw(st.sampled_from("abc")), start, end) for start, end in itertools.pairwise(bounds) if draw(st.booleans())
    ]


corpora = st.lists(st.tuples(flat_spans(8), flat_spans(8)), min_size=1, max_size=8)


def bio(spans: list[Span], length: int) -> list[str]:
    tags = ["O"] * length
    for label, start, end in spans:
        tags[start:end] = [f"B-{label}"] + [f"I-{label}"] * (end - start - 1)
    return tags


def spans_record(gold: list[Span], pred: list[Span]) -> Prediction:
    return record(
        [entity(label, "", a, b) for label, a, b in gold],
        [entity(label, "", a, b) for label, a, b in pred],
        text="X" * 8,
    )


@given(corpora)
def test_spans_equal_seqeval_strict(corpus: list[tuple[list[Span], list[Span]]]) -> None:
    counted = tally([spans_record(*sentence) for sentence in corpus], ["a", "b", "c"])["spans"]
    values = measure(counted.totals)
    gold, pred = ([bio(sentence[side], 8) for sentence in corpus] for side in (0, 1))
    present = sorted({label for sentence in corpus for side in sentence for label, _, _ in side})
    if not present:
        assert not values.any()
        return
    options = {"scheme": IOB2, "zero_division": 0}
    by_label = precision_recall_fscore_support(gold, pred, **options)
    ours = [counted.names.index(label) for label in present]
    for position in range(3):
        assert values[ours, position].tolist() == pytest.approx(by_label[position].tolist())
    assert counted.totals[ours, 0].tolist() == by_label[3].tolist()
    micro = precision_recall_fscore_support(gold, pred, average="micro", **options)
    assert values[counted.names.index("micro")].tolist() == pytest.approx(list(micro[:3]))
    if len(present) == 3:  # seqeval's macro is the mean over occurring labels, ours over the dataset's
        macro = precision_recall_fscore_support(gold, pred, average="macro", **options)
        assert values[counted.names.index("macro")].tolist() == pytest.approx(list(macro[:3]))


@given(corpora)
def test_spans_equal_nervaluate_strict(corpus: list[tuple[list[Span], list[Span]]]) -> None:
    counted = tally([spans_record(*sentence) for sentence in corpus], ["a", "b", "c"])["spans"]
    gold, pred = ([bio(sentence[side], 8) for sentence in corpus] for side in (0, 1))
    strict = Evaluator(gold, pred, tags=["a", "b", "c"], loader="list").evaluate()["overall"]["strict"]
    micro = measure(counted.totals)[counted.names.index("micro")]
    assert [strict.precision, strict.recall, strict.f1] == pytest.approx(micro.tolist())
    assert [strict.possible, strict.actual, strict.correct] == counted.totals.sum(axis=0).tolist()


def report_values(report: str) -> dict[str, list[float]]:
    """Return {label or average: [precision, recall, F1, support]}."""
    found = re.findall(r"^ *(\S.*?) +([01]\.\d{4}) +([01]\.\d{4}) +([01]\.\d{4}) +(\d+)$", report, re.MULTILINE)
    return {name: [float(value) for value in values] for name, *values in found}


@given(corpora)
def test_the_seqeval_report_agrees_with_spans(corpus: list[tuple[list[Span], list[Span]]]) -> None:
    predictions = [spans_record(*sentence) for sentence in corpus]
    report = seqeval_report(predictions, ["a", "b", "c"])
    counted = tally(predictions, ["a", "b", "c"])["spans"]
    measured = dict(zip(counted.names, measure(counted.totals).tolist(), strict=True))
    shown = report_values(report)
    assert "can express all entities" in report
    assert bool(shown) == any(side for sentence in corpus for side in sentence)
    for name, values in shown.items():
        if name not in ("macro avg", "weighted avg"):
            assert values[:3] == pytest.approx(measured[name.removesuffix(" avg")], abs=6e-5)


def test_the_seqeval_report_lists_entities_that_bio_cannot_represent() -> None:
    gold = [entity("a", "甲乙丙", 0, 3), entity("b", "乙", 1, 2), entity("a", "丁", 3, 4)]
    pred = [
        *gold,
        entity("a", "没有"),
        entity("a", "没有"),
        entity("动物", "戊", 4, 5),  # an unknown label has its own row
        entity("-", "己", 5, 6),
    ]
    report = seqeval_report([record(gold, pred, 7, "甲乙丙丁戊己"), record([], [], 8, "甲")], ["a", "b"])
    assert report_values(report) == {
        "a": [1, 1, 1, 2],
        "动物": [0, 0, 0, 0],
        "micro avg": [0.6667, 1, 0.8, 2],
        "macro avg": [0.5, 0.5, 0.5, 2],
        "weighted avg": [1, 1, 1, 2],
    }
    left_out = [line for line in report.splitlines() if line.startswith("- ")]
    assert [line.split(" that ")[0] for line in left_out] == [
        "- 1 gold entities",
        "- 2 predicted entities",
        "- 1 predicted entities",
        "- 1 predicted entities",
    ]
    assert all(line.endswith("in sentences dev-7") for line in left_out)
    with pytest.raises(InputError, match="sentence dev-1 is unlabelled"):
        seqeval_report([record(None, [])], ["a"])


# --- the scripts -----------------------------------------------------------------------------------------------------


def test_score_predictions_writes_the_documented_files(tmp_path: Path) -> None:
    path = write_jsonl(tmp_path / "p.jsonl", noisy(random.Random(1)))
    (tmp_path / "train.summary.json").write_text('{"rows": 9, "dropped": 2, "kinds": {"broken JSON": 2}}')
    (tmp_path / "dev.summary.json").write_text('{"mentions": 5, "mentions_lost": 0, "kinds": {}}')
    summaries = ["--summaries", *(tmp_path / f"{split}.summary.json" for split in ("train", "dev"))]
    rows = score(path, tmp_path / "s.tsv", "--table", tmp_path / "s.md", *summaries)
    assert tuple(rows[0]) == METRICS_COLUMNS
    assert [row["label"] for row in rows if row["scoring"] == "pairs"] == [*LABELS, OTHER, "micro", "macro"]
    for row in rows:
        for name in ("precision", "recall", "f1"):
            assert float(row[f"{name}_low"]) <= float(row[name]) <= float(row[f"{name}_high"])
    for scoring in ("pairs", "spans"):
        table = {
            row["label"]: np.array([int(row[name]) for name in COUNTS]) for row in rows if row["scoring"] == scoring
        }
        assert (np.sum([table[label] for label in LABELS], axis=0) == table["macro"]).all()
        assert (table["macro"] + table[OTHER] == table["micro"]).all()
    page = (tmp_path / "s.md").read_text(encoding="utf-8")
    assert "| micro |" in page
    assert page.endswith("\n## Left out of the data\n\n- train: 2 of 9 rows left out: broken JSON (2)\n")
    score(path, tmp_path / "s.tsv", "--table", tmp_path / "s.md")
    assert "Left out" not in (tmp_path / "s.md").read_text(encoding="utf-8")
    score(path, tmp_path / "again.tsv", "--seqeval", tmp_path / "s.txt")
    assert (tmp_path / "again.tsv").read_bytes() == (tmp_path / "s.tsv").read_bytes()
    micro = next(row for row in rows if (row["scoring"], row["label"]) == ("spans", "micro"))
    last = (tmp_path / "s.txt").read_text(encoding="utf-8").splitlines()[-1]
    assert last.endswith(" ".join(f"{float(micro[name]):.4f}" for name in ("precision", "recall", "f1")))
    first = (tmp_path / "s.tsv").read_bytes()
    score(path, tmp_path / "s.tsv")
    assert (tmp_path / "s.tsv").read_bytes() == first


def test_scores_of_several_seeds_are_combined(tmp_path: Path) -> None:
    files = []
    for seed in (1, 2):
        files.append(tmp_path / f"{seed}.tsv")
        score(write_jsonl(tmp_path / "p.jsonl", noisy(random.Random(seed))), files[-1], seed=seed)
    out, seeds = tmp_path / "metrics.tsv", tmp_path / "seeds.tsv"
    assert run_script("combine_metrics", "--scores", *files, "--output", out, "--seeds-output", seeds).returncode == 0
    lines = [file.read_text(encoding="utf-8").splitlines() for file in files]
    assert out.read_text(encoding="utf-8").splitlines() == lines[0] + lines[1][1:]
    wanted = ("spans", "micro")
    values = [float(row["f1"]) for row in read_tsv(out) if (row["scoring"], row["label"]) == wanted]
    micro = next(row for row in read_tsv(seeds) if (row["scoring"], row["label"]) == wanted)
    assert micro["seeds"] == "2"
    assert float(micro["f1_mean"]) == pytest.approx(np.mean(values), abs=1e-6)
    assert float(micro["f1_sd"]) == pytest.approx(np.std(values, ddof=1), abs=1e-6)

    twice = run_script("combine_metrics", "--scores", files[0], files[0], "--output", out)
    assert twice.returncode == 1
    assert "already in" in twice.stderr
    assert "Traceback" not in twice.stderr


def test_combine_metrics_refuses_another_table(tmp_path: Path) -> None:
    (tmp_path / "s.tsv").write_text("run\tseed\n", encoding="utf-8")
    done = run_script("combine_metrics", "--scores", tmp_path / "s.tsv", "--output", tmp_path / "m.tsv")
    assert done.returncode == 1
    assert "s.tsv:1: expected the columns run, seed, dataset" in done.stderr
    assert not (tmp_path / "m.tsv").exists()


# --- CLUENER ---------------------------------------------------------------------------------------------------------


def cluener_records(archive: Path, split: str, predict: Callable[[str, list[Any]], Sequence[Any]]) -> list[Prediction]:
    records = []
    for number, row in enumerate(zipped_rows(archive, f"{split}.json"), 1):
        gold = sorted(
            (start, end + 1, label, surface)
            for label, surfaces in row["label"].items()
            for surface, spans in surfaces.items()
            for start, end in spans
        )
        pred = predict(row["text"], [Mention(label, surface) for _, _, label, surface in gold])
        records.append(
            record([entity(label, text, a, b) for a, b, label, text in gold], [one.to_dict() for one in pred], number)
        )
    return records


@pytest.mark.parametrize(("split", "f1"), [("dev", 0.9997), ("train", 0.9991)])
def test_the_documented_f1_of_grounding_on_cluener(cluener_archive: Path, split: str, f1: float) -> None:
    spans = tally(cluener_records(cluener_archive, split, ground), LABELS)["spans"]
    gold, predicted, correct = spans.totals.sum(axis=0)
    assert round(2 * correct / (gold + predicted), 4) == f1


def test_gold_texts_ground_to_the_gold_spans_of_cluener(cluener_archive: Path) -> None:
    counted = tally(cluener_records(cluener_archive, "dev", ground), LABELS)
    micro = {scoring: one.totals.sum(axis=0).astype(int).tolist() for scoring, one in counted.items()}
    assert micro["pairs"] == [2982, 2982, 2982]
    gold, predicted, correct = micro["spans"]
    assert (gold, predicted) == (3072, 3072)
    assert 2 * correct / (gold + predicted) >= 0.9995
    by_label = dict(zip(LABELS, counted["pairs"].totals[:, 0].astype(int).tolist(), strict=False))
    assert by_label == {label: values[3] for label, values in REFERENCE.items()}
