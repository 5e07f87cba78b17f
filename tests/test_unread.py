"""Files that no reader takes: what messages say about them, and the commands that convert them."""

from __future__ import annotations

import contextlib
import json
import subprocess
import zipfile
from pathlib import Path
from typing import Any

import pyarrow
import pytest
from corpora import as_lines, found, read
from helpers import ENVIRONMENT, run_script
from hypothesis import given
from hypothesis import strategies as st
from pyarrow import parquet

from entitune.cli import InputError
from entitune.corpus.recognise import recognise
from entitune.corpus.sources import Source, other_encoding
from entitune.corpus.unread import advise

PLACES: list[tuple[str, list[tuple[int, int, str]]]] = [
    ("王小明在上海看病。", [(0, 3, "PER"), (4, 6, "LOC")]),
    ("没有。", []),
    ("他是京人", [(2, 3, "LOC")]),
]
TAGS = [["B-PER", "I-PER", "I-PER", "O", "B-LOC", "I-LOC", "O", "O", "O"], ["O"] * 3, ["O", "O", "B-LOC", "O"]]
ROWS = [{"text": text, "label": [[start, end, label] for start, end, label in spans]} for text, spans in PLACES]


def conll(separator: str, tag: dict[str, str], end: str = "\n") -> str:
    """Return CoNLL in which each tag begins or ends with another prefix, given by the usual one."""
    raw = ""
    for (text, _), tags in zip(PLACES, TAGS, strict=True):
        for token, usual in zip(text, tags, strict=True):
            raw += f"{token}{separator}{tag.get(usual[0], usual[0])}{usual[1:]}{end}"
        raw += end
    return raw


def tokens(mentions: Any) -> list[dict[str, Any]]:
    """Return rows with tokens and mentions, each made by a function of start, end and label."""
    return [{"t": list(text), "m": [mentions(*span) for span in spans]} for text, spans in PLACES]


def renamed(rows: list[dict[str, Any]], **names: str) -> list[dict[str, Any]]:
    return [{names.get(key, key): value for key, value in row.items()} for row in rows]


def bilou() -> str:
    raw = conll("\t", {})
    return raw.replace("明\tI", "明\tL").replace("海\tI", "海\tL").replace("京\tB", "京\tU")


PAIRS = [[row["text"], {"entities": row["label"]}] for row in ROWS]
TAGGED = [{"text": text, "labels": " ".join(tags)} for (text, _), tags in zip(PLACES, TAGS, strict=True)]
CSV_TAGS = "text,labels\n" + "".join(f"{row['text']},{row['labels']}\n" for row in TAGGED)
MARKED = PLACES[:1]

CONVERTED: dict[str, tuple[str, str, list[tuple[str, list[tuple[int, int, str]]]]]] = {
    "under a key": (json.dumps({"version": 1, "data": ROWS}, indent=1), "its rows under 'data'", PLACES),
    "under a key in one line": (json.dumps({"version": 1, "data": ROWS}), "its rows under 'data'", PLACES),
    "by id": (json.dumps({str(number): row for number, row in enumerate(ROWS)}), "a JSON object of rows", PLACES),
    "columns": (json.dumps({key: [row[key] for row in ROWS] for key in ROWS[0]}), "object of columns", PLACES),
    "arrays": (json.dumps([ROWS[:1], ROWS[1:]]), "a JSON array of arrays", PLACES),
    "over several lines": ("\n".join(json.dumps(row, indent=1) for row in ROWS), "objects over several lines", PLACES),
    "one object": (json.dumps(ROWS[0], indent=1), "JSON object over several lines", PLACES[:1]),
    "comma after the last": (json.dumps(ROWS)[:-1] + ",\n]", "a comma after its last object", PLACES),
    "commas after lines": (as_lines(ROWS).replace("}\n", "},\n"), "commas that are missing or too many", PLACES),
    "no commas": (f"[\n{as_lines(ROWS)}]", "commas that are missing or too many", PLACES),
    "spaCy": (json.dumps(PAIRS), "pairs of a text and its entities", PLACES),
    "spaCy lines": (as_lines(PAIRS), "pairs of a text and its entities", PLACES),
    "spaCy annotator": (json.dumps({"classes": ["PER"], "annotations": PAIRS}), "under 'annotations'", PLACES),
    "Python": (repr([(text, given) for text, given in PAIRS]), "Python's notation", PLACES),
    "Python lines": ("".join(f"{row!r}\n" for row in ROWS), "Python's notation", PLACES),
    "GLiNER": (
        as_lines(renamed(tokens(lambda s, e, label: [s, e - 1, label]), t="tokenized_text", m="ner")),
        "offsets count tokens",
        PLACES,
    ),
    "SpERT": (
        json.dumps(
            renamed(tokens(lambda s, e, label: {"start": s, "end": e, "type": label}), t="tokens", m="entities")
        ),
        "offsets count tokens",
        PLACES,
    ),
    "W2NER": (
        json.dumps(
            renamed(tokens(lambda s, e, label: {"index": [*range(s, e)], "type": label}), t="sentence", m="ner")
        ),
        "lists of tokens",
        PLACES,
    ),
    "mentions as text": (
        as_lines([{**row, "label": json.dumps(row["label"])} for row in ROWS]),
        "mentions as JSON in a text",
        PLACES,
    ),
    "tags as text": (as_lines(TAGGED), "tags as one text", PLACES),
    "tags of a text": (as_lines([{**row, "labels": row["labels"].split()} for row in TAGGED]), "tags as one", PLACES),
    "tags in CSV": (CSV_TAGS, "lines of a text and its tags", PLACES),
    "mentions first in TSV": (
        "王 来\tB-PER O\n李 来\tB-PER O\n",
        "its tags",
        [("王来", [(0, 1, "PER")]), ("李来", [(0, 1, "PER")])],
    ),
    "tags in TSV": ("".join(f"{' '.join(row['text'])}\t{row['labels']}\n" for row in TAGGED), "its tags", PLACES),
    "tokens in CSV": (
        "Sentence #,Word,POS,Tag\n"
        + "".join(
            f"{'' if place else 'S'},{token},x,{tag}\n"
            for (text, _), tags in zip(PLACES, TAGS, strict=True)
            for place, (token, tag) in enumerate(zip(text, tags, strict=True))
        ),
        "a token per row",
        PLACES,
    ),
    "tags after each sentence": (
        "".join(f"{' '.join(row['text'])}\n{row['labels']}\n\n" for row in TAGGED),
        "a line of tags after each sentence",
        PLACES,
    ),
    "mentions in TSV": (
        "".join(f"{row['text']}\t{json.dumps(row['label'])}\n" for row in ROWS),
        "lines of a text and its mentions",
        PLACES,
    ),
    "mentions by label": (
        as_lines(
            [
                {
                    "text": text,
                    "entities": {label: [{"start": s, "end": e, "text": text[s:e]}] for s, e, label in spans},
                }
                for text, spans in PLACES
            ]
        ),
        "mentions under 'entities' by label",
        PLACES,
    ),
    "Python in CSV": (
        "n;words;tags\n" + "".join(f"1;{list(text)};{tags}\n" for (text, _), tags in zip(PLACES, TAGS, strict=True)),
        "lists in Python's notation",
        PLACES,
    ),
    "CMeEE 1": (
        "".join(
            f"{text}|||" + "".join(f"{s} {e - 1} {label}|||" for s, e, label in spans) + "\n" for text, spans in PLACES
        ),
        "CMeEE's lines",
        PLACES,
    ),
    "BILOU": (bilou(), "tags of BILOU", PLACES),
    "BILOU lists": (
        as_lines(
            [{"tokens": list("王小来"), "ner_tags": ["B-PER", "L-PER", "O"]}, {"tokens": ["京"], "ner_tags": ["U-LOC"]}]
        ),
        "tags of BILOU",
        [("王小来", [(0, 2, "PER")]), ("京", [(0, 1, "LOC")])],
    ),
    "underscores": (conll(" ", {}).replace("-", "_"), "tags with _", PLACES),
    "commas": (conll(",", {}), "tags after a comma", PLACES),
    "zeros": (conll("\t", {"O": "0"}), "tags with 0", PLACES),
    "no O": (conll("\t", {"O": ""}), "tokens without the tag O", PLACES),
    "CR": (conll("\t", {}, "\r"), "CR alone", PLACES),
    "elements": ("<PER>王小明</PER>在<LOC>上海</LOC>看病。\n", "mentions in XML elements", MARKED),
    "NAMEX": (
        '<NAMEX TYPE="PER">王小明</NAMEX>在<NAMEX TYPE="LOC">上海</NAMEX>看病。\n',
        "mentions in XML elements",
        MARKED,
    ),
    "YEDDA": ("[@王小明#PER*]在[@上海#LOC*]看病。\n", "YEDDA's marks", MARKED),
    "Rasa": ("- [王小明](PER)在[上海](LOC)看病。\n", "Rasa's marks", MARKED),
    "words": (
        "王小明/nr  在/p  [上海/ns  大学/n]nt  。/w\n",
        "words with tags",
        [("王小明在上海大学。", [(0, 3, "nr"), (4, 8, "nt")])],
    ),
}


@pytest.mark.parametrize("name", CONVERTED)
def test_the_command_of_a_message_converts_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    raw, about, expected = CONVERTED[name]
    monkeypatch.chdir(tmp_path)
    Path("my train.x").write_text(raw, encoding="utf-8", newline="")
    source = Source.of(["my train.x"])
    assert recognise(source) is None
    advice = advise(source)
    assert advice is not None
    assert about in advice
    assert "\n" not in advice
    command = advice.partition(". To convert it: ")[2]
    environment = {**ENVIRONMENT, "PYTHONUTF8": "1"}
    done = subprocess.run(["bash", "-c", command], env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    (new,) = tmp_path.glob("my train.converted*")
    recognised = recognise(Source.of([new]))
    assert recognised is not None
    assert found(read(new, None, recognised.format, None, **recognised.options)) == expected


KEYS = st.sampled_from(
    ["text", "label", "labels", "entities", "start", "end", "tokens", "ner_tags", "data", "annotations"]
)
VALUES = st.recursive(
    st.one_of(
        st.none(), st.booleans(), st.integers(-1, 5), st.sampled_from(["王小明", "B-PER", "O O", "[1]", "王", ""])
    ),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(KEYS, inner, max_size=4)),
    max_leaves=12,
)


@given(rows=st.lists(st.one_of(VALUES, st.dictionaries(KEYS, VALUES, min_size=1, max_size=4)), min_size=1, max_size=3))
def test_any_json_is_examined_without_a_crash(tmp_path_factory: pytest.TempPathFactory, rows: list[Any]) -> None:
    path = tmp_path_factory.getbasetemp() / "any.jsonl"
    path.write_text(as_lines(rows), encoding="utf-8")
    source = Source.of([path])
    advise(source)
    if recognised := recognise(source):
        with contextlib.suppress(InputError):
            read(path, None, recognised.format, None, **recognised.options)


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (b"", "an empty file"),
        (b"\xef\xbb\xbf\n \n", "an empty file"),
        (b"[]", "an empty JSON array"),
        (b"\x1f\x8b\x08", "gunzip"),
        (b"\xd0\xcf\x11\xe0\n", "Office document"),
        (b"SQLite format 3\x00", "SQLite"),
        (b"version https://git-lfs.github.com/spec/v1\n", "git lfs pull"),
        (b"<!DOCTYPE html>\n", "an HTML page"),
        ("T1\tPER 0 3\t王小明\n".encode(), "brat's annotation without its text"),
        ("王小明\t0\t2\tPER\n".encode(), "mentions without their text"),
        ("王\n小\n\n明\n".encode(), "tokens without tags"),
        ("王 PER\n小 PER\n来 O\n".encode(), "tags without B- and I-"),
        (as_lines([{"messages": []}]).encode(), "chats without offsets"),
        (as_lines([{"instruction": "", "input": "王", "output": "王"}]).encode(), "instructions and answers without"),
        (as_lines([{"content": "王", "result_list": [], "prompt": "PER"}]).encode(), "UIE's rows"),
        (
            as_lines([{"text": "王", "entities": [{"name": "王", "type": "PER"}]}]).encode(),
            "without offsets of mentions",
        ),
        (as_lines([{"text": "王", "entities": {"PER": ["王"]}}]).encode(), "without offsets of mentions"),
        (
            as_lines([{"text": "王", "ents": [{"a": "0", "b": "1", "type": "PER"}]}]).encode(),
            "(a, b) are not all whole numbers",
        ),
        (
            as_lines([{"text": "好王", "ents": [{"a": 2, "b": 2, "type": "PER", "word": "王"}]}]).encode(),
            "count from 1: subtract 1 from 'a', then describe it: format: json, mapping: {text: text, mentions: ents, "
            "start: a, end: b, label: type, surface: word}",
        ),
        (
            as_lines([{"text": "好王", "ents": [{"a": 3, "b": 6, "type": "PER", "word": "王"}]}]).encode(),
            "offsets count bytes",
        ),
        (
            as_lines(
                [{"text": "好人王小明", "ents": [{"offset": 2, "length": 3, "type": "PER", "word": "王小明"}]}]
            ).encode(),
            "add an end, offset + length",
        ),
        (
            as_lines([{"text": "好王", "ents": [{"a": 1, "b": 2, "type": "PER"}]}]).encode(),
            "label: type, inclusive: true}, or with inclusive: false",
        ),
        (
            as_lines(
                [{"text": "王", "ents": [{"a": 0, "b": 1, "type": t, "kind": t * 2, "w": "王"}]} for t in "AB"]
            ).encode(),
            "Choose the label (type, kind), and describe it: format: json, mapping: {text: text, mentions: ents, "
            "start: a, end: b, label: type, surface: w}",
        ),
        (
            as_lines([{"text": "王", "ents": [{"start": 0, "type": "PER", "word": "王"}]}]).encode(),
            "add an end, start + the length of word",
        ),
        (b"# rows\n" + as_lines([{"text": "", "label": []}]).encode(), "after a line that is not JSON"),
        ("你好\n再见\n".encode(), None),
        (b'{"a": 1, "b": [[]]}\n', None),
    ],
)
def test_a_message_names_the_kind_of_a_file(tmp_path: Path, raw: bytes, expected: str | None) -> None:
    (tmp_path / "raw").write_bytes(raw)
    source = Source.of([tmp_path / "raw"])
    assert recognise(source) is None
    advice = advise(source)
    assert (advice is None) is (expected is None)
    assert (expected or "") in (advice or "")


def test_archives_folders_and_pairs_are_described(tmp_path: Path) -> None:
    for name, member in (("a.zip", "all.jsonl"), ("a.xlsx", "xl/workbook.xml")):
        with zipfile.ZipFile(tmp_path / name, "w") as archive:
            archive.writestr(member, "{}")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "data.json").write_text("{}", encoding="utf-8")
    (tmp_path / "a.txt").write_text("王 来\n", encoding="utf-8")
    (tmp_path / "a.ann").write_text("", encoding="utf-8")
    (tmp_path / "tags").write_text("B-PER O\n", encoding="utf-8")
    expected = {
        ("a.zip",): "an archive of all.jsonl: unpack it",
        ("a.xlsx",): "an Office document",
        ("folder",): "a folder with data.json: give one file",
        ("a.txt", "a.ann"): "brat's .txt and .ann files: give their folder",
        ("tags", "a.txt"): "a file of tags before its file of sentences",
    }
    for names, about in expected.items():
        source = Source.of([tmp_path / name for name in names])
        assert recognise(source) is None
        assert about in str(advise(source))


def test_parquet_is_described(tmp_path: Path) -> None:
    parquet.write_table(pyarrow.table({"text": ["王"], "n": [1]}), tmp_path / "raw")
    assert "parquet without tokens and tags. To convert it: " in str(advise(Source.of([tmp_path / "raw"])))
    content = (tmp_path / "raw").read_bytes()
    (tmp_path / "raw").write_bytes(content[:-9])
    with pytest.raises(InputError, match="the parquet file is damaged"):
        advise(Source.of([tmp_path / "raw"]))


def test_scripts_give_the_advice(tmp_path: Path) -> None:
    (tmp_path / "dev.json").write_text(json.dumps(PAIRS), encoding="utf-8")
    (tmp_path / "train.json").write_text('{"text": "王", "label": [[0, 1\n', encoding="utf-8")
    done = run_script("inspect_corpus", "dev.json", "train.json", cwd=tmp_path)
    assert done.returncode == 1
    first, second = done.stderr.splitlines()
    assert first.startswith("error: train.json:1: broken JSON at column ")
    assert second.startswith("dev.json: this looks like pairs of a text and its entities. To convert it: python -c '")
    arguments = ("--raw", "dev.json", "--labels", "PER,LOC", "--split", "dev", "--output", "o", "--dropped", "d")
    done = run_script("convert_dataset", *arguments, "--format", "doccano", cwd=tmp_path)
    assert done.returncode == 1
    assert "This looks like pairs of a text and its entities. To convert it: python -c '" in done.stderr


CHINESE = "历史学院与国际关系学会的会员们发现这里没有书籍"
TRADITIONAL = "歷史學院與國際關係學會的會員們發現這裡沒有書籍"


@pytest.mark.parametrize(
    ("text", "encoding", "expected"),
    [
        (CHINESE, "gb2312", "GB18030"),
        (TRADITIONAL, "gb18030", "GB18030"),
        (TRADITIONAL, "big5", "BIG5-HKSCS"),
        (CHINESE, "utf-16", "UTF-16"),
        (CHINESE, "utf-16-le", "UTF-16LE"),
        (CHINESE, "utf-16-be", "UTF-16BE"),
        (CHINESE, "utf-32", "UTF-32"),
        (CHINESE, "utf-8", None),
        (CHINESE, "utf-8-sig", None),
        ("", "utf-8", None),
    ],
)
def test_the_encoding_is_named(tmp_path: Path, text: str, encoding: str, expected: str | None) -> None:
    raw = "".join(f"{character}\tO\n" for character in text).encode(encoding)
    (tmp_path / "raw").write_bytes(raw)
    message = other_encoding(tmp_path / "raw")
    assert message == (expected and f"{expected}, not UTF-8; convert it: iconv -f {expected} -t UTF-8 FILE > NEW_FILE")
