"""Error analysis: an example of each category; sums equal the false positives and negatives of the scores."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from helpers import read_jsonl, read_tsv, run_script, write_jsonl
from hypothesis import given
from hypothesis import strategies as st
from predictions import entity, record
from steps import grows_linearly

from entitune.cli import InputError
from entitune.evaluation.bins import ENTITY_LENGTHS, bucket, names
from entitune.evaluation.error_analysis import BREAKDOWN, EXAMPLES, NONE, Analysis
from entitune.evaluation.error_categories import CATEGORIES, errors_of
from entitune.evaluation.scoring import tally
from entitune.records import Prediction, Status
from entitune.tsv import OTHER

TEXT = "北京大学在北京"
UNIVERSITY = entity("org", "北京大学", 0, 4)
BEIJING = entity("loc", "北京", 5, 7)


def sentence(
    gold: list[dict[str, Any]], pred: list[dict[str, Any]], status: Status = "ok", number: int = 1
) -> Prediction:
    return record(gold, pred, number, TEXT, status)


@pytest.mark.parametrize(
    ("gold", "pred", "status", "expected"),
    [
        ([UNIVERSITY], [UNIVERSITY], "ok", []),
        ([UNIVERSITY], [entity("loc", "北京大学", 0, 4)], "ok", [("wrong_label", 1, 1)]),
        ([UNIVERSITY], [entity("动物", "北京大学", 0, 4)], "ok", [("wrong_label", 1, 1)]),
        ([UNIVERSITY], [entity("org", "北京大", 0, 3)], "ok", [("shorter", 1, 1)]),
        ([UNIVERSITY], [entity("org", "北京大学在", 0, 5)], "ok", [("longer", 1, 1)]),
        ([UNIVERSITY], [entity("org", "京大学在", 1, 5)], "ok", [("shifted", 1, 1)]),
        ([UNIVERSITY], [entity("loc", "北京", 0, 2)], "ok", [("wrong_label_and_boundary", 1, 1)]),
        ([UNIVERSITY], [], "ok", [("missed", 1, 0)]),
        ([UNIVERSITY], [], "repaired", [("missed", 1, 0)]),
        ([UNIVERSITY], [], "unparseable", [("unparseable", 1, 0)]),
        ([UNIVERSITY, BEIJING], [UNIVERSITY], "truncated", [("truncated", 1, 0)]),
        ([], [BEIJING], "ok", [("spurious", 0, 1)]),
        ([UNIVERSITY], [UNIVERSITY, entity("org", "大学", 2, 4)], "ok", [("spurious", 0, 1)]),
        ([], [entity("loc", "上海")], "ok", [("hallucinated", 0, 1)]),
        ([], [entity("loc", "大学")], "ok", [("repeated", 0, 1)]),
        # a mention is paired with the prediction that overlaps it most; an equal span comes first
        (
            [UNIVERSITY],
            [entity("org", "北", 0, 1), entity("org", "京大学", 1, 4)],
            "ok",
            [("shorter", 1, 1), ("spurious", 0, 1)],
        ),
        (
            [UNIVERSITY],
            [entity("org", "北京大学在", 0, 5), entity("loc", "北京大学", 0, 4)],
            "ok",
            [("spurious", 0, 1), ("wrong_label", 1, 1)],
        ),
    ],
)
def test_each_error_has_its_category(
    gold: list[Any], pred: list[Any], status: Status, expected: list[tuple[str, int, int]]
) -> None:
    found = [
        (e.category, int(e.gold is not None), int(e.pred is not None)) for e in errors_of(sentence(gold, pred, status))
    ]
    assert sorted(found) == expected


spans = st.tuples(st.integers(0, 6), st.integers(1, 7)).filter(lambda span: span[0] < span[1])
mentions = st.lists(
    st.builds(lambda label, span: entity(label, TEXT[slice(*span)], *span), st.sampled_from(["org", "loc"]), spans),
    max_size=4,
)
predictions = st.lists(
    st.builds(
        lambda label, span: entity(label, TEXT[slice(*span)], *span), st.sampled_from(["org", "loc", "动物"]), spans
    )
    | st.builds(entity, st.sampled_from(["org", "动物"]), st.sampled_from(["上海", "大学", ""])),
    max_size=6,
)
corpora = st.lists(
    st.builds(sentence, mentions, predictions, st.sampled_from(["ok", "repaired", "unparseable", "truncated"])),
    min_size=1,
    max_size=5,
)


@given(corpora)
def test_the_sums_equal_the_counts_of_the_scores(records: list[Prediction]) -> None:
    labels = ["org", "loc"]
    analysis = Analysis(labels, {"北京"})
    for one in records:
        analysis.add(one)
    assert sum(analysis.answers.values()) == len(records)
    totals = tally(records, labels)["spans"].totals.astype(int)
    for label, (support, predicted, correct) in zip([*labels, OTHER], totals.tolist(), strict=True):
        sums: Counter[str] = Counter()
        for (category, name, side), count in analysis.categories.items():
            assert category in CATEGORIES
            if name == label:
                sums[side] += count
        assert (sums["false_positives"], sums["false_negatives"]) == (predicted - correct, support - correct)
        confusion = analysis.confusion
        assert sum(count for (gold, _), count in confusion.items() if gold == label) == support
        assert sum(count for (_, pred), count in confusion.items() if pred == label) == predicted
        assert confusion[label, label] == correct
    for dimension in {dimension for dimension, _ in BREAKDOWN}:
        for position, name in enumerate(("support", "predicted", "correct")):
            counted = sum(analysis.breakdown[one, value, name] for one, value in BREAKDOWN if one == dimension)
            assert counted == totals[:, position].sum()


def test_each_length_is_in_one_bucket() -> None:
    assert names(ENTITY_LENGTHS) == ["1", "2", "3", "4", "5-6", "7-9", "10+"]
    found = [bucket(value, ENTITY_LENGTHS) for value in (1, 4, 5, 6, 7, 10, 99)]
    assert found == ["1", "4", "5-6", "5-6", "7-9", "10+", "10+"]


def test_seen_and_unseen_surfaces_are_counted_separately() -> None:
    analysis = Analysis(["org", "loc"], {"北京"})
    analysis.add(sentence([UNIVERSITY, BEIJING], [BEIJING]))
    assert analysis.breakdown["surface", "seen", "correct"] == 1
    assert analysis.breakdown["surface", "unseen", "support"] == 1
    assert analysis.breakdown["surface", "unseen", "predicted"] == 0


def test_examples_alternate_between_kinds_of_errors() -> None:
    analysis = Analysis(["org", "loc"], set())
    for number in range(100):
        analysis.add(sentence([UNIVERSITY, BEIJING], [BEIJING], number=number))
    analysis.add(sentence([UNIVERSITY], [UNIVERSITY, BEIJING], number=100))
    crowded = [UNIVERSITY, entity("loc", "上海"), entity("loc", "大学"), entity("loc", "京大", 1, 3)]
    analysis.add(sentence([UNIVERSITY], crowded, number=101))
    examples = list(analysis.examples())
    assert [example.rank for example in examples] == list(range(1, EXAMPLES + 1))
    kinds = [(one.category, one.gold_label, one.pred_label, one.errors_of_this_kind) for one in examples]
    assert kinds[:4] == [
        ("missed", "org", NONE, 100),
        ("spurious", NONE, "loc", 2),
        ("hallucinated", NONE, "loc", 1),
        ("repeated", NONE, "loc", 1),
    ]
    assert examples[1].id == "dev-100"  # the sentence with one error before the one with three
    assert set(kinds[4:]) == {("missed", "org", NONE, 100), ("spurious", NONE, "loc", 2)}
    assert [one.id for one in examples if one.category == "missed"] == [f"dev-{i}" for i in range(46)]


def test_predictions_that_cannot_be_analysed_are_named() -> None:
    with pytest.raises(InputError, match="sentence dev-1 is unlabelled"):
        Analysis(["org"], set()).add(record(None, []))
    with pytest.raises(InputError, match="dev-1: gold label 'loc' is not among"):
        Analysis(["org"], set()).add(sentence([BEIJING], []))


def test_analyse_errors_writes_the_documented_files(tmp_path: Path) -> None:
    path = write_jsonl(
        tmp_path / "p.jsonl",
        [sentence([UNIVERSITY], [entity("org", "北京", 0, 2)]), sentence([BEIJING], [], "unparseable", 2)],
    )
    train = write_jsonl(tmp_path / "train.jsonl", [{"id": "1", "text": TEXT, "entities": [BEIJING]}])
    out = tmp_path / "errors"
    given = ["--predictions", path, "--train", train, "--labels", "org,loc", "--output-dir", out]
    done = run_script("analyse_errors", *given)
    assert done.returncode == 0, done.stderr

    def rows(name: str) -> list[list[str]]:
        return [list(row.values()) for row in read_tsv(out / name)]

    assert rows("answers.tsv") == [["ok", "1"], ["repaired", "0"], ["unparseable", "1"], ["truncated", "0"]]
    assert list(read_tsv(out / "categories.tsv")[0]) == ["category", "label", "false_positives", "false_negatives"]
    assert rows("categories.tsv") == [
        ["shorter", "org", "1", "1"],
        ["unparseable", "loc", "0", "1"],
    ]
    assert [NONE, "org", "1"] in rows("confusion.tsv")
    assert ["surface", "seen", "0.000000", "0.000000", "0.000000", "1", "1", "0"] in rows("breakdown.tsv")
    examples = read_jsonl(out / "examples.jsonl")
    assert examples[0]["error"] == {"gold": UNIVERSITY, "pred": entity("org", "北京", 0, 2)}
    before = {file.name: file.read_bytes() for file in out.iterdir()}
    run_script("analyse_errors", *given)
    assert {file.name: file.read_bytes() for file in out.iterdir()} == before


HARD = "".join(chr(0x4E00 + number) for number in range(4000))
MANY: dict[str, Callable[[int], tuple[list[dict[str, Any]], list[dict[str, Any]]]]] = {
    "wrong labels": lambda size: (
        [entity("org", HARD[i : i + 2], i, i + 2) for i in range(0, 2 * size, 2)],
        [entity("loc", HARD[i : i + 2], i, i + 2) for i in range(0, 2 * size, 2)],
    ),
    "shifted": lambda size: (
        [entity("org", HARD[i : i + 2], i, i + 2) for i in range(0, 2 * size, 2)],
        [entity("org", HARD[i : i + 2], i, i + 2) for i in range(1, 2 * size, 2)],
    ),
    "one mention under many labels": lambda size: (
        [entity("org", HARD[:2], 0, 2)],
        [entity(f"{i}", HARD[:2], 0, 2) for i in range(size)],
    ),
    "pieces of one mention": lambda size: (
        [entity("org", HARD[:size], 0, size)],
        [entity("org", HARD[i], i, i + 1) for i in range(size)],
    ),
    "missed": lambda size: ([entity("org", HARD[i], i, i + 1) for i in range(size)], []),
    "hallucinated": lambda size: ([], [entity("org", f"没有{i}") for i in range(size)]),
    "repeated": lambda size: ([], [entity("org", HARD[i : i + 2]) for i in range(size)]),
}


@pytest.mark.parametrize("shape", MANY)
def test_many_mentions_in_one_sentence_are_not_compared_pair_by_pair(shape: str) -> None:
    def work(size: int) -> Callable[[], Any]:
        gold, pred = MANY[shape](size)
        analysis = Analysis(["org", "loc"], set())
        return lambda: analysis.add(record(gold, pred, text=HARD))

    assert grows_linearly(work, 500)
