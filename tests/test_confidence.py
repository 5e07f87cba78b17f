"""The confidence of a mention: the tokens that it is computed from, and its calibration."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from helpers import ROOT, must_run, read_jsonl, run_script, write_jsonl
from hypothesis import given
from hypothesis import strategies as st

from entitune.cli import InputError
from entitune.evaluation.calibration import judge
from entitune.prompting.answer_formats import ANSWER_FORMATS, AnswerFormat
from entitune.prompting.answer_formats.reading import read_answer
from entitune.prompting.answer_formats.writing import write_answer
from entitune.prompting.confidence import Token, TokenProbabilities
from entitune.prompting.predictions import read_prediction
from entitune.records import Entity, Mention, Prediction, Sentence
from entitune.study import read_study
from vote_predictions import vote

SENTENCE = Sentence("1", "温格的球队战胜曼联", (Entity("name", "温格", 0, 2), Entity("organization", "曼联", 7, 9)))


def named_by(answer_format: AnswerFormat, raw: str, text: str = SENTENCE.text) -> list[list[str]]:
    """Return for each mention the parts of the answer that name it."""
    return [[raw[start:end] for start, end in ranges] for ranges in read_answer(answer_format, raw, text).ranges]


@pytest.mark.parametrize(
    ("answer_format", "parts"),
    [
        ("json", [['name", "text": "温格"}'], ['organization", "text": "曼联"}']]),
        ("brackets", [["[温格|name]"], ["[曼联|organization]"]]),
        (
            "occurrence",
            [['name", "text": "温格", "occurrence": 1}'], ['organization", "text": "曼联", "occurrence": 1}']],
        ),
    ],
)
def test_a_format_finds_the_characters_that_name_a_mention(answer_format: AnswerFormat, parts: list[list[str]]) -> None:
    raw = write_answer(answer_format, SENTENCE)
    assert named_by(answer_format, raw) == parts
    # The same mentions, read by the tolerant reader, and after reasoning.
    reasoned = f"<think>[{{</think>{raw}<think>x</think>"
    assert named_by(answer_format, f"{raw}\n```") == named_by(answer_format, reasoned) == parts


@pytest.mark.parametrize(
    ("raw", "parts"),
    [
        ('{"name": ["温格", "曼联"]}', ['温格", "曼联"]'] * 2),
        ('{"name": "温格"}', ['温格"}']),
        ('{"name": {"温格": [[0, 1]]}}', ['温格": [[0, 1]]}']),
        ("好的：[{'text': '温格', 'label': 'name'}, {\"label", ["温格', 'label': 'name'}"]),
        ('[{"label": "x}\\"", "text": "]{"}]', ['x}\\"", "text": "]{"}']),
        ('[{"text": "温格", "label": "name"}]', ['温格", "label": "name"}']),
    ],
)
def test_answers_in_other_forms_name_their_mentions(raw: str, parts: list[str]) -> None:
    assert [part for (part,) in named_by("json", raw)] == parts


def test_an_inner_mark_does_not_count_for_the_outer_one() -> None:
    parts = [["[曼联|team]"], ["[", "曼联", "青年队|club]"]]
    assert named_by("brackets", "[[曼联|team]青年队|club]", "曼联青年队") == parts
    assert named_by("brackets", "[[曼联|team]青年队|club]。", "曼联青年队") == parts


def tokens_of(*pairs: tuple[str, float]) -> list[Token]:
    return [Token(text, math.log(probability)) for text, probability in pairs]


def test_a_confidence_is_the_product_over_the_tokens_that_name_the_mention() -> None:
    tokens = tokens_of(
        *(
            ('[{"label": "', 0.1),
            ("name", 0.9),
            ('", "text": "', 1.0),
            ("温", 0.8),
            ("格", 0.7),
            ('"}, {"label": "', 0.6),
        ),
        *(
            ("organ", 0.5),
            ("ization", 0.4),
            ('", "text": "', 1.0),
            ("", 0.9),
            ("曼", 0.9),
            ('联"}]', 0.3),
            ("<end>", 0.2),
        ),
    )
    raw = write_answer("json", SENTENCE)
    prediction = read_prediction("json", SENTENCE, raw, "stop", tokens)
    assert [mention.confidence for mention in prediction.pred] == [
        pytest.approx(0.9 * 0.8 * 0.7 * 0.6, abs=1e-6),
        pytest.approx(0.5 * 0.4 * 0.9 * 0.9 * 0.3, abs=1e-6),
    ]
    without = read_prediction("json", SENTENCE, raw, "stop")
    assert without == prediction
    assert [list(one) for one in without.to_dict()["pred"]] == [["label", "text", "start", "end"]] * 2
    assert [list(one)[4:] for one in prediction.to_dict()["pred"]] == [["confidence"]] * 2


def test_tokens_are_found_in_a_text_with_additional_characters() -> None:
    # White space that a tokenizer inserts, a special token inside, an incomplete character.
    raw = "温 格\ufffd曼联"
    probabilities = TokenProbabilities(raw, tokens_of(("温", 0.5), ("格", 0.5), ("<s>", 0.5), ("", 0.5), ("曼联", 0.5)))
    assert probabilities.confidence([(0, 1)]) == 0.5
    assert probabilities.confidence([(2, 3)]) == 0.5
    assert probabilities.confidence([(3, 6)]) == 0.125
    assert probabilities.confidence([(0, 1), (1, 3), (2, 3)]) == 0.25
    assert TokenProbabilities("温格", tokens_of(("温", 0.5))).confidence([(0, 2)]) is None
    assert TokenProbabilities("温格", [Token("温格", -9999.0)]).confidence([(0, 2)]) == 0.0


@given(st.data(), st.sampled_from(ANSWER_FORMATS))
def test_every_mention_of_any_answer_has_a_confidence(data: st.DataObject, answer_format: AnswerFormat) -> None:
    raw = data.draw(st.text(st.sampled_from('[]{}|"\\:, 温格ab<>/think\ud800'), max_size=60)) + data.draw(
        st.sampled_from([write_answer(answer_format, SENTENCE), "", '{"name": {"温": [[0, 1]]}}'])
    )
    pieces, position = [], 0
    while position < len(raw):
        size = data.draw(st.integers(1, 5))
        pieces.append(raw[position : position + size])
        position += size
    tokens = [Token(piece, -data.draw(st.floats(0, 20))) for piece in pieces]
    prediction = read_prediction(answer_format, SENTENCE, raw, "stop", tokens)
    lowest = math.exp(sum(token.logprob for token in tokens))
    assert all(one.confidence is not None and lowest - 1e-6 <= one.confidence <= 1 for one in prediction.pred)


def test_without_confidence_the_engine_gets_the_same_arguments_as_before() -> None:
    decode = read_study(conf=ROOT / "conf").decode["cpu"]
    assert "confidence" not in decode.engine_settings()
    with_it = decode.model_copy(update={"confidence": True})
    assert with_it.engine_settings() == decode.engine_settings() | {"confidence": True}


def test_answers_with_tokens_become_predictions_with_confidences(tmp_path: Path) -> None:
    write_jsonl(tmp_path / "dev.jsonl", [SENTENCE])
    answer = {"run": "r", "seed": 1, "id": "1", "raw": "[温格|name]的球队战胜曼联", "finish_reason": "stop"}
    tokens = [["[", -0.5], ["温格", -0.25], ["|name]的", -0.25], ["球队战胜曼联", -3.0], ["<end>", -1.0]]
    for name, extra in (("with", {"tokens": tokens}), ("without", {})):
        write_jsonl(tmp_path / "answers.jsonl", [answer | extra])
        files = ["--sentences", tmp_path / "dev.jsonl", "--answers", tmp_path / "answers.jsonl"]
        about = ["--run", "r", "--seed", 1, "--answer", "brackets", "--output", tmp_path / f"{name}.jsonl"]
        must_run("read_answers", *files, *about)
    (found,) = read_jsonl(tmp_path / "with.jsonl")
    assert found["pred"][0].pop("confidence") == 0.367879
    assert read_jsonl(tmp_path / "without.jsonl") == [found]


def test_a_vote_has_the_mean_confidence_of_all_seeds() -> None:
    def name(confidence: float | None) -> Mention:
        return Mention("name", "温格", 0, 2, confidence)

    assert vote([[name(0.9)], [name(0.5), name(0.1)], []])[0].confidence == pytest.approx(1.4 / 3, abs=1e-6)
    assert vote([[name(0.9)], [name(None)], []])[0].confidence is None


# --- calibration -----------------------------------------------------------------------------------------------------


def judged_predictions(*pairs: tuple[float, bool]) -> list[Prediction]:
    """Return a sentence for each mention, given its confidence and whether it is correct."""
    gold = (Entity("name", "温格", 0, 2),)
    return [
        Prediction(
            id=str(number),
            text="温格",
            gold=gold,
            pred=(Mention("name" if right else "x", "温格", 0, 2, confidence),),
            status="ok",
        )
        for number, (confidence, right) in enumerate(pairs)
    ]


def test_scores_above_a_threshold_and_calibration() -> None:
    judged = judge(judged_predictions((0.95, True), (0.95, True), (0.85, False), (0.15, True), (1.0, True)))
    low, high = judged.at_thresholds([0.0, 0.9])
    assert (low.precision, low.recall) == (0.8, 0.8)
    assert (high.precision, high.recall) == (1.0, 0.6)
    assert high.f1 == pytest.approx(0.75)
    assert [(one.mentions, one.right) for one in judged.bins()] == [(1, 1.0), (1, 0.0), (3, 1.0)]
    assert judged.calibration_error() == pytest.approx((0.85 + 0.85 + 3 * (1 - 2.9 / 3)) / 5)
    assert list(judged.at_thresholds([1.01])) == []


def test_a_span_counts_once_with_its_highest_confidence() -> None:
    name = [Mention("name", "温格", 0, 2, confidence) for confidence in (0.2, 0.7)]
    nowhere = [Mention("name", "曼城", None, None, 0.5)] * 2
    prediction = Prediction(id="1", text="温格", gold=SENTENCE.entities, pred=(*name, *nowhere), status="ok")
    judged = judge([prediction])
    assert sorted(zip(judged.confidences.tolist(), judged.right.tolist(), strict=True)) == [
        (0.5, False),
        (0.5, False),
        (0.7, True),
    ]
    assert judged.gold == 2


def test_predictions_without_gold_or_confidence_are_refused() -> None:
    one = judged_predictions((0.5, True))[0]
    without = Prediction(id="7", text="温格", gold=one.gold, pred=(Mention("name", "温格", 0, 2),), status="ok")
    with pytest.raises(InputError, match=r"sentence 7: a mention has no confidence; set `confidence: true`"):
        judge([without])
    with pytest.raises(InputError, match=r"sentence 8 is unlabelled, so its confidences cannot be evaluated"):
        judge([Prediction(id="8", text="", gold=None, pred=(), status="ok")])


def test_predictions_without_mentions_give_an_empty_plot(tmp_path: Path) -> None:
    prediction = Prediction(id="1", text="温格", gold=SENTENCE.entities, pred=(), status="ok")
    write_jsonl(tmp_path / "dev.jsonl", [prediction])
    done = run_script(
        "plot_confidence", "--predictions", "甲", "dev", tmp_path / "dev.jsonl", "--output", tmp_path / "x.svg"
    )
    assert done.returncode == 0, done.stderr
    assert "甲, dev" in (tmp_path / "x.svg").read_text(encoding="utf-8")
