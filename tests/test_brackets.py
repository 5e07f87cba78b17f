"""Answers in brackets: typical deviations, and changed copies of the sentence."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from entitune.prompting.alignment import UNKNOWN, align
from entitune.prompting.answer_formats.reading import read_answer
from entitune.prompting.answer_formats.writing import inexpressible, write_answer
from entitune.prompting.predictions import read_prediction
from entitune.records import Entity, Sentence

TEXT = "温格的球队战胜曼联"
WENGER = ("name", "温格", 0, 2)
UNITED = ("organization", "曼联", 7, 9)


def read(raw: str, text: str = TEXT) -> tuple[list[tuple[str, str, int | None, int | None]], str]:
    prediction = read_prediction("brackets", Sentence("s", text, None), raw, "stop")
    return [(one.label, one.text, one.start, one.end) for one in prediction.pred], prediction.status


@pytest.mark.parametrize(
    ("raw", "mentions"),
    [
        # around the sentence
        ("```\n[温格|name]的球队战胜[曼联|organization]\n```", [WENGER, UNITED]),
        ("好的，标注如下：\n[温格|name]的球队战胜[曼联|organization]\n以上。", [WENGER, UNITED]),
        ('"[温格|name]的球队战胜曼联"', [WENGER]),
        ("[温格|name]的球队战胜曼联\n", [WENGER]),
        # spelling of the markup
        ("【温格|name】的球队战胜【曼联｜organization】", [WENGER, UNITED]),
        ("[温格 | name]的球队战胜[ 曼联|organization ]", [WENGER, UNITED]),
        ("[温格的|球队|name]战胜曼联", [("name", "温格的|球队", None, None)]),
        # brackets that belong to no mark are text
        ("[温格|name]的[球队]战胜曼联", [WENGER]),
        ("[温格|name]]的球队战胜[曼联", [WENGER]),
        ("[[温格|name]的球队战胜曼联", [WENGER]),
        ("[|name]温格的球队战胜[曼联|organization]", [UNITED]),
        ("[温格|]的球队战胜[曼联|organization]", [UNITED]),
        ("[温格|[na|x]]的球队战胜[曼联|organization]", [("x", "na", None, None), UNITED]),
        (r"[温格\|name]的球队战胜[曼联|organization]", [UNITED]),
        ("|name]温格的球队战胜[曼联|organization]", [UNITED]),
        # cut off: complete marks are kept, the incomplete one is not
        ("[温格|name]的球队战胜[曼联|organ", [WENGER]),
        ("[温格|name]的球队战胜[曼", [WENGER]),
        ("[温格|name]的球", [WENGER]),
        ("[温格|na", []),
        # another format
        ('[{"label": "name", "text": "温格"}]', [WENGER]),
        ('{"organization": ["曼联"]}', [UNITED]),
        ("[]", []),
        # the marks alone
        ("[温格|name]、[曼联|organization]", [WENGER, UNITED]),
        ("[曼联|organization][温格|name]", [UNITED, WENGER]),
        ("[切尔西|organization]", [("organization", "切尔西", None, None)]),
    ],
)
def test_typical_deviations_are_repaired(raw: str, mentions: list[tuple[str, str, int | None, int | None]]) -> None:
    is_read = mentions or "球队" in raw or raw == "[]"
    assert read(raw) == (mentions, "repaired" if is_read else "unparseable")


@pytest.mark.parametrize("raw", ["", " ", "没有实体", "null", "实体：温格", "[", "name"])
def test_answers_that_are_no_copy_of_the_sentence_are_unparseable(raw: str) -> None:
    assert read(raw) == ([], "unparseable")


def test_the_sentence_without_marks_means_no_mentions() -> None:
    assert read(TEXT) == ([], "ok")
    assert read(TEXT.replace("的", "")) == ([], "repaired")


@pytest.mark.parametrize(
    ("text", "raw", "mentions"),
    [
        # dropped, added and changed characters elsewhere
        ("曼联胜曼联", "曼联[曼联|x]", [("x", "曼联", 3, 5)]),
        ("曼联胜曼联", "曼联大胜了[曼联|x]", [("x", "曼联", 3, 5)]),
        ("曼联胜曼联", "曼联胜[曼联|x]曼联", [("x", "曼联", 3, 5)]),
        ("“曼联”胜“曼联”", '"曼联"胜"[曼联|x]"', [("x", "曼联", 6, 8)]),
        ("曼 联，曼联", "曼联，[曼联|x]", [("x", "曼联", 4, 6)]),
        ("哈哈哈哈哈哈曼联", "哈哈哈[曼联|x]", [("x", "曼联", 6, 8)]),
        # the mention itself is changed: it has offsets if it is equal after NFKC
        ("玩ＣＳ的ＣＳ", "玩CS的[CS|x]", [("x", "CS", 4, 6)]),
        ("玩cafe\u0301吧", "玩[café|x]吧", [("x", "café", 1, 6)]),
        ("玩CS吧", "玩[cs|x]吧", [("x", "cs", None, None)]),
        ("北京大学", "[北京大|x]", [("x", "北京大", 0, 3)]),
        ("北京大学", "[北大|x]", [("x", "北大", None, None)]),
        # a sentence that contains brackets, which the answer does not escape
        ("[组图]曼联", "[组图][曼联|x]", [("x", "曼联", 4, 6)]),
        ("a|b曼联", "a|b[曼联|x]", [("x", "曼联", 3, 5)]),
        ("C:\\n曼联", "C:\\n[曼联|x]", [("x", "曼联", 4, 6)]),
        # copied twice: each mention gets its offsets once
        ("曼联胜", "[曼联|x]胜\n[曼联|x]胜", [("x", "曼联", 0, 2), ("x", "曼联", None, None)]),
    ],
)
def test_a_changed_copy_is_aligned(
    text: str, raw: str, mentions: list[tuple[str, str, int | None, int | None]]
) -> None:
    assert read(raw, text) == (mentions, "repaired")


def test_mentions_that_cross_cannot_be_written() -> None:
    first, inner, crossing, after = (
        Entity("a", "甲乙丙", 0, 3),
        Entity("b", "乙", 1, 2),
        Entity("c", "丙丁", 2, 4),
        Entity("d", "丁", 3, 4),
    )
    sentence = Sentence("s", "甲乙丙丁", (first, inner, crossing, after))
    assert inexpressible("brackets", sentence) == (crossing,)
    assert write_answer("brackets", sentence) == "[甲[乙|b]丙|a][丁|d]"
    assert inexpressible("json", sentence) == ()


def test_labels_are_never_changed() -> None:
    text = "甲" * 6
    labels = ("name", "Name", "ｎａｍｅ", "名", "na me", "|]")
    entities = tuple(Entity(label, "甲", start, start + 1) for start, label in enumerate(labels))
    raw = write_answer("brackets", Sentence("s", text, entities))
    for answer in (raw, "好：" + raw):
        assert [one.label for one in read_answer("brackets", answer, text).mentions] == list(labels)


@given(st.text("甲乙丙Ａ", max_size=40), st.data())
def test_alignment_is_monotonic_and_matches(original: str, data: st.DataObject) -> None:
    copy = data.draw(st.text("甲乙丙A", max_size=40))
    offsets = align(copy, original)
    aligned = [(offset, target) for offset, target in enumerate(offsets) if target != UNKNOWN]
    assert len(offsets) == len(copy)
    assert [target for _, target in aligned] == sorted({target for _, target in aligned})
    assert all(copy[offset] == original[target].replace("Ａ", "A") for offset, target in aligned)


@given(st.text("甲乙丙丁戊己庚辛", min_size=60, max_size=200), st.data())
def test_one_change_leaves_the_rest_aligned(original: str, data: st.DataObject) -> None:
    cut = data.draw(st.integers(0, len(original)))
    dropped, added = data.draw(st.integers(0, 5)), data.draw(st.text("子丑", max_size=5))
    copy = original[:cut] + added + original[cut + dropped :]
    offsets = align(copy, original)
    known = sum(target != UNKNOWN for target in offsets)
    assert known == len(original[:cut]) + len(original[cut + dropped :])
