"""The reader of JSON answers: typical deviations, arbitrary input, and a comparison with json-repair."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import NamedTuple

import json_repair
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from steps import grows_linearly

from entitune.prompting.answer_formats import reading


class Answer(NamedTuple):
    """Labels and texts of an answer, and its status. JSON answers have no offsets."""

    mentions: tuple[tuple[str, str], ...]
    status: str


def read_answer(raw: str) -> Answer:
    answer = reading.read_answer("json", raw, "")
    assert all(mention.start is None and mention.end is None for mention in answer.mentions)
    return Answer(tuple((mention.label, mention.text) for mention in answer.mentions), answer.status)


WENGER = ("name", "温格")
UNITED = ("organization", "曼联")


@pytest.mark.parametrize(
    ("raw", "mentions"),
    [
        # around the array
        ('```json\n[{"label": "name", "text": "温格"}]\n```', [WENGER]),
        ('```\n[{"label": "name", "text": "温格"}]', [WENGER]),
        ('好的，句子中的实体如下：\n[{"label": "name", "text": "温格"}]\n以上是所有实体。', [WENGER]),
        ('It\'s easy, see [1]: [{"label": "name", "text": "温格"}] (don\'t ask)', [WENGER]),
        ("```json\n[]\n```", []),
        # spelling
        ("[{'label': 'name', 'text': '温格'}]", [WENGER]),
        ('[{"label": "name", "text": "温格",},]', [WENGER]),
        ("[{“label”：“name”，“text”：“温格”}]", [WENGER]),
        ("[{label: name, text: 温格}]", [WENGER]),
        ('[{"label": "name" "text": "温格"} {"label": "organization", "text": "曼联"}]', [WENGER, UNITED]),
        ('[{"label": "name", "text": "温格", {"label": "organization", "text": "曼联"}]', [WENGER, UNITED]),
        ('[{"label": "name", "text": "温格"]', [WENGER]),
        ('[{"label": "book", "text": "他说"好"的"}]', [("book", '他说"好"的')]),
        ("[{'label': 'name', 'text': 'O'Neil'}]", [("name", "O'Neil")]),
        (r"[{'label': 'name', 'text': 'O\'Neil'}]", [("name", "O'Neil")]),
        (r'[{"label": "game", "text": "a\nb\u6e29\ud83d\ude00",}]', [("game", "a\nb温😀")]),
        # cut off: the complete elements are kept, the cut one is not
        ('[{"label": "name", "text": "温格"}, {"label": "organization", "text": "曼', [WENGER]),
        ('[{"label": "name", "text": "温格"}, {"label": "organization", "text": "曼联"', [WENGER]),
        ('[{"label": "name", "text": "温格"}, {"label": "orga', [WENGER]),
        ('[{"label": "name", "text": "温格"},', [WENGER]),
        ('{"name": ["温格"], "organization": ["曼联", "切', [WENGER, UNITED]),
        # shapes
        ('[{"type": "name", "entity": "温格"}]', [WENGER]),
        ('[{"entity": "name", "text": "温格"}]', [WENGER]),
        ('[{"type": "name", "name": "温格"}]', [WENGER]),
        ('[{"类型": "name", "实体": "温格"}]', [WENGER]),
        ('[{"label": "name", "text": "温格", "start": 0, "end": 2}]', [WENGER]),
        ('{"label": "name", "text": "温格"}', [WENGER]),
        ('{"label": "name", "text": "温格"}\n{"label": "organization", "text": "曼联"}', [WENGER, UNITED]),
        ('{"entities": [{"label": "name", "text": "温格"}]}', [WENGER]),
        ('{"name": ["温格"], "organization": ["曼联"]}', [WENGER, UNITED]),
        ('{"name": "温格", "organization": "曼联", "book": []}', [WENGER, UNITED]),
        ('{"name": {"温格": [[0, 1]]}, "organization": {"曼联": [[5, 6], [9, 10]]}}', [WENGER, UNITED, UNITED]),
        ('{"text": "温格…", "label": {"name": {"温格": [[0, 1]]}}}', [WENGER]),
        ('{"result": {"name": ["温格"]}}', [WENGER]),
        ('{"name": [{"text": "温格", "start": 0}]}', [WENGER]),
        ('[{"name": ["温格"]}, {"name": ["曼联"]}]', [WENGER, ("name", "曼联")]),
        ('{"name": ["温格"], "name": ["曼联"]}', [WENGER, ("name", "曼联")]),
        ('[{"label": "name", "text": ["温格", "曼联"]}]', [WENGER, ("name", "曼联")]),
        ('[{"label": "name", "text": "温格", "label": "organization", "text": "曼联"}]', [WENGER, UNITED]),
        # values
        ('[{"label": "game", "text": 2008}, {"label": "game", "text": null}]', [("game", "2008")]),
        ('[{"label": "name", "text": {"a": 1}}, {"label": 1.5, "text": true}]', []),
        ('[{"label": "动物", "text": "猫"}, 3]', [("动物", "猫")]),
        (r'[{"label": "name", "text": "\ud83d"}]', [("name", "\ufffd")]),
        # null, true and false are not mentions anywhere; a number is read as its digits
        ('[{"text": "温格", "label": null}, {"label": "organization", "text": "曼联"}]', [UNITED]),
        ('[{"text": "温格", "label": true}, {"text": "温格", "label": False}]', []),
        ('[{"text": "温格", "label": 1}, {"text": "温格", "label": "null"}]', [("1", "温格"), ("null", "温格")]),
        ('{null: ["温格"], "organization": ["曼联", null]}', [UNITED]),
        ("{None: {'温格': [[0, 1]]}, 'organization': '曼联'}", [UNITED]),
        ('{"name": {"温格": null}}', []),
        ('[{"type": null, "entity": "温格"}]', []),
        # a mention with an empty text is dropped; an empty label is an unknown label
        ('[{"label": "name", "text": ""}, {"label": "", "text": "温格"},]', [("", "温格")]),
        ('{"name": "", "organization": ["", "曼联"]}', [UNITED]),
        # several labels for one text
        ('[{"label": ["name", "position"], "text": "温格"}]', [WENGER, ("position", "温格")]),
        ('{"text": "温格…", "label": [{"label": "name", "text": "温格"}]}', [WENGER]),
    ],
)
def test_typical_deviations_are_repaired(raw: str, mentions: list[tuple[str, str]]) -> None:
    answer = read_answer(raw)
    assert list(answer.mentions) == mentions
    assert answer.status == ("repaired" if mentions or "[]" in raw else "unparseable")


def test_labels_are_never_changed() -> None:
    named = [(label, "温格") for label in ("name", "Name", "NAME", "ｎａｍｅ", " name", "名", "")]
    raw = json.dumps([{"label": label, "text": text} for label, text in named])
    assert read_answer(raw) == Answer(tuple(named), "ok")
    assert read_answer(f"好的：{raw}") == Answer(tuple(named), "repaired")


def test_unknown_labels_and_duplicates_are_kept() -> None:
    raw = json.dumps([{"label": "动物", "text": "猫"}, {"label": "动物", "text": "猫"}])
    assert read_answer(raw) == Answer((("动物", "猫"), ("动物", "猫")), "ok")


@pytest.mark.parametrize(
    "raw", ["", " ", "没有实体", "null", '"温格"', "[", "{", "[1]", '[{"label": "na', '{"label": "name"}', "实体：温格"]
)
def test_answers_that_name_no_mention_are_unparseable(raw: str) -> None:
    assert read_answer(raw) == Answer((), "unparseable")


mentions = st.lists(st.tuples(st.text(), st.text()))


@given(mentions, st.booleans(), st.sampled_from([None, 1]))
def test_valid_input_is_never_changed(named: list[tuple[str, str]], ascii_only: bool, indent: int | None) -> None:
    raw = json.dumps([{"label": a, "text": b} for a, b in named], ensure_ascii=ascii_only, indent=indent)
    assert read_answer(raw) == Answer(tuple(named), "ok")


words = ["温格", "label", "text", "name", "1", "null", "```", "\\ud83d", "\ud83d"]
pieces = st.sampled_from(
    [*"[]{},:\"'“”\\ \n", *words, '{"label": "name", "text": "温格"}', '"name": ["x"]', "[{'label': 'name', "]
)


@given(st.lists(pieces, max_size=40).map("".join) | st.text())
@example("[" * 5000)
@example("9" * 5000)
@example("[" + "9" * 5000 + "]")
def test_no_input_crashes_the_reader(raw: str) -> None:
    answer = read_answer(raw)
    assert answer.mentions == () or answer.status != "unparseable"
    for label, text in answer.mentions:
        (label + text).encode("utf-8")  # must be writable to a file


@given(mentions.filter(bool), st.data())
def test_complete_elements_of_a_cut_off_array_are_kept(named: list[tuple[str, str]], data: st.DataObject) -> None:
    elements = [json.dumps({"label": a, "text": b}, ensure_ascii=False) for a, b in named]
    kept = data.draw(st.integers(0, len(elements) - 1))
    cut = data.draw(st.integers(0, len(elements[kept]) - 1))
    raw = "[" + "".join(element + ", " for element in elements[:kept]) + elements[kept][:cut]
    expected = tuple((a, b) for a, b in named[:kept] if b)  # empty texts are dropped, unless the array is valid
    assert read_answer(raw).mentions == expected


plain = st.text("abc温格曼联 -.《》", min_size=1)


@given(st.lists(st.tuples(plain, plain), min_size=1), st.sampled_from(["python", "fence", "comma"]))
def test_agrees_with_json_repair_where_both_apply(named: list[tuple[str, str]], form: str) -> None:
    elements = [{"label": a, "text": b} for a, b in named]
    raw = {
        "python": str(elements),
        "fence": f"```json\n{json.dumps(elements, ensure_ascii=False)}\n```",
        "comma": json.dumps(elements, ensure_ascii=False).replace("}", ",}").replace("]", ",]"),
    }[form]
    assert [{"label": a, "text": b} for a, b in read_answer(raw).mentions] == json_repair.loads(raw)


@pytest.mark.parametrize(
    "unit",
    [
        '{"label": "name", "text": "温格"}, ',
        '["a" b',
        "{'label': ",
        "[",
        "{",
        "}]",
        '["',
        '" x',
        "[]",
        "['\"",
        "\\",
        "温",
    ],
)
def test_reading_takes_linear_time(unit: str) -> None:
    def work(size: int) -> Callable[[], None]:
        raw = '[{"label": "name", "text": "温格"}, ' + unit * (size // len(unit))

        def read() -> None:
            assert read_answer(raw).mentions[0] == WENGER or unit in ("{'label': ", '["', "温", "\\")

        return read

    assert grows_linearly(work, 3000)
    work(300_000)()  # would take minutes if the C code were quadratic


def test_a_megabyte_of_repetition_is_read_completely() -> None:
    element = '{"label": "name", "text": "温格"}, '
    count = 1_000_000 // len(element)
    assert read_answer("[" + element * count + '{"label": "na') == Answer((WENGER,) * count, "repaired")
