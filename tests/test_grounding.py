"""Grounding: from texts in the order of the answer to offsets in the sentence."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable
from math import isqrt

import pytest
from hypothesis import given
from hypothesis import strategies as st
from steps import grows_linearly

from entitune.prompting.grounding import ground, occurring
from entitune.records import Mention


def spans(text: str, *mentions: tuple[str, str]) -> list[tuple[int | None, int | None]]:
    return [(one.start, one.end) for one in ground(text, [Mention(*mention) for mention in mentions])]


def names(text: str, *surfaces: str) -> list[tuple[int | None, int | None]]:
    return spans(text, *(("name", surface) for surface in surfaces))


@pytest.mark.parametrize(
    ("text", "surfaces", "expected"),
    [
        # repeated: text order; named more often than it occurs: no offsets
        ("曼联胜曼联", ["曼联"], [(0, 2)]),
        ("曼联胜曼联", ["曼联", "曼联"], [(0, 2), (3, 5)]),
        ("曼联胜曼联", ["曼联", "曼联", "曼联"], [(0, 2), (3, 5), (None, None)]),
        ("哈哈哈", ["哈哈", "哈哈", "哈哈"], [(0, 2), (1, 3), (None, None)]),
        # longest first: 北京 takes a free occurrence before the one in 北京大学
        ("北京大学在北京", ["北京大学", "北京"], [(0, 4), (5, 7)]),
        ("北京大学在北京", ["北京", "北京大学"], [(5, 7), (0, 4)]),
        ("北京大学在北京", ["北京大学", "北京", "北京"], [(0, 4), (5, 7), (0, 2)]),
        # nested
        ("《招商银行亏损》", ["《招商银行亏损》", "招商银行"], [(0, 8), (1, 5)]),
        # the order of the answer decides between occurrences
        ("叶真、刘仲《姓名索引》有叶真", ["《姓名索引》", "叶真"], [(5, 11), (12, 14)]),
        ("叶真见刘仲，叶真走", ["叶真", "刘仲"], [(0, 2), (3, 5)]),
        # answers need not be in text order
        ("甲见乙", ["乙", "甲"], [(2, 3), (0, 1)]),
        # hallucinated
        ("甲见乙", ["丙", "", "甲见乙丙"], [(None, None)] * 3),
    ],
)
def test_mentions_get_the_offsets_of_the_rules(
    text: str, surfaces: list[str], expected: list[tuple[int | None, int | None]]
) -> None:
    assert names(text, *surfaces) == expected


def test_a_surface_under_two_labels_gets_offsets_for_each() -> None:
    assert spans("游卢浮宫，卢浮宫好", ("address", "卢浮宫"), ("scene", "卢浮宫")) == [(1, 4), (5, 8)]
    assert spans("游卢浮宫", ("address", "卢浮宫"), ("scene", "卢浮宫")) == [(1, 4), (1, 4)]
    assert spans("游卢浮宫", ("address", "卢浮宫"), ("address", "卢浮宫")) == [(1, 4), (None, None)]


@pytest.mark.parametrize(
    ("text", "surface", "expected"),
    [
        ("玩ＣＳ吧", "CS", (1, 3)),  # full-width in the sentence
        ("玩CS吧", "ＣＳ", (1, 3)),  # full-width in the answer
        ("看(上)集", "（上）", (1, 4)),
        ("ＣＳ和CS", "CS", (3, 5)),  # an exact occurrence comes first
        ("在cafe\u0301里", "café", (1, 6)),  # decomposed in the sentence: five characters
        ("在café里", "cafe\u0301", (1, 5)),  # decomposed in the answer
        ("ｶﾞｽ", "ガス", (0, 3)),  # half-width katakana with its voiced sound mark
        ("\u1112\u1161\u11ab글", "한", (0, 3)),  # Hangul letters
        ("在㍿甲", "株式", (None, None)),  # a part of one character is not an occurrence
        ("在㍿甲", "株式会社甲", (1, 3)),
        ("e\u0301甲", "e", (0, 1)),  # exact, although a mark follows
        ("😀甲乙", "甲", (1, 2)),  # beyond the basic plane: one code point
        ("甲👨‍👩‍👧乙", "👨‍👩‍👧", (1, 6)),
        ("甲a乙", "A", (None, None)),  # letter case matters
    ],
)
def test_surfaces_are_found_if_they_are_equal_after_nfkc(
    text: str, surface: str, expected: tuple[int | None, int | None]
) -> None:
    assert names(text, surface) == [expected]


def test_exact_occurrences_come_before_equivalent_ones() -> None:
    assert names("ＣＳ和CS", "CS", "CS", "CS") == [(3, 5), (0, 2), (None, None)]


characters = st.sampled_from("甲乙丙Aａe\u0301ｶﾞ㍿😀")
sentences = st.text(characters, max_size=20)
answers = st.lists(st.tuples(st.sampled_from("xy"), st.text(characters, max_size=4)), max_size=12)


@given(sentences, answers)
def test_no_mention_is_lost_and_no_offsets_are_given_twice(text: str, mentions: list[tuple[str, str]]) -> None:
    entities = ground(text, [Mention(*mention) for mention in mentions])
    assert [(entity.label, entity.text) for entity in entities] == mentions  # nothing lost, added or reordered
    placed = [(entity.label, entity.start, entity.end) for entity in entities if entity.start is not None]
    assert len(placed) == len(set(placed))
    for entity in entities:
        if entity.start is None:
            assert entity.end is None
        else:
            found = text[entity.start : entity.end]
            assert found == entity.text or unicodedata.normalize("NFKC", found) == unicodedata.normalize(
                "NFKC", entity.text
            )
    for label, surface in set(mentions):  # every mention with a free exact occurrence gets offsets
        starts = {start for start in range(len(text)) if surface and text.startswith(surface, start)}
        mine = [entity for entity in entities if (entity.label, entity.text) == (label, surface)]
        if any(entity.start is None for entity in mine):
            given_to_label = {start for other, start, _ in placed if other == label}
            assert starts <= given_to_label


def count(surface: str, text: str) -> int:
    """Count the occurrences of a surface, including overlapping ones, unlike str.count."""
    return sum(text.startswith(surface, start) for start in range(len(text)))


@given(sentences, st.data())
def test_mentions_that_occur_once_get_their_offsets_back(text: str, data: st.DataObject) -> None:
    bounds = data.draw(st.lists(st.tuples(st.integers(0, 20), st.integers(1, 4)), max_size=5))
    gold = sorted({(a, a + size) for a, size in bounds if a + size <= len(text)})
    gold = [span for span in gold if count(text[slice(*span)], text) == 1]
    normal = unicodedata.normalize("NFKC", text)
    gold = [span for span in gold if count(unicodedata.normalize("NFKC", text[slice(*span)]), normal) == 1]
    assert names(text, *(text[a:b] for a, b in gold)) == gold


def first_choice(text: str, mentions: list[tuple[str, str]]) -> list[tuple[int | None, int | None]]:
    """Rules 2 to 7 implemented literally, with a list of all occurrences of every surface."""
    taken: set[int] = set()
    placed: dict[int, tuple[int, int]] = {}
    given_places: set[tuple[str, int, int]] = set()
    normal = {
        (start, end)
        for start in range(len(text))
        for end in range(start + 1, len(text) + 1)
        if _is_boundary(text, start) and _is_boundary(text, end)
    }
    for index in sorted(range(len(mentions)), key=lambda index: -len(mentions[index][1])):
        label, surface = mentions[index]
        exact = {(start, start + len(surface)) for start in range(len(text)) if text.startswith(surface, start)}
        form = unicodedata.normalize("NFKC", surface)
        starts = {start for start, _ in exact}
        equal = {
            (start, end)
            for start, end in normal
            if unicodedata.normalize("NFKC", text[start:end]) == form and start not in starts
        }
        before = [placed[other][0] for other in sorted(placed) if other < index]
        behind = [placed[other][0] for other in sorted(placed) if other > index]
        low, high = before[-1] if before else 0, behind[0] if behind else len(text)
        choices = [
            (is_equal, not taken.isdisjoint(range(*place)), not low <= place[0] <= high, place)
            for is_equal, found in enumerate((exact, equal))
            for place in found
            if surface and (label, *place) not in given_places
        ]
        if choices:
            placed[index] = min(choices)[-1]
            given_places.add((label, *placed[index]))
            taken.update(range(*placed[index]))
    return [placed.get(index, (None, None)) for index in range(len(mentions))]


def _is_boundary(text: str, offset: int) -> bool:
    """Whether the character at an offset does not combine with the characters before it."""
    return offset in (0, len(text)) or text[offset] not in "\u0301ﾞ"


@given(st.text("甲乙Aａe\u0301ｶﾞ㍿", max_size=14), answers)
def test_the_search_agrees_with_the_rules(text: str, mentions: list[tuple[str, str]]) -> None:
    assert spans(text, *mentions) == first_choice(text, mentions)


def test_offsets_in_the_answer_come_first() -> None:
    said = Mention("name", "曼联", 3, 5)
    assert ground("曼联胜曼联", [said]) == (said,)
    assert ground("曼联胜曼联", [Mention("name", "曼联"), said]) == (Mention("name", "曼联", 0, 2), said)
    assert ground("曼联胜曼联", [said, said]) == (
        said,
        Mention("name", "曼联", 0, 2),
    )  # an occurrence is used once per label
    crossing = [Mention("a", "甲乙", 0, 2), Mention("b", "乙丙", 1, 3)]
    assert list(ground("甲乙丙", crossing)) == crossing


def test_only_surfaces_that_occur_are_returned() -> None:
    assert occurring(["CS", "上海"], "玩ＣＳ") == {"CS"}
    assert not occurring(["株式"], "㍿")
    assert not occurring([""], "甲")


LONG: list[Callable[[int], tuple[str, list[str]]]] = [
    lambda size: ("a" * size, ["a" * (size // 2)]),
    lambda size: ("a" * size, ["a"] * 2 * size),
    lambda size: ("a" * size, ["a" * size, *["a"] * size]),
    lambda size: ("a" * size, ["a" * one for one in range(1, isqrt(2 * size))]),
    lambda size: ("a" * size, ["a" * one + "b" for one in range(1, isqrt(2 * size))]),
    lambda size: ("ａ" * size, ["a"] * size),
    lambda size: ("ａa" * (size // 2), ["a"] * size),
    lambda size: ("aab" * (size // 3), ["aa", "b"] * (size // 3) + ["a", "b"] * (size // 3)),
    lambda size: ("ab" * (size // 2), ["b", "a"] * (size // 2)),
]
"""Sentences of a given length and surfaces to search: listing all occurrences would take hours."""


@pytest.mark.parametrize("long", LONG, ids=range(9))
def test_the_time_is_proportional_to_the_sentence(long: Callable[[int], tuple[str, list[str]]]) -> None:
    def work(size: int) -> Callable[[], object]:
        text, surfaces = long(size)
        return lambda: names(text, *surfaces)

    assert grows_linearly(work, 500)
    text, surfaces = long(20_000)
    placed = [start for start, _ in names(text, *surfaces) if start is not None]
    assert bool(placed) == (surfaces[0] != "ab")
