"""The input of extract_entities.py: one sentence per line, documents, columns; the sentences of a document."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import pytest

from entitune.cli import InputError
from entitune.serving.texts import Document, read_column, read_files, read_lines


def parts(text: str) -> list[str]:
    return [text[start:end] for start, end in Document("x", text).sentences()]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("温格战胜曼联。他很高兴！真的？是", ["温格战胜曼联。", "他很高兴！", "真的？", "是"]),
        ("他说：“走吧！”然后走了。", ["他说：“走吧！”", "然后走了。"]),
        ("第一行\n\n  第二行\r\n第三行\u2028第四行", ["第一行", "第二行", "第三行", "第四行"]),
        ("涨了3.5%。见 example.com/?q=1 吧", ["涨了3.5%。", "见 example.com/?q=1 吧"]),
        ("He left. She stayed!  (Why?) Nobody knows.", ["He left.", "She stayed!", "(Why?)", "Nobody knows."]),
        ("真的？！！好。", ["真的？！！", "好。"]),
        ("他想……还是算了", ["他想……还是算了"]),
        ("", [""]),
        (" \n\t\u3000", [""]),
        ("。", ["。"]),
    ],
)
def test_a_document_is_divided_at_the_ends_of_its_sentences(text: str, expected: list[str]) -> None:
    assert parts(text) == expected


def test_only_white_space_is_left_out_and_offsets_refer_to_the_document() -> None:
    text = "  甲。乙！\n\n丙 . 丁\U00020000？戊\r"
    bounds = Document("x", text).sentences()
    outside = "".join(
        text[end:start] for (_, end), (start, _) in zip([(0, 0), *bounds], [*bounds, (None, 0)], strict=True)
    )
    assert outside.strip() == ""
    assert bounds == sorted(bounds)


def test_an_undivided_text_is_one_unchanged_sentence() -> None:
    assert Document(1, " 甲。\n乙。 ", whole=True).sentences() == [(0, 7)]


def read(documents: Iterable[Document]) -> list[tuple[str | int, str]]:
    return [(document.source, document.text) for document in documents]


def test_lines_have_no_byte_order_mark_and_no_line_ends(tmp_path: Path) -> None:
    path = tmp_path / "lines.txt"
    path.write_bytes("\ufeff甲\r\n\r\n 乙\u2028丙 \n丁".encode())
    assert read(read_lines(path)) == [(1, "甲"), (2, ""), (3, " 乙\u2028丙 "), (4, "丁")]
    assert all(document.whole for document in read_lines(path))


def test_each_file_is_a_document(tmp_path: Path) -> None:
    one, two = tmp_path / "一.txt", tmp_path / "2.txt"
    one.write_bytes("\ufeff甲。\r\n乙。".encode())
    two.write_bytes(b"")
    assert read(read_files([one, two])) == [(str(one), "甲。\r\n乙。"), (str(two), "")]


def test_a_column_of_a_table_is_read_with_its_line_numbers(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    path.write_bytes('\ufeffid,正文\r\n1,"甲,""乙""\r\n丙"\r\n\r\n2,丁\r\n'.encode())
    assert read(read_column(path, "正文")) == [(2, '甲,"乙"\r\n丙'), (5, "丁")]
    path = tmp_path / "table.tsv"
    path.write_text("id\ttext\n1\t" + "长" * 200_000 + "\n", encoding="utf-8")
    assert read(read_column(path, "text")) == [(2, "长" * 200_000)]


def test_a_key_of_json_lines_is_read(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text('\ufeff{"text": "甲\\n乙"}\n\n{"id": 1, "text": ""}\n', encoding="utf-8")
    assert read(read_column(path, "text")) == [(1, "甲\n乙"), (3, "")]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("x.txt", "甲\n".encode() + b"\xbc\xd7\n", "x.txt:2: not UTF-8; convert it, for example with iconv"),
        ("x.csv", b"id,body\n1,a\n", "x.csv:1: expected one column 'text'; the columns are: id, body"),
        ("x.csv", b"text,text\n1,a\n", "x.csv:1: expected one column 'text'; the columns are: text, text"),
        ("x.csv", b"", "x.csv:1: expected one column 'text'; the columns are: none"),
        ("x.csv", b"id,text\n1,a\n2\n", "x.csv:3: 1 fields, but the header has 2"),
        ("x.csv", b'id,text\n1,a\n2,"b\n', "x.csv:3: unexpected end of data"),
        ("x.jsonl", b'{"text": "a"}\n{"body": "b"}\n', "x.jsonl:2: there is no key 'text'"),
        ("x.jsonl", b'{"text": 1}\n', "x.jsonl:1: expected a JSON object with a text as 'text'"),
        ("x.jsonl", b'{"text": "\\ud800"}\n', "x.jsonl:1: expected a JSON object with a text as 'text'"),
        ("x.jsonl", b'["text"]\n', "x.jsonl:1: expected a JSON object with a text as 'text'"),
        ("x.jsonl", b"text\n", "x.jsonl:1: expected a JSON object with a text as 'text'"),
        ("x.xlsx", b"", "x.xlsx: --column needs a file that ends in .jsonl, .csv or .tsv"),
    ],
)
def test_input_that_cannot_be_read_is_named(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(InputError) as caught:
        list(read_lines(path) if path.suffix == ".txt" else read_column(path, "text"))
    assert message in str(caught.value)
