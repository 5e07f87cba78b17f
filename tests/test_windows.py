"""Windows of long texts: splitting and joining preserve text and mentions; conflicts in overlaps."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from entitune.prompting.windows import (
    Room,
    Span,
    Window,
    by_sentence,
    entities_in,
    join,
    lost_entities,
    split,
    windows_of,
)
from entitune.records import Entity, Mention, Sentence

texts = st.text("甲乙丙丁戊。！；，,\n a", max_size=120)


def at_most(size: int) -> Callable[[int, int], bool]:
    return lambda start, end: end - start <= size


def parts(text: str, size: int) -> list[str]:
    return [text[span.start : span.end] for span in split(text, at_most(size))]


@pytest.mark.parametrize(
    ("text", "size", "expected"),
    [
        ("甲乙。丙丁。", 6, ["甲乙。丙丁。"]),
        ("", 1, [""]),
        ("甲乙。丙丁。戊", 6, ["甲乙。丙丁。", "戊"]),
        ("甲乙。丙丁。戊", 5, ["甲乙。", "丙丁。戊"]),
        ("他说：“走！”好", 7, ["他说：“走！”", "好"]),
        ("甲；乙\n丙", 3, ["甲；", "乙\n丙"]),
        ("3.5。x", 4, ["3.5。", "x"]),
        ("甲。 \n乙。\n", 5, ["甲。 \n", "乙。\n"]),
        # No sentence end fits: a comma in the second half, and an overlap of a quarter.
        ("甲乙丙丁戊，己庚辛壬癸", 8, ["甲乙丙丁戊，", "，己庚辛壬癸"]),
        # No comma either.
        ("甲乙丙丁戊己庚辛壬癸子丑", 8, ["甲乙丙丁戊己庚辛", "庚辛壬癸子丑"]),
        # A comma in the first half would leave a small window.
        ("甲，乙丙丁戊己庚辛壬", 8, ["甲，乙丙丁戊己庚", "己庚辛壬"]),
    ],
)
def test_windows_end_at_sentence_ends_or_commas_if_possible(text: str, size: int, expected: list[str]) -> None:
    assert parts(text, size) == expected


@given(texts, st.integers(1, 40))
def test_windows_cover_the_text_in_order_and_fit(text: str, size: int) -> None:
    spans = split(text, at_most(size))
    assert spans[0].start == 0
    assert spans[-1].end == len(text)
    assert all(span.end - span.start <= size for span in spans)
    for before, after in itertools.pairwise(spans):
        assert before.start < after.start <= before.end < after.end
        if after.start < before.end:
            assert before.end - after.start <= size // 4, "a larger overlap than is needed"


def test_a_text_without_a_fitting_window_is_refused() -> None:
    with pytest.raises(ValueError, match="not even one character fits at offset 2"):
        split("甲乙丙", lambda start, end: end <= 2)


def test_a_large_text_is_measured_in_small_parts() -> None:
    """Except for the complete text, no part that is measured is longer than a few windows."""
    asked: list[int] = []

    def fits(start: int, end: int) -> bool:
        asked.append(end - start)
        return end - start <= 100

    spans = split("甲乙丙丁戊己庚辛壬。" * 5000, fits)
    assert len(spans) == 500
    assert max(asked[1:]) <= 200
    assert len(asked) < 20 * len(spans)


@st.composite
def annotated(draw: st.DrawFn) -> Sentence:
    """Draw a sentence with mentions that may overlap and nest."""
    text = draw(texts.filter(bool))
    drawn = draw(
        st.lists(st.tuples(st.integers(0, len(text) - 1), st.integers(1, 6), st.sampled_from("AB")), max_size=8)
    )
    found = {(start, min(start + size, len(text)), label) for start, size, label in drawn}
    return Sentence("s", text, tuple(Entity(label, text[start:end], start, end) for start, end, label in sorted(found)))


@given(annotated(), st.integers(1, 40))
@example(Sentence("s", "甲乙丙丁", (Entity("A", "乙丙", 1, 3),)), 2)
def test_splitting_and_joining_preserve_text_and_mentions(sentence: Sentence, size: int) -> None:
    spans = split(sentence.text, at_most(size))
    windows = windows_of(sentence, spans)
    assert all(sentence.text[window.span.start : window.span.end] == window.text for window in windows)
    assert all(one.text == window.text[one.start : one.end] for window in windows for one in window.entities or ())
    found = [[Mention(one.label, one.text, one.start, one.end) for one in window.entities or ()] for window in windows]
    joined = {(one.label, one.text, one.start, one.end) for one in join(spans, found, len(sentence.text))}
    lost = {(one.label, one.text, one.start, one.end) for one in lost_entities(sentence, spans)}
    every = {(one.label, one.text, one.start, one.end) for one in sentence.entities or ()}
    # A mention of one window can only lose to a mention of the other window that crosses the first window's edge.
    assert joined <= every
    assert lost == every - {
        (one.label, one.text, one.start + window.start, one.end + window.start)
        for window in windows
        for one in window.entities or ()
    }
    apart = all(a[3] <= b[2] or b[3] <= a[2] for a, b in itertools.combinations(every, 2))
    if apart:
        assert joined == every - lost


def test_a_sentence_that_fits_is_its_own_window() -> None:
    sentence = Sentence("s", "甲乙", (Entity("A", "甲", 0, 1),))
    (window,) = windows_of(sentence, [Span(0, 2)])
    assert window == Window("s", "甲乙", sentence.entities)
    assert window.to_dict() == sentence.to_dict()
    assert window.to_sentence() == sentence


def test_windows_have_ids_and_offsets_and_are_grouped_by_sentence() -> None:
    sentence = Sentence("s", "甲乙。丙丁。", (Entity("A", "丙丁", 3, 5),))
    windows = windows_of(sentence, split(sentence.text, at_most(3)))
    assert [window.to_dict() for window in windows] == [
        {"id": "s@0-3", "text": "甲乙。", "entities": [], "sentence": "s", "start": 0},
        {
            "id": "s@3-6",
            "text": "丙丁。",
            "entities": [{"label": "A", "text": "丙丁", "start": 0, "end": 2}],
            "sentence": "s",
            "start": 3,
        },
    ]
    other = Window("t", "好")
    assert list(by_sentence([other, *windows])) == [[other], windows]
    assert windows_of(Sentence("s", "甲乙。丙"), [Span(0, 3), Span(3, 4)])[1].entities is None


def test_a_window_has_the_entities_that_it_contains_completely() -> None:
    sentence = Sentence(
        "s", "甲乙丙丁", (Entity("A", "甲乙", 0, 2), Entity("B", "乙丙", 1, 3), Entity("C", "丁", 3, 4))
    )
    assert entities_in(sentence, Span(1, 4)) == (Entity("B", "乙丙", 0, 2), Entity("C", "丁", 2, 3))


# Two windows of a text of 12 characters, with the overlap 5 to 8.
SPANS = [Span(0, 8), Span(5, 12)]


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        # The same mention in both windows counts once.
        ([("A", 5, 7)], [("A", 0, 2)], [("A", 5, 7)]),
        # Cut off at the edge of the first window: the mention of the second, farther from its own edge, is kept.
        ([("A", 6, 8)], [("A", 1, 5)], [("A", 6, 10)]),
        # The reverse case.
        ([("A", 4, 7)], [("A", 0, 2)], [("A", 4, 7)]),
        # Different labels for the same span.
        ([("A", 6, 7)], [("B", 1, 2)], [("A", 6, 7)]),
        ([("A", 7, 8)], [("B", 2, 3)], [("B", 7, 8)]),
        # Mentions of only one window are kept; so are nested mentions of one window.
        ([("A", 6, 7)], [], [("A", 6, 7)]),
        ([("A", 5, 8), ("B", 6, 7)], [("B", 1, 2)], [("A", 5, 8), ("B", 6, 7)]),
        # There is no conflict outside the overlap, and the ends of the text are not edges.
        ([("A", 0, 2)], [("A", 5, 7)], [("A", 0, 2), ("A", 10, 12)]),
        ([("A", 0, 6)], [("B", 0, 7)], [("A", 0, 6)]),
    ],
)
def test_in_a_conflict_the_mention_farther_from_its_windows_edge_is_kept(
    first: list[tuple[str, int, int]], second: list[tuple[str, int, int]], expected: list[tuple[str, int, int]]
) -> None:
    text = "零一二三四五六七八九十末"
    found = [
        [Mention(label, text[start + span.start : end + span.start], start, end) for label, start, end in mentions]
        for span, mentions in zip(SPANS, (first, second), strict=True)
    ]
    joined = join(SPANS, found, len(text))
    assert [(one.label, one.start, one.end) for one in joined] == expected
    assert all(one.text == text[one.start : one.end] for one in joined)


def test_mentions_without_offsets_are_kept() -> None:
    missing = Mention("A", "无")
    assert join(SPANS, [[missing], [missing, Mention("A", "末", 6, 7)]], 12) == (
        missing,
        missing,
        Mention("A", "末", 11, 12),
    )


def test_an_answer_in_brackets_has_room_for_the_sentence_and_its_markup() -> None:
    json, brackets = (Room(512, 200, 40, answer_format) for answer_format in ("json", "brackets"))
    assert json.has(312)
    assert not json.has(313)
    assert brackets.has(140)
    assert not brackets.has(141)
