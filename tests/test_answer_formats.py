"""Every answer format: round trips, reasoning, no crashes, linear time, structured decoding."""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Callable
from typing import get_args

import pytest
from helpers import run_code
from hypothesis import assume, example, given
from hypothesis import strategies as st
from steps import grows_linearly

from entitune.prompting.answer_formats import ANSWER_FORMATS, AnswerFormat, constraints, reading, writing
from entitune.prompting.answer_formats.constraints import Grammar, Regex, constraint_of
from entitune.prompting.answer_formats.reading import ParsedAnswer, outside_reasoning, read_answer
from entitune.prompting.answer_formats.writing import inexpressible, write_answer
from entitune.prompting.predictions import read_prediction
from entitune.records import Entity, Mention, Sentence

every_format = pytest.mark.parametrize("answer_format", ANSWER_FORMATS)

MARKUP = "[]|\\{}\"'“”【】｜<>,:，：\n \u3000"
texts = st.text(st.sampled_from(MARKUP + "甲乙甲乙甲乙aA1") | st.characters(exclude_categories=["Cs"]), max_size=30)
labels = st.sampled_from(["name", "名", "a]b", "x|y", "\\", "[", "null", "Name"]) | st.text(min_size=1, max_size=5)


@st.composite
def sentences(
    draw: st.DrawFn, texts: st.SearchStrategy[str] = texts, labels: st.SearchStrategy[str] = labels
) -> Sentence:
    """Draw a sentence with entities that may be distinct, nested, touching or crossing."""
    text = draw(texts)
    spans = st.tuples(st.integers(0, len(text)), st.integers(0, len(text))).filter(lambda span: span[0] < span[1])
    drawn = draw(st.lists(st.tuples(spans, labels), max_size=6, unique=True)) if text else []
    entities = [Entity(label, text[start:end], start, end) for (start, end), label in drawn]
    return Sentence("s", text, tuple(sorted(entities, key=lambda one: (one.start, one.end, one.label))))


def places(mentions: tuple[Mention, ...]) -> list[tuple[str, str, int | None, int | None]]:
    return [(one.label, one.text, one.start, one.end) for one in mentions]


def test_every_format_has_its_functions() -> None:
    assert get_args(AnswerFormat) == ANSWER_FORMATS
    for table in (writing._WRITERS, reading._READERS, constraints._CONSTRAINTS):
        assert tuple(table) == ANSWER_FORMATS


@every_format
@given(sentence=sentences())
def test_written_answers_are_read_back(answer_format: AnswerFormat, sentence: Sentence) -> None:
    answer = read_answer(answer_format, write_answer(answer_format, sentence), sentence.text)
    refused = set(inexpressible(answer_format, sentence))
    written = [(one.label, one.text, one.start, one.end) for one in sentence.entities or () if one not in refused]
    assert answer.status == "ok"
    if answer_format == "json":
        assert [(one.label, one.text) for one in answer.mentions] == [(label, text) for label, text, _, _ in written]
    else:
        assert places(answer.mentions) == written


@pytest.mark.parametrize("answer_format", ["brackets", "occurrence"])
@given(sentence=sentences())
def test_grounding_keeps_given_offsets(answer_format: AnswerFormat, sentence: Sentence) -> None:
    assume(not inexpressible(answer_format, sentence))
    unlabelled = Sentence(sentence.id, sentence.text, None)
    prediction = read_prediction(answer_format, unlabelled, write_answer(answer_format, sentence), "stop")
    assert [mention.to_dict() for mention in prediction.pred] == [one.to_dict() for one in sentence.entities or ()]


@every_format
@given(
    sentence=sentences(st.text("甲乙丙丁戊", min_size=1, max_size=20), st.sampled_from(["name", "名"])),
    around=st.sampled_from(["```\n{}\n```", "好的，结果如下：\n{}", "{}\n以上。", "输出：{} "]),
)
def test_prose_and_fences_around_an_answer_are_ignored(
    answer_format: AnswerFormat, sentence: Sentence, around: str
) -> None:
    written = [one for one in sentence.entities or () if one not in inexpressible(answer_format, sentence)]
    answer = read_answer(answer_format, around.replace("{}", write_answer(answer_format, sentence)), sentence.text)
    assert answer.status == "repaired"
    assert [(one.label, one.text) for one in answer.mentions] == [(one.label, one.text) for one in written]


pieces = st.sampled_from(
    [
        *"[]{}()|\\,:\"'“”【】｜\n ",
        "温格",
        "曼联",
        "|name]",
        "[温格",
        "<think>",
        "</think>",
        '{"label": "name", "text": "温格"',
        '"occurrence": 1}',
        '"occurrence": 99999999999',
        "\ud83d",
        "\\ud83d",
        "null",
    ]
)


@every_format
@given(raw=st.lists(pieces, max_size=40).map("".join) | st.text(), text=texts | st.just("温格见曼联、温格"))
@example(raw="[" * 5000, text="温格")
@example(raw="9" * 5000, text="温格")
@example(raw='[{"label": "a", "label": 1, "text": "b"}]', text="b")
@example(raw='[{"label": "a", "text": "b", "occurrence": true}]', text="b")
@example(raw='[{"label": "a", "text": "", "occurrence": 1}]', text="b")
def test_no_answer_crashes_a_reader(answer_format: AnswerFormat, raw: str, text: str) -> None:
    prediction = read_prediction(answer_format, Sentence("s", text, None), raw, "stop")
    assert prediction.pred == () or prediction.status != "unparseable"
    for mention in prediction.pred:
        (mention.label + mention.text).encode("utf-8")  # must be writable to a file
        if mention.start is not None:
            found = text[mention.start : mention.end]
            assert unicodedata.normalize("NFKC", found) == unicodedata.normalize("NFKC", mention.text)


# --- reasoning -------------------------------------------------------------------------------------------------------

DRAFT = {
    "json": '[{"label": "company", "text": "高远"}]',
    "brackets": "[高远|company]在北岭",
    "occurrence": '[{"label": "company", "text": "高远", "occurrence": 1}]',
}
FINAL = {name: draft.replace("company", "name") for name, draft in DRAFT.items()}


@every_format
@pytest.mark.parametrize(
    ("raw", "is_answered"),
    [
        ("<think>\n可能是 DRAFT？不对。\n</think>\n\nFINAL", True),
        ("<think>\n\n</think>\n\nFINAL", True),
        ("<think>DRAFT</think>FINAL<think>DRAFT</think>", True),
        ("可能是 DRAFT？\n</think>\nFINAL", True),  # the template put the <think> into the prompt
        ("<think>a<think>b</think>DRAFT</think>FINAL", True),
        ("<think>\n可能是 DRAFT", False),
        ("DRAFT<think>FINAL", False),
        ("<think>DRAFT</think>FINAL<think>", False),
        ("<think>DRAFT</think>", False),
        ("<think>", False),
    ],
)
def test_reasoning_is_not_part_of_the_answer(answer_format: AnswerFormat, raw: str, is_answered: bool) -> None:
    answer = raw.replace("DRAFT", DRAFT[answer_format]).replace("FINAL", FINAL[answer_format])
    read = read_answer(answer_format, answer, "高远在北岭")
    assert [(one.label, one.text) for one in read.mentions] == ([("name", "高远")] if is_answered else [])
    assert read.status == ("repaired" if is_answered else "unparseable")
    cut_off = read_prediction(answer_format, Sentence("s", "高远在北岭", None), answer, "length")
    assert (len(cut_off.pred), cut_off.status) == (len(read.mentions), "truncated")


@every_format
def test_tags_of_reasoning_in_a_sentence_are_text(answer_format: AnswerFormat) -> None:
    text = "标签<think>和</think>"
    sentence = Sentence("s", text, (Entity("tag", "<think>", 2, 9), Entity("tag", "</think>", 10, 18)))
    assert read_answer(answer_format, write_answer(answer_format, sentence), text).status == "ok"


def test_reasoning_takes_linear_time() -> None:
    assert outside_reasoning("<think>" * 300_000) is None  # would take minutes if it were quadratic
    end = len("</think>" * 300_000)
    assert outside_reasoning("</think>" * 300_000) == [(end, end)]


# --- linear time: a quadratic reader would need minutes for each case ------------------------------------------------

SIZE = 6000


@every_format
@pytest.mark.parametrize(
    "unit",
    [
        "[",
        "]",
        "|",
        "\\",
        "[温|",
        "|温]",
        "[温|x]",
        "[[温|x]",
        "[温[",
        "{",
        '"',
        "温",
        "[温|x]y",
        '{"label": "x", "text": "温"}, ',
    ],
)
@pytest.mark.parametrize("part", ["温", "温x", "甲乙丙"])
def test_reading_takes_linear_time(answer_format: AnswerFormat, unit: str, part: str) -> None:
    def work(size: int) -> Callable[[], object]:
        raw, text = unit * (size // len(unit)), part * (size // len(part))
        return lambda: read_answer(answer_format, raw, text)

    assert grows_linearly(work, 300)
    work(SIZE)()


@every_format
def test_almost_all_entities_of_a_long_sentence_are_found(answer_format: AnswerFormat) -> None:
    text = "温格" * (SIZE // 2)
    entities = tuple(Entity("name", "温格", start, start + 2) for start in range(0, SIZE, 2))
    raw = write_answer(answer_format, Sentence("s", text, entities))
    for changed in (raw, "好：" + raw, raw[: len(raw) // 2] + raw[len(raw) // 2 + 20 :]):
        prediction = read_prediction(answer_format, Sentence("s", text, None), changed, "stop")
        assert sum(mention.start is not None for mention in prediction.pred) > len(entities) - 20


# --- writing ---------------------------------------------------------------------------------------------------------

NESTED = Sentence(
    "s",
    "曼联青年队[曼联]",
    (Entity("team", "曼联", 0, 2), Entity("club", "曼联青年队", 0, 5), Entity("team", "曼联", 6, 8)),
)


@pytest.mark.parametrize(
    ("answer_format", "answer"),
    [
        (
            "json",
            '[{"label": "team", "text": "曼联"}, {"label": "club", "text": "曼联青年队"}, '
            '{"label": "team", "text": "曼联"}]',
        ),
        ("brackets", r"[[曼联|team]青年队|club]\[[曼联|team]\]"),
        (
            "occurrence",
            '[{"label": "team", "text": "曼联", "occurrence": 1}, '
            '{"label": "club", "text": "曼联青年队", "occurrence": 1}, '
            '{"label": "team", "text": "曼联", "occurrence": 2}]',
        ),
    ],
)
def test_answers_are_written_as_documented(answer_format: AnswerFormat, answer: str) -> None:
    assert write_answer(answer_format, NESTED) == answer
    assert write_answer(answer_format, Sentence("s", "甲|乙", ())) == (
        "甲\\|乙" if answer_format == "brackets" else "[]"
    )


# --- occurrence ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("raw", "expected", "status"),
    [
        ('[{"text": "哈哈", "occurrence": 2, "label": "x"}]', [(1, 3)], "ok"),  # occurrences may overlap
        # There is no third occurrence: the number is ignored.
        ('[{"label": "x", "text": "哈哈", "occurrence": 3}]', [(0, 2)], "ok"),
        # The same occurrence twice for one label: the second mention gets another occurrence.
        (
            '[{"label": "x", "text": "哈哈", "occurrence": 2}, {"label": "x", "text": "哈哈", "occurrence": 2}]',
            [(1, 3), (0, 2)],
            "ok",
        ),
        ('[{"label": "x", "text": "哈哈", "occurrence": "2"}]', [(1, 3)], "repaired"),
        ('[{"label": "x", "text": "哈哈", "occurrence": 0}]', [(0, 2)], "repaired"),
        ('[{"label": "x", "text": "哈哈", "occurrence": -1}]', [(0, 2)], "repaired"),
        ('[{"label": "x", "text": "哈哈", "occurrence": 1.0}]', [(0, 2)], "repaired"),
        ('[{"label": "x", "text": "哈哈", "occurrence": true}]', [(0, 2)], "repaired"),
        ('[{"label": "x", "text": "哈哈", "occurrence": null}]', [(0, 2)], "repaired"),
        ('[{"label": "x", "text": "哈哈"}]', [(0, 2)], "repaired"),
        ('[{"label": "x", "text": "嘻", "occurrence": 1}]', [(None, None)], "ok"),
        ('{"x": [{"text": "哈哈", "occurrence": 2}]}', [(1, 3)], "repaired"),
        ('[{"label": "x", "text": "哈哈", "occurrence": 2}, {"label": "x", "text": "哈', [(1, 3)], "repaired"),
    ],
)
def test_an_occurrence_number_chooses_the_offsets(
    raw: str, expected: list[tuple[int | None, int | None]], status: str
) -> None:
    prediction = read_prediction("occurrence", Sentence("s", "哈哈哈", None), raw, "stop")
    assert prediction.status == status
    assert [(one.start, one.end) for one in prediction.pred] == expected


@given(st.text("ab", max_size=30), st.text("ab", min_size=1, max_size=5))
def test_occurrences_are_those_of_a_search_at_every_offset(text: str, surface: str) -> None:
    starts = [start for start in range(len(text)) if text.startswith(surface, start)]
    for number, start in enumerate(starts, 1):
        raw = json.dumps([{"label": "x", "text": surface, "occurrence": number}])
        assert read_answer("occurrence", raw, text) == ParsedAnswer(
            (Mention("x", surface, start, start + len(surface)),), "ok"
        )
    entities = tuple(Entity("x", surface, start, start + len(surface)) for start in starts)
    written = json.loads(write_answer("occurrence", Sentence("s", text, entities)))
    assert [one["occurrence"] for one in written] == list(range(1, len(starts) + 1))


# --- structured decoding ---------------------------------------------------------------------------------------------

LABELS = ["name", "人名", "a.b*c", "x/y", "p-q#r&s~t", "[l]", "b\\s", "p|q", "(x)", "{y}", "$^+?"]


def is_writable(sentence: Sentence) -> bool:
    """Whether structured decoding allows an answer. It excludes long white space in JSON and deep nesting."""
    return all(
        one.text.strip() and not re.search(r"[ \n\t\r\u00a0\u3000]{4}", one.text) for one in sentence.entities or ()
    )


@pytest.mark.parametrize("answer_format", ["json", "occurrence"])
@given(sentence=sentences(), label=st.sampled_from(LABELS))
def test_the_regular_expression_allows_written_answers(
    answer_format: AnswerFormat, sentence: Sentence, label: str
) -> None:
    entities = tuple(Entity(label, one.text, one.start, one.end) for one in sentence.entities or ())
    relabelled = Sentence("s", sentence.text, entities)
    assume(is_writable(relabelled))
    constraint = constraint_of(answer_format, LABELS, sentence.text)
    assert isinstance(constraint, Regex)
    assert re.fullmatch(constraint.pattern, write_answer(answer_format, relabelled))
    assert constraint.to_vllm() == {"regex": constraint.pattern}


@pytest.mark.parametrize(
    "raw",
    [
        '[{"label":"name", "text": "温格"}]',
        '[{"label": "name",  "text": "温格"}]',
        '[ {"label": "name", "text": "温格"}]',
        '[{"label": "name", "text"\t: "温格"}]',
        '[{"label": "name", "text": "温格"}]\n',
        '[{"label": "name", "text": "温    格"}]',
        '[{"label": "name", "text": "温\\n\\n\\n\\n格"}]',
        '[{"label": "name", "text": "\u3000"}]',
        '[{"label": "name", "text": ""}]',
        '[{"label": "Name", "text": "温格"}]',
        '[{"label": "name", "text": "温\n格"}]',
        '[{"text": "温格", "label": "name"}]',
        "[{}]",
        "",
    ],
)
def test_the_regular_expression_allows_nothing_else(raw: str) -> None:
    constraint = constraint_of("json", ["name"], "")
    assert isinstance(constraint, Regex)
    assert re.fullmatch(constraint.pattern, raw) is None


def alternatives(grammar: str) -> dict[str, list[list[str]]]:
    """Parse a grammar: for each rule its alternatives, each a list of literals and rule names."""
    rules = {}
    for line in grammar.splitlines():
        name, _, body = line.partition(" ::= ")
        parts = re.findall(r'"(?:[^"\\]|\\.)*"|\S+', body)
        rules[name] = [list(filter(None, one.split("\0"))) for one in "\0".join(parts).split("\0|\0")]
    return rules


def accepts(grammar: Grammar, answer: str) -> bool:
    """Whether a grammar accepts an answer. Each alternative may have one rule name, at its end."""
    rules = alternatives(grammar.ebnf)

    def unquote(part: str) -> str:
        return re.sub(
            r"\\(U[0-9a-f]{8}|.)", lambda one: chr(int(one[1][1:], 16)) if len(one[1]) > 1 else one[1], part[1:-1]
        )

    marks = [unquote(part) for (part,) in rules["mark"]]
    pending, reached = [("root", 0)], set()
    while pending:
        state = pending.pop()
        if state in reached:
            continue
        reached.add(state)
        rule, offset = state
        for parts in rules[rule]:
            heads = marks if parts[0] == "mark" else [unquote(parts[0])] if parts[0].startswith('"') else [""]
            for head in heads:
                if not answer.startswith(head, offset):
                    continue
                if parts[-1] in rules and parts[-1] != "mark":
                    pending.append((parts[-1], offset + len(head)))
                elif offset + len(head) == len(answer):
                    return True
    return False


@given(sentence=sentences(), label=st.sampled_from(LABELS))
def test_the_grammar_allows_written_answers(sentence: Sentence, label: str) -> None:
    entities = tuple(Entity(label, one.text, one.start, one.end) for one in (sentence.entities or ())[:2])
    relabelled = Sentence("s", sentence.text, entities)
    grammar = constraint_of("brackets", LABELS, sentence.text)
    assert isinstance(grammar, Grammar)
    answer = write_answer("brackets", relabelled)
    assert accepts(grammar, answer)
    assert not accepts(grammar, answer + "x")
    assert not accepts(grammar, answer.replace("|", "|x") if entities else "[" + answer)
    assert not answer or not accepts(grammar, answer[:-1])


@pytest.mark.engine
def test_xgrammar_agrees() -> None:
    """xgrammar, which vLLM uses, compiles the constraints, and accepts and refuses the same answers."""
    text = 'a"b\\c[d]e|f\n\u3000\U0001f600甲'
    sentence = Sentence("s", text, (Entity("人名", text[1:5], 1, 5), Entity("a.b*c", text[2:4], 2, 4)))
    cases = []
    for answer_format in ANSWER_FORMATS:
        constraint = constraint_of(answer_format, LABELS, text).to_vllm()
        answer = write_answer(answer_format, sentence)
        cases.append({**constraint, "answer": answer, "expected": True})
        for wrong in (
            answer + " ",
            " " + answer,
            answer[:-1],
            answer.replace("人名", "地名"),
            answer.replace('", ', '",  '),
        ):
            if wrong != answer:
                cases.append({**constraint, "answer": wrong, "expected": False})
    program = (
        "import json, sys\nfrom xgrammar import Grammar\n"
        "from xgrammar.testing import _is_grammar_accept_string as accepts\n"
        "for case in json.load(sys.stdin):\n"
        "    regex = case.get('regex')\n"
        "    grammar = Grammar.from_regex(regex) if regex else Grammar.from_ebnf(case['grammar'])\n"
        "    assert accepts(grammar, case['answer']) == case['expected'], case\n"
    )
    run_code("predict-cpu", program, stdin=json.dumps(cases))
