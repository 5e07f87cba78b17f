"""Raw formats: valid rows, reported problems, and arbitrary content, which gives one or the other."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path

import pytest
from corpora import notes, read, reasons, sentences, to_cluener, to_conll, with_ids
from hypothesis import assume, given
from hypothesis import strategies as st

from entitune.cli import InputError
from entitune.corpus.rows import MAX_ROW_BYTES, Row
from entitune.records import Entity, Sentence


@pytest.fixture(scope="session")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("readers") / "raw"


# Round trips


@given(corpus=st.lists(sentences(), min_size=1, max_size=4))
def test_cluener_round_trip(scratch: Path, corpus: list[Sentence]) -> None:
    corpus = with_ids(corpus)
    rows = read(scratch, "".join(map(to_cluener, corpus)))
    assert [row.sentence for row in rows] == corpus


@pytest.mark.parametrize("scheme", ["bio", "bmes", "bioes"])
@given(corpus=st.lists(sentences(disjoint=True), min_size=1, max_size=4))
def test_conll_round_trip(scratch: Path, scheme: str, corpus: list[Sentence]) -> None:
    assume(not corpus[0].text.startswith("\ufeff"))  # it would be a byte order mark at the start of the file
    line, expected = 1, []
    for sentence in corpus:
        expected.append(Sentence(f"train-{line}", sentence.text, sentence.entities))
        line += len(sentence.text) + 1
    rows = read(scratch, "".join(to_conll(sentence, scheme) for sentence in corpus), f"conll-{scheme}")
    assert [row.sentence for row in rows] == expected


# Arbitrary content

BYTES = st.binary(max_size=20) | st.sampled_from(
    [b"", b"\r", b"\xef\xbb\xbf", "温格".encode("gb18030"), b"\xed\xa0\xbd\tO"]
)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-2, 9) | st.sampled_from(["温格", "name", "", "\ud83d"]),
    lambda values: (
        st.lists(values, max_size=2) | st.dictionaries(st.sampled_from(["name", "温格", "\udc00"]), values, max_size=2)
    ),
    max_leaves=6,
)
ROWS = st.fixed_dictionaries({}, optional={"id": VALUES, "text": st.just("温格") | VALUES, "label": VALUES})
COLUMNS = st.builds("{}{}{}".format, st.characters(codec="utf-8"), st.sampled_from("\t -"), st.text(max_size=5))
TAGGED = st.sampled_from(
    ["温\tB-name", "x I-name", "x M-name", "x E-name\r", "𠀀 S-name", "x O", "x B-film", "-DOCSTART-"]
)
LINES = {
    "cluener": BYTES | ROWS.map(json.dumps).map(str.encode),
    "conll": BYTES | TAGGED.map(str.encode) | COLUMNS.map(str.encode),
}


@pytest.mark.parametrize("raw_format", ["cluener", "conll-bio", "conll-bmes", "conll-bioes"])
@given(data=st.data())
def test_every_row_has_a_sentence_or_printable_problems(scratch: Path, raw_format: str, data: st.DataObject) -> None:
    raw = b"\n".join(data.draw(st.lists(LINES[raw_format.split("-")[0]], max_size=6)))
    rows: list[Row] = []
    with contextlib.suppress(InputError):  # the file has another encoding, or an unclosed array
        rows = read(scratch, raw, raw_format)
    for row in rows:
        assert (row.sentence is None) == bool(row.problems)
        assert 1 <= row.line <= raw.count(b"\n") + 1
        for problem in row.problems:
            assert row.line <= problem.line <= row.line + row.raw.count(b"\n")
            problem.reason.encode()  # fails for a lone surrogate, as writing would
        if row.sentence is not None:
            json.dumps(row.sentence.to_dict(), ensure_ascii=False).encode()
            for entity in row.sentence.entities or ():
                assert row.sentence.text[entity.start : entity.end] == entity.text != ""


# CLUENER


def test_cluener_offsets_are_inclusive_and_ids_are_lines(scratch: Path) -> None:
    raw = '\n{"text": "𠀀温格", "label": {"name": {"温格": [[1, 2]]}, "book": {}}}\n{"text": "无", "label": {}}'
    assert [row.sentence for row in read(scratch, raw)] == [
        Sentence("train-2", "𠀀温格", (Entity("name", "温格", 1, 3),)),
        Sentence("train-3", "无", ()),
    ]


def test_cluener_entities_are_sorted_and_may_nest_and_share_offsets(scratch: Path) -> None:
    raw = '{"text": "温格温", "label": {"name": {"温": [[2, 2], [0, 0]], "温格": [[0, 1]]}, "book": {"温": [[0, 0]]}}}'
    (row,) = read(scratch, raw)
    assert row.sentence is not None
    assert [(entity.start, entity.end, entity.label) for entity in row.sentence.entities or ()] == [
        (0, 1, "book"),
        (0, 1, "name"),
        (0, 2, "name"),
        (2, 3, "name"),
    ]


def test_cluener_unlabelled_split_has_no_entities(scratch: Path) -> None:
    rows = read(scratch, '{"id": 0, "text": "温格"}\n{"id": "b", "text": "曼联"}\n')
    assert [row.sentence for row in rows] == [Sentence("0", "温格", None), Sentence("b", "曼联", None)]


def test_line_ends_are_line_feeds_only(scratch: Path) -> None:
    text = "温\u2028格\u2029的\u3000球\n队"
    rows = read(scratch, json.dumps({"text": text, "label": {}}, ensure_ascii=False) + "\n")
    assert [row.sentence for row in rows] == [Sentence("train-1", text, ())]


def test_byte_order_mark_and_crlf_are_noted_and_ignored(scratch: Path) -> None:
    raw = '\ufeff{"text": "温格"}\n{"text": "曼联"}\r\n\r\n{"text": "书"}\r\n'
    rows = read(scratch, raw)
    assert [row.sentence and row.sentence.text for row in rows] == ["温格", "曼联", "书"]
    mark, crlf = notes(scratch)
    assert (mark.line, mark.times) == (1, 1)
    assert "byte order mark" in mark.text
    assert (crlf.line, crlf.times) == (2, 2)
    assert "CRLF" in crlf.text


VALID = '{"text": "温格的书", "label": {}}'


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ('{"text": "温格"', "broken JSON at column 14: Expecting ',' delimiter, found ''"),
        ("[1, 2]", "expected a JSON object, found [1, 2]"),
        ('{"text": "a", "text": "b", "label": {}}', "key 'text' occurs twice in one object"),
        ("[" * 100_000, "broken JSON: maximum recursion depth exceeded"),
        ("9" * 5_000, "broken JSON: Exceeds the limit"),
        ('{"label": {}}', "missing key 'text'"),
        ('{"text": "温格"}', "missing key 'label'"),
        ('{"text": 3, "label": {}}', "text 3; expected a string"),
        ('{"text": "", "label": {}}', "empty text"),
        ('{"text": "", "label": {"name": {"温": [[0, 0]]}}}', "empty text"),
        ('{"text": " \u3000", "label": {}}', "empty text"),
        ('{"text": "温\\u0000格", "label": {}}', "unusable character '\\x00' in text, at offset 1"),
        ('{"text": "温\\ud83d", "label": {}}', "unusable character '\\ud83d' in text, at offset 1"),
        ('{"text": "温\x85", "label": {}}', "unusable character '\\x85' in text, at offset 1"),
        ('{"id": null, "text": "温格", "label": {}}', "id None; expected a string or a whole number"),
        ('{"id": true, "text": "温格", "label": {}}', "id True; expected a string or a whole number"),
        ('{"id": "a\\n\\u0007", "text": "温格", "label": {}}', "unusable character '\\x07' in id"),
        ('{"text": "温格", "label": []}', "label []; expected {label: {surface: [[start, end], ...]}}"),
        ('{"text": "温格", "label": {"name": []}}', "'name': []; expected {surface: [[start, end], ...]}"),
        ('{"text": "温格", "label": {"name": {"温": []}}}', "'name' '温': []; expected [[start, end], ...]"),
        ('{"text": "温格", "label": {"name": {"温": [0]}}}', "'name' '温' 0: expected [start, end]"),
        ('{"text": "温格", "label": {"name": {"温": [[0, false]]}}}', "expected [start, end], two whole numbers"),
        ('{"text": "温格", "label": {"name": {"格": [[true, 1]]}}}', "expected [start, end], two whole numbers"),
        (
            '{"text": "温格", "label": {"film": {"温": [[0, 0]]}}}',
            "unknown label 'film'; expected one of name, book, game",
        ),
        (
            '{"text": "的温格", "label": {"name": {"温格": [[1, 3]]}}}',
            "[1, 3]: out of range; the text has the offsets 0 to 2; the surface is at [1, 2]",
        ),
        ('{"text": "温格", "label": {"name": {"温格": [[-2, -1]]}}}', "out of range"),
        ('{"text": "温格", "label": {"name": {"": [[1, 0]]}}}', "out of range"),
        (
            '{"text": "的温格", "label": {"name": {"温格": [[0, 1]]}}}',
            "[0, 1]: these offsets hold '的温'; the surface is at [1, 2]",
        ),
        (
            '{"text": "的温格", "label": {"name": {"曼联": [[0, 1]]}}}',
            "these offsets hold '的温'; the surface is not in the text",
        ),
        ('{"text": "温格", "label": {"name": {"温": [[0, 0], [0, 0]]}}}', "'name' '温' at offset 0 is listed twice"),
    ],
)
def test_a_problem_of_a_cluener_row_is_reported(scratch: Path, row: str, expected: str) -> None:
    before, found, after = read(scratch, f"{VALID}\n{row}\n{VALID}\n")
    assert before.sentence is not None
    assert after.sentence is not None
    assert found.sentence is None
    assert len(found.problems) == 1
    assert found.problems[0].line == 2
    assert expected in found.problems[0].reason


def test_cluener_reports_every_problem_of_a_row(scratch: Path) -> None:
    raw = '{"id": [], "text": "温格", "label": {"film": {"温": [[0, 1]], "格": [[0, 0]]}, "name": 1}}'
    assert len(reasons(read(scratch, raw))) == 5


@pytest.mark.parametrize(
    ("encoding", "expected"),
    [("gb18030", "not UTF-8: byte 0xce at byte 1"), ("utf-16-le", "not UTF-8: byte 0xff at byte 2")],
)
def test_a_line_in_another_encoding_is_reported(scratch: Path, encoding: str, expected: str) -> None:
    raw = VALID.encode() + b"\n" + ("温格" if encoding == "gb18030" else "\uff29温").encode(encoding) + b"\n"
    assert [line for line, _ in reasons(read(scratch, raw))] == [2]
    assert expected in reasons(read(scratch, raw))[0][1]
    assert "iconv" not in reasons(read(scratch, raw))[0][1]


@pytest.mark.parametrize("encoding", ["gb18030", "utf-16"])
@pytest.mark.parametrize("raw_format", ["cluener", "conll-bio", "boson"])
def test_a_file_in_another_encoding_is_refused_with_the_command_that_converts_it(
    scratch: Path, encoding: str, raw_format: str
) -> None:
    raw = {"cluener": VALID + "\n", "conll-bio": "温\tO\n格\tO\n", "boson": "{{name:温格}}的书\n"}[raw_format] * 3
    with pytest.raises(InputError, match=f"the file is {encoding.upper()}, not UTF-8; convert it: iconv -f"):
        read(scratch, raw.encode(encoding), raw_format)


def test_one_broken_line_is_not_another_encoding(scratch: Path) -> None:
    raw = (VALID + "\n").encode() * 3 + "温".encode()[:2] + b"\n"
    assert [(line, reason.split(";")[0]) for line, reason in reasons(read(scratch, raw))] == [
        (4, "not UTF-8: byte 0xe6 at byte 1 of the line")
    ]


def test_surrogates_encoded_one_by_one_are_named(scratch: Path) -> None:
    raw = b"\xed\xa0\xbd\tO\n\xed\xb8\x80\tO\n"
    assert "half of a surrogate pair (CESU-8)" in reasons(read(scratch, raw, "conll-bio"))[0][1]


def test_duplicate_ids_name_the_first_line(scratch: Path) -> None:
    raw = '{"id": 7, "text": "温格"}\n{"id": "x", "text": "书"}\n{"id": "7", "text": "曼联"}\n'
    assert reasons(read(scratch, raw)) == [(3, "duplicate id '7': line 1 has the same id")]


def test_ids_do_not_collide_with_those_of_rows_without(scratch: Path) -> None:
    raw = '{"text": "甲"}\n{"id": "train-1", "text": "乙"}\n{"id": "train-4", "text": "丙"}\n{"text": "丁"}\n'
    assert reasons(read(scratch, raw)) == [
        (2, "id 'train-1': rows without an id, such as line 1, get ids of this form"),
        (4, "missing key 'id': line 3 already has 'train-4', the id that this line would get"),
    ]


@pytest.mark.parametrize("key", ["id", "text", "label"])
def test_deep_values_are_reported(scratch: Path, key: str) -> None:
    """Depths just below and above the JSON decoder's limit: a value below it must not be too deep for the message."""
    for depth in range(850, 1000):
        row = {"text": "温格", "label": {}} | {key: 0}
        raw = json.dumps(row).replace("0", "[" * depth + "]" * depth)
        assert len(reasons(read(scratch, raw))) == 1


def test_unlabelled_rows_among_labelled_ones_are_reported(scratch: Path) -> None:
    rows = read(scratch, f'{{"text": "温格"}}\n{VALID}\n')
    assert [line for line, _ in reasons(rows)] == [1]


def test_an_endless_line_does_not_fill_the_memory(scratch: Path) -> None:
    raw = b'{"text": "' + b"x" * 3 * MAX_ROW_BYTES + b'", "label": {}}\n' + VALID.encode()
    long, valid = read(scratch, raw)
    assert len(long.raw) <= MAX_ROW_BYTES + 1
    assert reasons([long]) == [(1, f"line of more than {MAX_ROW_BYTES} bytes; expected one sentence per line")]
    assert valid.sentence is not None
    assert valid.line == 2


# CoNLL


def test_conll_columns_and_blank_lines_are_recognised(scratch: Path) -> None:
    raw = "-DOCSTART- -X- O\n\n\n温\tB-name\n格   I-name\n  O\n𠀀 O \n \t\n-DOCSTART-\n书\tB-book\r\n名\tB-book"
    assert [row.sentence for row in read(scratch, raw, "conll-bio")] == [
        Sentence("train-4", "温格 𠀀", (Entity("name", "温格", 0, 2),)),
        Sentence("train-10", "书名", (Entity("book", "书", 0, 1), Entity("book", "名", 1, 2))),
    ]


def test_conll_labels_may_contain_hyphens(scratch: Path) -> None:
    (row,) = read(scratch, "温\tS-a-b\n", "conll-bmes", ["a-b"])
    assert row.sentence == Sentence("train-1", "温", (Entity("a-b", "温", 0, 1),))


@pytest.mark.parametrize(
    ("scheme", "columns", "expected"),
    [
        ("bio", "甲 O|乙 I-name", (2, "tag 'I-name' after 'O'; a mention begins with B-name")),
        ("bio", "甲 I-name|乙 I-name", (1, "tag 'I-name' at a sentence's start; a mention begins with B-name")),
        ("bio", "甲 B-name|乙 I-book", (2, "tag 'I-book' after 'B-name'; a mention begins with B-book")),
        ("bio", "甲 E-name", (1, "tag 'E-name'; the scheme bio has O, B-LABEL, I-LABEL")),
        ("bio", "甲 B", (1, "tag 'B'; the scheme bio has O, B-LABEL, I-LABEL")),
        ("bio", "甲 O\r\r|乙 O", (1, "tag 'O\\r'; the scheme bio has O, B-LABEL, I-LABEL")),
        ("bio", "甲 B_name", (1, "tag 'B_name'; the scheme bio has O, B-LABEL, I-LABEL")),
        ("bio", "甲 O-name", (1, "tag 'O-name'; the scheme bio has O, B-LABEL, I-LABEL")),
        ("bio", "甲 B-film|乙 I-film", (1, "unknown label 'film'; expected one of name, book, game")),
        ("bmes", "甲 B-name|乙 O", (2, "tag 'O' after 'B-name'; a mention ends with E-name")),
        ("bmes", "甲 B-name|乙 M-name", (2, "the sentence ends after 'M-name'; a mention ends with E-name")),
        ("bmes", "甲 B-name|乙 S-name", (2, "tag 'S-name' after 'B-name'; a mention ends with E-name")),
        ("bmes", "甲 E-name", (1, "tag 'E-name' at a sentence's start; a mention begins with B-name")),
        ("bmes", "甲 B-name|乙 I-name", (2, "tag 'I-name'; the scheme bmes has O, B-LABEL, M-LABEL, E-LABEL, S-LABEL")),
        ("bioes", "甲 S-name|乙 I-name|丙 E-name", (2, "tag 'I-name' after 'S-name'; a mention begins with B-name")),
        ("bioes", "甲 O|乙", (2, "expected a token, a tab or space, and a tag; found '乙'")),
        ("bioes", "甲 NN O", (1, "3 columns, but other lines have 2; found '甲 NN O'")),
        ("bioes", "甲 O|\x07 O", (2, "unusable character '\\x07'; remove it")),
        ("bioes", "\u3000 O|\u3000 O", (1, "empty text; expected a sentence")),
    ],
)
def test_a_problem_of_a_conll_sentence_is_reported(
    scratch: Path, scheme: str, columns: str, expected: tuple[int, str]
) -> None:
    raw = columns.replace("|", "\n") + "\n\n好 O\n"
    bad, good = read(scratch, raw, f"conll-{scheme}")
    assert bad.sentence is None
    assert expected in reasons([bad])
    # An unknown prefix is reported at each tag, an unknown label or an open mention once.
    assert len(bad.problems) <= 2
    assert good.sentence is not None


def test_conll_reports_every_line_that_has_no_columns(scratch: Path) -> None:
    rows = read(scratch, "甲 O\n乙 丙 O\n丁\n".encode() + "戊 O\n".encode("gb18030") + b"\xff O\n", "conll-bio")
    assert [line for line, _ in reasons(rows)] == [2, 3, 4, 5]


def test_conll_without_blank_lines_does_not_fill_the_memory(scratch: Path) -> None:
    endless, valid = read(scratch, "温\tO\n" * (MAX_ROW_BYTES // 2) + "\n格\tO\n", "conll-bio")
    assert len(endless.raw) <= 2 * MAX_ROW_BYTES
    assert "expected a blank line after each" in reasons([endless])[0][1]
    assert valid.sentence is not None
