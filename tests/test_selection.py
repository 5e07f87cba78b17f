"""Rows of a training split: subsets are nested, and held-out rows share no sentence with the other rows."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from helpers import read_jsonl, run_script, write_jsonl
from hypothesis import given
from hypothesis import strategies as st

from entitune.cli import InputError
from entitune.corpus.same_text import text_key
from entitune.corpus.selection import draw_examples, hold_out, select_rows, without
from entitune.evaluation.checkpoint_scores import read_checkpoint_scores
from entitune.manifests import ModelManifest
from entitune.records import Entity, Sentence, read_sentences


def split_of(*texts: str, name: str = "train") -> list[Sentence]:
    return [Sentence(f"{name}-{number}", text, ()) for number, text in enumerate(texts, 1)]


def keys(sentences: list[Sentence]) -> set[str]:
    return {text_key(sentence.text) for sentence in sentences}


RIGHT, NONE = '[{"label": "name", "text": "甲"}]', "[]"
HUNDRED = split_of(*(f"第{number}句" for number in range(100)))
# Few texts, so most rows have duplicates, some with another width, case or punctuation.
texts = st.sampled_from(["甲", "甲。", "Ａb", "ab", "AB！", "乙丙", "乙，丙", "。", "！", "丁", "戊", "己", "庚"])


@given(st.lists(texts, min_size=2, max_size=60), st.floats(0.05, 0.95), st.integers(0, 5))
def test_held_out_rows_share_no_sentence_with_other_rows(corpus: list[str], share: float, seed: int) -> None:
    sentences = split_of(*corpus)
    try:
        kept, held = hold_out(sentences, share, seed)
    except InputError:
        return
    assert kept
    assert held
    assert not keys(kept) & keys(held)
    assert sorted([*kept, *held], key=sentences.index) == sentences
    assert len(held) <= round(share * len(sentences))


@given(st.lists(texts, min_size=2, max_size=60), st.lists(texts, max_size=60))
def test_the_sentences_of_another_split_are_left_out(corpus: list[str], other: list[str]) -> None:
    dev = split_of(*other, name="dev")
    rest = without(split_of(*corpus), dev)
    assert keys(rest) == keys(split_of(*corpus)) - keys(dev)


@given(
    st.lists(texts, min_size=2, max_size=60),
    st.lists(texts, max_size=5),
    st.lists(texts, max_size=5),
    st.floats(0.05, 0.95),
    st.integers(1, 10),
    st.integers(0, 5),
)
def test_training_and_evaluation_rows_share_no_sentence(
    corpus: list[str], dev: list[str], test: list[str], share: float, number: int, seed: int
) -> None:
    """Compare examples, held-out rows and rows of a learning curve with each other, dev and test."""
    train, judged = split_of(*corpus), [*split_of(*dev, name="dev"), *split_of(*test, name="test")]
    pool = without(train, judged)
    examples = draw_examples(pool, min(3, len(pool)), seed)
    assert not keys(examples) & keys(judged)
    try:
        kept, held = hold_out(train, share, seed, [*judged, *examples])
    except InputError:
        return
    assert not keys(held) & keys([*kept, *judged, *examples])
    assert keys([*kept, *held]) == keys(train)
    rest = without(kept, judged)
    if number <= len(rest):
        assert not keys(select_rows(rest, number, seed)) & keys([*held, *judged])


def test_examples_are_drawn_by_seed() -> None:
    assert draw_examples(HUNDRED, 5, 1) == draw_examples(HUNDRED, 5, 1) != draw_examples(HUNDRED, 5, 2)
    with pytest.raises(InputError, match="cannot draw 101 examples: there are 100 sentences"):
        draw_examples(HUNDRED, 101, 1)


def test_a_share_is_a_share_where_sentences_differ() -> None:
    kept, held = hold_out(HUNDRED, 0.1, 1)
    assert (len(kept), len(held)) == (90, 10)
    assert held != hold_out(HUNDRED, 0.1, 2)[1]


@given(st.integers(0, 20), st.permutations(range(40)), st.data())
def test_subsets_are_nested_and_do_not_depend_on_the_order(seed: int, order: list[int], data: st.DataObject) -> None:
    sentences = HUNDRED[:40]
    few, more = sorted(data.draw(st.lists(st.integers(1, 40), min_size=2, max_size=2)))
    smaller, larger = select_rows(sentences, few, seed), select_rows(sentences, more, seed)
    assert (len(smaller), len(larger)) == (few, more)
    assert set(smaller) <= set(larger)
    assert larger == sorted(larger, key=sentences.index)
    assert set(select_rows([sentences[position] for position in order], few, seed)) == set(smaller)


def test_seeds_choose_other_rows_and_every_row_equally_often() -> None:
    chosen = [sentence.id for seed in range(200) for sentence in select_rows(HUNDRED, 10, seed)]
    assert all(5 <= chosen.count(sentence.id) <= 40 for sentence in HUNDRED)  # 20 are expected


def test_impossible_selections_are_named() -> None:
    with pytest.raises(InputError, match="cannot choose 101 rows: there are 100"):
        select_rows(HUNDRED, 101, 1)
    with pytest.raises(InputError, match="cannot choose 0 rows"):
        select_rows(HUNDRED, 0, 1)
    for share in (0.0, 1.0, -0.1, 10.0, float("nan")):
        with pytest.raises(InputError, match="between 0 and 1"):
            hold_out(HUNDRED, share, 1)
    with pytest.raises(InputError, match="5 rows \\(1 different sentences\\)"):
        hold_out(split_of("甲", "甲。", "甲！", "甲", "甲"), 0.5, 1)


def test_the_script_selects_and_holds_out_rows(tmp_path: Path) -> None:
    generator = random.Random(1)
    rows = [
        Sentence(f"train-{number}", f"第{generator.randint(1, 60)}句", (Entity("name", "第", 0, 1),))
        for number in range(100)
    ]
    train = write_jsonl(tmp_path / "train.jsonl", rows)
    dev = write_jsonl(tmp_path / "dev.jsonl", [Sentence("dev-1", rows[0].text + "。", ())])
    chosen: dict[int, list[Sentence]] = {}
    for number in (20, 50):
        out, held = tmp_path / f"{number}.jsonl", tmp_path / f"held-{number}.jsonl"
        done = run_script(
            "select_rows",
            *("--sentences", train, "--exclude", dev, "--hold-out", 0.2, "--held-out", held),
            *("--never-held-out", dev, "--rows", number, "--seed", 3, "--output", out),
        )
        assert done.returncode == 0, done.stderr
        assert " held out, " in done.stdout
        assert done.stdout.endswith(f" has the same sentences, {number} chosen\n")
        chosen[number] = list(read_sentences(out))
        assert set(chosen[number]) <= set(rows)
        held_out = keys(list(read_sentences(held)))
        assert not keys(chosen[number]) & (held_out | keys(rows[:1]))
        assert not held_out & keys(rows[:1])
    assert set(chosen[20]) < set(chosen[50])
    assert (tmp_path / "held-20.jsonl").read_bytes() == (tmp_path / "held-50.jsonl").read_bytes()

    given = ["--sentences", train, "--seed", 3, "--output", tmp_path / "no.jsonl"]
    for wrong, message in (
        (["--rows", 101], "train.jsonl: 100 rows: cannot choose 101 rows: there are 100"),
        (["--exclude", train], "no row is left"),
        (["--hold-out", "nan", "--held-out", tmp_path / "h"], "between 0 and 1"),
    ):
        refused = run_script("select_rows", *given, *wrong)
        assert refused.returncode == 1
        assert message in refused.stderr
        assert "Traceback" not in refused.stderr
        assert not (tmp_path / "no.jsonl").exists()


def test_the_script_draws_examples_that_dev_does_not_have(tmp_path: Path) -> None:
    train, dev = write_jsonl(tmp_path / "train.jsonl", HUNDRED), write_jsonl(tmp_path / "dev.jsonl", HUNDRED[:95])
    words = ["--sentences", train, "--exclude", dev, "--seed", 1, "--output", tmp_path / "examples.jsonl", "--count"]
    done = run_script("draw_examples", *words, 5)
    assert done.returncode == 0, done.stderr
    assert set(read_sentences(tmp_path / "examples.jsonl")) == set(HUNDRED[95:])
    refused = run_script("draw_examples", *words, 6)
    assert refused.returncode == 1
    assert f"{train}: cannot draw 6 examples: there are 5 sentences; set a smaller `shots`" in refused.stderr


def candidates(folder: Path, raws: dict[int, str]) -> list[object]:
    """Return select_checkpoint's arguments for candidates with the answers `raws` (by step) to one sentence."""
    for step in raws:
        (folder / f"checkpoint-{step}").mkdir(parents=True)
        (folder / f"checkpoint-{step}" / "adapter_config.json").write_text(f"{step}", encoding="utf-8")
    for name in ("trainer_log.jsonl", "training_loss.png"):
        (folder / name).touch()
    ModelManifest.of_folder(folder, model="x", source="train_adapter", revision=None).write(folder)
    sentences = write_jsonl(folder.parent / "held_out.jsonl", [Sentence("1", "甲说", (Entity("name", "甲", 0, 1),))])
    common = {"run": "r", "seed": 1, "id": "1", "finish_reason": "stop"}
    answers = write_jsonl(
        folder.parent / "a.jsonl", [{**common, "step": step, "raw": raw} for step, raw in raws.items()]
    )
    words = ["--candidates", folder, "--sentences", sentences, "--answers", answers, "--labels", "name"]
    return [
        *words,
        "--run",
        "r",
        "--seed",
        1,
        "--scores",
        folder.parent / "s.tsv",
        "--output-dir",
        folder.parent / "best",
    ]


@pytest.mark.parametrize(
    ("raws", "chosen", "reason"),
    [
        ({20: NONE, 3: RIGHT, 100: RIGHT}, "3", "chosen: step 3 of 100, by F1 on 1 held-out sentences"),
        ({20: RIGHT}, "20", "the training wrote only one checkpoint"),
        ({20: NONE, 40: NONE}, "20", "no checkpoint finds an entity"),
    ],
)
def test_the_earliest_of_the_best_checkpoints_is_chosen(
    tmp_path: Path, raws: dict[int, str], chosen: str, reason: str
) -> None:
    done = run_script("select_checkpoint", *candidates(tmp_path / "candidates", raws))
    assert done.returncode == 0, done.stderr
    assert reason in done.stdout
    assert (tmp_path / "best" / "adapter_config.json").read_text(encoding="utf-8") == chosen
    assert [one.step for one in read_checkpoint_scores(tmp_path / "s.tsv") if one.chosen == "yes"] == [int(chosen)]


def test_a_checkpoint_without_an_answer_is_refused(tmp_path: Path) -> None:
    words = candidates(tmp_path / "candidates", {20: RIGHT, 40: RIGHT})
    write_jsonl(tmp_path / "a.jsonl", read_jsonl(tmp_path / "a.jsonl")[:1])
    refused = run_script("select_checkpoint", *words)
    assert refused.returncode == 1
    assert "step 40: expected one answer for each sentence" in refused.stderr
    assert not (tmp_path / "best").exists()
