"""Every raw format of formats.py: round trips, realistic examples, and refused input with the reasons."""

from __future__ import annotations

import itertools
import json
import random
import tarfile
import zipfile
from collections import Counter
from pathlib import Path
from typing import Any, get_args

import pyarrow
import pytest
from corpora import (
    CHARACTERS,
    LABELS,
    as_lines,
    found,
    notes,
    places,
    read,
    reasons,
    sentences,
    tags_of,
    to_cluener,
    to_conll,
    with_ids,
)
from hypothesis import assume, given
from hypothesis import strategies as st
from pyarrow import parquet
from pydantic import ValidationError
from seqeval.metrics.sequence_labeling import get_entities

from entitune.cli import InputError
from entitune.corpus import json_objects
from entitune.corpus.formats import FORMATS, check_options
from entitune.corpus.mention_lists import DIALECTS, write_mention_lists
from entitune.corpus.options import CorpusOptions, Format
from entitune.corpus.sources import pack
from entitune.records import Entity, Sentence

TEXT = "王小明在上海看病。"
MENTION = [(0, 3, "name")]
MAPPING = {"text": "t", "mentions": "m", "start": "span.0", "end": "span.1", "label": "kind", "surface": "s"}
NO_BRACES = CHARACTERS.filter(lambda character: character not in "{}")


@pytest.fixture(scope="session")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("formats")


def as_array(rows: list[dict[str, Any]]) -> str:
    return json.dumps(rows, ensure_ascii=False, indent=2)


# Round trips


@pytest.mark.parametrize(
    ("name", "dialect"), [(name, dialect) for name, dialects in DIALECTS.items() for dialect in dialects]
)
@given(corpus=st.lists(sentences(), min_size=1, max_size=4), write=st.sampled_from([as_lines, as_array]))
def test_mention_lists_round_trip(scratch: Path, name: str, dialect: Any, corpus: list[Sentence], write: Any) -> None:
    corpus = with_ids(corpus)
    rows = read(scratch / "raw", write(list(write_mention_lists(corpus, dialect))), name)
    assert [row.sentence for row in rows] == corpus


@pytest.mark.parametrize("inclusive", [False, True])
@given(corpus=st.lists(sentences(), min_size=1, max_size=4))
def test_a_mapping_round_trip(scratch: Path, inclusive: bool, corpus: list[Sentence]) -> None:
    corpus = with_ids(corpus)
    rows = [
        {
            "id": one.id,
            "t": one.text,
            "m": [{"span": [start, end - inclusive], "kind": label} for start, end, label in places(one)],
        }
        for one in corpus
    ]
    mapping = {**MAPPING, "surface": None, "inclusive": inclusive}
    assert [row.sentence for row in read(scratch / "raw", as_lines(rows), "json", mapping=mapping)] == corpus


@given(corpus=st.lists(sentences(), min_size=1, max_size=4))
def test_a_cluener_array_is_read_like_its_lines(scratch: Path, corpus: list[Sentence]) -> None:
    rows = [json.loads(to_cluener(sentence)) for sentence in with_ids(corpus)]
    assert [row.sentence for row in read(scratch / "raw", as_array(rows))] == with_ids(corpus)


def task(sentence: Sentence, where: str) -> dict[str, Any]:
    regions = [
        {"start": start, "end": end, "text": sentence.text[start:end], "labels": [label]}
        for start, end, label in places(sentence)
    ]
    if where == "min":
        return {"id": 1, "sentence_id": sentence.id, "text": sentence.text, "ner": regions, "annotator": 1}
    results = [{"type": "labels", "from_name": "label", "to_name": "text", "value": region} for region in regions]
    return {"id": 1, "data": {"text": sentence.text, "sentence_id": sentence.id}, where: [{"result": results}]}


@pytest.mark.parametrize("where", ["annotations", "completions", "predictions", "min"])
@given(corpus=st.lists(sentences(), min_size=1, max_size=4).filter(lambda corpus: any(one.entities for one in corpus)))
def test_label_studio_round_trip(scratch: Path, where: str, corpus: list[Sentence]) -> None:
    corpus = with_ids(corpus)
    raw = as_array([task(sentence, where) for sentence in corpus])
    rows = read(scratch / "raw", raw, "label-studio", use_predictions=where == "predictions")
    assert [row.sentence for row in rows] == corpus


@pytest.mark.parametrize("scheme", ["bio", "bmes", "bioes"])
@given(corpus=st.lists(sentences(disjoint=True), min_size=1, max_size=4), write=st.sampled_from([as_lines, as_array]))
def test_huggingface_round_trip(scratch: Path, scheme: str, corpus: list[Sentence], write: Any) -> None:
    corpus = with_ids(corpus)
    rows = [{"id": one.id, "tokens": list(one.text), "ner_tags": tags_of(one, scheme)} for one in corpus]
    assert [row.sentence for row in read(scratch / "raw", write(rows), "huggingface", scheme=scheme)] == corpus


@given(corpus=st.lists(sentences(disjoint=True), min_size=1, max_size=4), named=st.booleans())
def test_parquet_round_trip(scratch: Path, corpus: list[Sentence], named: bool) -> None:
    corpus = with_ids(corpus)
    names = ["O", *(f"{prefix}-{label}" for label in LABELS for prefix in "BI")]
    table = pyarrow.table(
        {
            "id": [one.id for one in corpus],
            "tokens": [list(one.text) for one in corpus],
            "ner_tags": [[names.index(tag) for tag in tags_of(one)] for one in corpus],
        }
    )
    if named:  # like the library `datasets`
        features = {"ner_tags": {"feature": {"names": names, "_type": "ClassLabel"}, "_type": "Sequence"}}
        table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    parquet.write_table(table, scratch / "raw")
    options: dict[str, Any] = {} if named else {"tag_names": names}
    assert [row.sentence for row in read(scratch / "raw", None, "huggingface", **options)] == corpus


@pytest.mark.parametrize("scheme", ["bio", "bmes", "bioes"])
@given(corpus=st.lists(sentences(disjoint=True), min_size=1, max_size=4))
def test_parallel_round_trip(scratch: Path, scheme: str, corpus: list[Sentence]) -> None:
    assume(not corpus[0].text.startswith("\ufeff"))  # it would be a byte order mark at the start of the file
    texts, tags = scratch / "texts", scratch / "tags"
    texts.write_bytes("".join(f"{one.text}\n" for one in corpus).encode())
    tags.write_bytes("".join(" ".join(tags_of(one, scheme)) + "\n" for one in corpus).encode())
    rows = read([texts, tags], None, "parallel", scheme=scheme)
    assert [row.sentence for row in rows] == [
        Sentence(f"train-{line}", one.text, one.entities) for line, one in enumerate(corpus, 1)
    ]


@given(
    corpus=st.lists(
        st.tuples(
            st.lists(st.text("温格A1é❤\ufe0f ", min_size=1, max_size=3).filter(str.strip), min_size=1, max_size=6),
            st.data(),
        ),
        min_size=1,
        max_size=3,
    ),
    spaces=st.booleans(),
    columns=st.integers(2, 4),
)
def test_conll_tokens_and_columns_of_any_kind_are_read(
    scratch: Path, corpus: list[tuple[list[str], st.DataObject]], spaces: bool, columns: int
) -> None:
    """Tokens of several characters, also with spaces, and more columns; offsets refer to the joined text."""
    raw, expected, separator = "", [], " " if spaces else ""
    for tokens, data in corpus:
        tokens = [token.strip() for token in tokens]
        start = data.draw(st.integers(0, len(tokens) - 1))
        end = data.draw(st.integers(start + 1, len(tokens)))
        tags = ["O"] * start + ["B-name"] + ["I-name"] * (end - start - 1) + ["O"] * (len(tokens) - end)
        for token, tag in zip(tokens, tags, strict=True):
            raw += "\t".join([token, *["_"] * (columns - 2), tag]) + "\n"
        raw += "\n"
        text = separator.join(tokens)
        offset = len(separator.join([*tokens[:start], ""])) if start else 0
        expected.append((text, [(offset, offset + len(separator.join(tokens[start:end])), "name")]))
    assert found(read(scratch / "raw", raw, "conll-bio", spaces=spaces)) == expected


@given(documents=st.lists(st.lists(sentences(), min_size=1, max_size=3), min_size=1, max_size=3), crlf=st.booleans())
def test_brat_round_trip(scratch: Path, documents: list[list[Sentence]], crlf: bool) -> None:
    expected = []
    with zipfile.ZipFile(scratch / "raw", "w") as archive:
        for number, document in enumerate(documents):
            text, annotation = "", ""
            for line, sentence in enumerate(document, 1):
                plain = sentence.text.lstrip("\ufeff") if line == 1 else sentence.text
                sentence = sentence if plain == sentence.text else Sentence("", plain, ())
                if not plain.strip("\ufeff \t"):
                    sentence = Sentence("", "空", ())
                for start, end, label in places(sentence):
                    surface = sentence.text[start:end]
                    annotation += f"T{len(annotation)}\t{label} {len(text) + start} {len(text) + end}\t{surface}\n"
                text += sentence.text + ("\r\n" if crlf else "\n")
                expected.append(Sentence(f"{number}-{line}", sentence.text, sentence.entities))
            archive.writestr(f"{number}.txt", text)
            archive.writestr(f"{number}.ann", annotation)
    assert [row.sentence for row in read(scratch / "raw", None, "brat")] == expected


@given(corpus=st.lists(sentences(disjoint=True, characters=NO_BRACES), min_size=1, max_size=4))
def test_boson_round_trip(scratch: Path, corpus: list[Sentence]) -> None:
    raw = ""
    for sentence in corpus:
        end = 0
        for start, stop, label in places(sentence):
            raw += f"{sentence.text[end:start]}{{{{{label}:{sentence.text[start:stop]}}}}}"
            end = stop
        raw += sentence.text[end:] + "\n"
    assert [row.sentence for row in read(scratch / "raw", raw, "boson")] == [
        Sentence(f"train-{line}", one.text, one.entities) for line, one in enumerate(corpus, 1)
    ]


# Examples


@pytest.mark.parametrize(
    ("name", "row"),
    [
        ("doccano", {"id": 1, "text": TEXT, "label": [[0, 3, "name"]], "Comments": []}),
        ("doccano", {"id": 1, "text": TEXT, "labels": [[0, 3, "name"]], "meta": {}}),
        (
            "doccano",
            {
                "id": 1,
                "text": TEXT,
                "relations": [],
                "entities": [{"id": 7, "label": "name", "start_offset": 0, "end_offset": 3}],
            },
        ),
        (
            "entity-list",
            {
                "text": TEXT,
                "entity_list": [{"entity_index": {"begin": 0, "end": 3}, "entity_type": "name", "entity": "王小明"}],
            },
        ),
        (
            "cmeee",
            {"text": TEXT, "entities": [{"start_idx": 0, "end_idx": 2, "type": "name", "entity": "王小明"}]},
        ),
        (
            "ccks",
            {
                "originalText": TEXT,
                "entities": [{"label_type": "name", "overlap": 0, "start_pos": 0, "end_pos": 3}],
            },
        ),
        ("spans", {"text": TEXT, "spans": [{"start": 0, "end": 3, "label": "name"}], "answer": "accept"}),
        (
            "entitune",
            {"id": "a", "text": TEXT, "entities": [{"label": "name", "text": "王小明", "start": 0, "end": 3}]},
        ),
        ("huggingface", {"tokens": ["王小明", *"在上海看病。"], "ner_tags": ["B-name", *["O"] * 6]}),
        ("label-studio", {"id": 3, "text": TEXT, "label": [{"start": 0, "end": 3, "labels": ["name"]}]}),
        (
            "label-studio",
            {
                "id": 3,
                "data": {"text": TEXT},
                "annotations": [
                    {"was_cancelled": True, "result": []},
                    {
                        "result": [
                            {"type": "labels", "value": {"start": 0, "end": 3, "text": "王小明", "labels": ["name"]}},
                            {"type": "choices", "value": {"choices": ["good"]}},
                        ]
                    },
                ],
                "predictions": [],
            },
        ),
    ],
)
@pytest.mark.parametrize("write", [as_lines, as_array])
def test_realistic_rows_are_read(scratch: Path, name: str, row: dict[str, Any], write: Any) -> None:
    assert found(read(scratch / "raw", write([row]), name)) == [(TEXT, MENTION)]


@pytest.mark.parametrize(
    ("raw", "options", "expected"),
    [
        ("王小明 B-name\n来 O\n", {}, ("王小明来", MENTION)),
        ("EU B-name\nrejects O\nit O\n", {"spaces": True}, ("EU rejects it", [(0, 2, "name")])),
        ("New York\tB-name\nis\tO\n", {"spaces": True}, ("New York is", [(0, 8, "name")])),
        ("-DOCSTART- -X- O O\n\n北 NR B-NP B-name\n京 NR I-NP I-name\n", {}, ("北京", [(0, 2, "name")])),
        ("王 -X- _ B-name\n来 -X- _ O\n", {}, ("王来", [(0, 1, "name")])),
        (
            "# sent_id = 1\n# text = 北京好\n1\t北京\tB-name\t-\t-\n2\t好\tO\t-\t-\n",
            {"columns": {"token": 1, "tag": 2}},
            ("北京好", [(0, 2, "name")]),
        ),
        ("#\tO\n王\tB-name\n", {}, ("#王", [(1, 2, "name")])),
        ("# O\n王 B-name\n", {}, ("#王", [(1, 2, "name")])),
        ("  O\n\u3000 O\n\xa0\tO\n王\tB-name\n", {}, (" \u3000\xa0王", [(3, 4, "name")])),
        ("❤️\tO\n王\tB-name\n", {}, ("❤️王", [(2, 3, "name")])),
        ("王0\tB-name\n明1\tI-name\n20\tO\n", {}, ("王明2", [(0, 2, "name")])),
        (
            "王 I-name\n明 I-name\n来 O\n李 I-name\n",
            {"repair_iob1": True},
            ("王明来李", [(0, 2, "name"), (3, 4, "name")]),
        ),
        (
            "王 I-name\n李 B-name\n书 I-book\n",
            {"repair_iob1": True},
            ("王李书", [(0, 1, "name"), (1, 2, "name"), (2, 3, "book")]),
        ),
    ],
)
@pytest.mark.parametrize("line_end", ["\n", "\r\n"])
def test_realistic_conll_files_are_read(
    scratch: Path, raw: str, options: dict[str, Any], expected: tuple[str, list[tuple[int, int, str]]], line_end: str
) -> None:
    raw = raw.replace("\n", line_end)
    assert found(read(scratch / "raw", raw, "conll-bio", **options)) == [expected]


def test_changes_of_a_text_are_noted(scratch: Path) -> None:
    read(scratch / "raw", "王0\tB-name\n明1\tI-name\n\n来0\tO\n", "conll-bio")
    assert [(note.text.split()[0], note.times, note.line) for note in notes(scratch / "raw", "conll-bio")] == [
        ("digits", 3, 1)
    ]
    read(scratch / "raw", "王 O\n王 I-name\n", "conll-bio", repair_iob1=True)
    assert [note.times for note in notes(scratch / "raw", "conll-bio", repair_iob1=True)] == [1]


@pytest.mark.parametrize(("raw", "name"), [('{"text": "好", "label": []}\n', "doccano"), ("好\tO\n\n", "conll-bio")])
def test_byte_order_marks_of_joined_files_are_skipped(scratch: Path, raw: str, name: str) -> None:
    assert found(read(scratch / "raw", f"\ufeff{raw}\ufeff{raw}", name)) == [("好", [])] * 2
    assert "a byte order mark inside the file was skipped" in [note.text for note in notes(scratch / "raw", name)]
    assert found(read(scratch / "raw", "好\tO\n\n\ufeff\tO\n", "conll-bio")) == [("好", []), ("\ufeff", [])]


def test_keys_that_tools_leave_out_mean_no_mentions(scratch: Path) -> None:
    rows: list[dict[str, Any]] = [{"text": "好", "spans": [], "answer": "accept"}, {"text": "好", "answer": "accept"}]
    assert found(read(scratch / "raw", as_lines(rows), "spans")) == [("好", [])] * 2
    regions = [{"start": 0, "end": 1, "text": "好", "labels": ["name"]}]
    tasks = [{"text": "好", "label": regions, "annotation_id": 1}, {"text": "王", "annotation_id": 2}]
    assert found(read(scratch / "raw", as_array(tasks), "label-studio")) == [("好", [(0, 1, "name")]), ("王", [])]


def test_digits_are_positions_only_where_all_tokens_have_them(scratch: Path) -> None:
    rows = read(scratch / "raw", "王0\tO\n明1\tO\n\nB2\tO\n", "conll-bio")
    assert [text for text, _ in found(rows)] == ["王0明1", "B2"]


def test_parallel_sentences_of_words_are_read(scratch: Path) -> None:
    (scratch / "texts").write_text("\ufeff王小明 来 了\r\n\r\n天气 好\r\n", encoding="utf-8")
    (scratch / "tags").write_text("B-name O O\n\nO O\n", encoding="utf-8")
    rows = read([scratch / "texts", scratch / "tags"], None, "parallel")
    assert found(rows) == [("王小明来了", MENTION), ("天气好", [])]
    assert [row.sentence and row.sentence.id for row in rows] == ["train-1", "train-3"]


def test_marks_of_boson_are_read(scratch: Path) -> None:
    raw = "{{name:王小明}}在{{book:上海}}看病。\n\n没有\n"
    assert found(read(scratch / "raw", raw, "boson")) == [
        (TEXT, [(0, 3, "name"), (4, 6, "book")]),
        ("没有", []),
    ]


@pytest.fixture(params=["folder", "zip", "tar", "tar.gz", "pack"])
def bundle(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """Two brat documents, as a folder and as archives of the folder."""
    folder = tmp_path / "corpus"
    (folder / "sub").mkdir(parents=True)
    (folder / "sub" / "b.txt").write_bytes("第一行\r\n王小明在上海。\r\n".encode())
    annotation = "T1\tname 5 8\t王小明\nR1\tworks Arg1:T1 Arg2:T1\nT2\tbook 9 11\t上海\n#1\tAnnotatorNotes T1\tx\n"
    (folder / "sub" / "b.ann").write_text(annotation, encoding="utf-8")
    (folder / "a.txt").write_text("没有\n", encoding="utf-8")
    (folder / "a.ann").write_text("", encoding="utf-8")
    (folder / ".hidden.ann").write_text("T", encoding="utf-8")
    target = tmp_path / f"corpus.{request.param}"
    if request.param == "folder":
        return folder
    if request.param == "zip":
        with zipfile.ZipFile(target, "w") as archive:
            for file in sorted(path for path in folder.rglob("*") if path.is_file()):
                archive.write(file, file.relative_to(folder))
    elif request.param == "pack":
        pack([folder], target)
    else:
        with tarfile.open(target, "w:gz" if request.param == "tar.gz" else "w") as archive_:
            archive_.add(folder, ".")
    return target


def test_brat_in_a_folder_and_in_archives(bundle: Path) -> None:
    rows = read(bundle, None, "brat")
    assert found(rows) == [("没有", []), ("第一行", []), ("王小明在上海。", [(0, 3, "name"), (4, 6, "book")])]
    assert [row.sentence.id.removeprefix("./") for row in rows if row.sentence] == ["a-1", "sub/b-1", "sub/b-2"]


def test_a_pack_has_the_same_bytes_at_any_time(tmp_path: Path) -> None:
    (tmp_path / "texts").write_text("王 来\n", encoding="utf-8")
    (tmp_path / "tags").write_text("B-name O\n", encoding="utf-8")
    pack([tmp_path / "texts", tmp_path / "tags"], tmp_path / "one")
    (tmp_path / "texts").touch()
    pack([tmp_path / "texts", tmp_path / "tags"], tmp_path / "two")
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()
    assert found(read(tmp_path / "one", None, "parallel")) == [("王来", [(0, 1, "name")])]


# Ends


def mentions(*spans: tuple[int, int, str]) -> str:
    rows = [{"t": TEXT, "m": [{"span": [start, end], "kind": "name", "s": s} for start, end, s in spans]}]
    return as_lines(rows)


def test_surfaces_show_whether_ends_are_inclusive(scratch: Path) -> None:
    for spans in ([(0, 2, "王小明"), (4, 5, "上海")], [(0, 3, "王小明"), (4, 6, "上海")]):
        rows = read(scratch / "raw", mentions(*spans), "json", mapping=MAPPING)
        assert found(rows) == [(TEXT, [(0, 3, "name"), (4, 6, "name")])]


def test_ends_at_the_end_of_the_text_show_whether_they_are_inclusive(scratch: Path) -> None:
    for last, expected in ((8, True), (9, False)):
        row = {"text": TEXT, "entities": [{"start_idx": 6, "end_idx": last, "type": "name", "entity": "看病。"}]}
        assert found(read(scratch / "raw", as_lines([row]), "cmeee")) == [(TEXT, [(6, 9, "name")])]
        assert (notes(scratch / "raw", "cmeee") == []) is expected


def test_surfaces_override_the_format_with_a_note(scratch: Path) -> None:
    raw = as_lines([{"text": TEXT, "entities": [{"start_idx": 0, "end_idx": 3, "type": "name", "entity": "王小明"}]}])
    assert found(read(scratch / "raw", raw, "cmeee")) == [(TEXT, MENTION)]
    assert [note.text for note in notes(scratch / "raw", "cmeee")] == [
        "ends were read as exclusive, because this fits the surfaces"
    ]


def test_a_mapping_that_the_surfaces_contradict_is_refused(scratch: Path) -> None:
    with pytest.raises(InputError, match="inclusive: true, but 1 surfaces fit exclusive ends and 0 fit the others"):
        read(scratch / "raw", mentions((0, 3, "王小明")), "json", mapping={**MAPPING, "inclusive": True})


def test_ends_must_be_known(scratch: Path) -> None:
    with pytest.raises(ValidationError, match="add inclusive: true or false"):
        read(scratch / "raw", "", "json", mapping={**MAPPING, "surface": None})
    with pytest.raises(InputError, match="do not show whether ends are inclusive"):
        read(scratch / "raw", mentions((0, 3, "不在文中")), "json", mapping=MAPPING)


def test_a_mention_with_wrong_offsets_is_refused_with_the_right_ones(scratch: Path) -> None:
    raw = mentions((0, 3, "王小明"), (4, 6, "上海"), (3, 5, "上海"))
    assert reasons(read(scratch / "raw", raw, "json", mapping=MAPPING)) == [
        (1, "'name' '上海' [3, 5]: these offsets hold '在上'; the surface is at [4, 6] (the end is exclusive)")
    ]


@pytest.mark.parametrize("surface", ["王小 明", "王小\\n明", "王小明"])
def test_white_space_in_surfaces_of_label_studio_may_differ(scratch: Path, surface: str) -> None:
    task = {"id": 1, "text": "王小\n 明来", "label": [{"start": 0, "end": 5, "text": surface, "labels": ["name"]}]}
    assert found(read(scratch / "raw", as_array([task]), "label-studio")) == [("王小\n 明来", [(0, 5, "name")])]
    assert [note.times for note in notes(scratch / "raw", "label-studio")] == [1]
    task["label"] = [{"start": 0, "end": 2, "text": surface, "labels": ["name"]}]
    assert "these offsets hold '王小'" in reasons(read(scratch / "raw", as_array([task]), "label-studio"))[0][1]


def test_offsets_of_javascript_are_converted(scratch: Path) -> None:
    regions = [{"start": 2, "end": 5, "text": "王小明", "labels": ["name"]}]
    raw = as_array([{"id": 1, "text": f"😀{TEXT}", "label": regions}])
    assert found(read(scratch / "raw", raw, "label-studio")) == [(f"😀{TEXT}", [(1, 4, "name")])]
    assert ["UTF-16" in note.text for note in notes(scratch / "raw", "label-studio")] == [True]


# What is refused


@pytest.mark.parametrize(
    ("name", "row", "expected"),
    [
        ("doccano", {"text": TEXT, "label": {}}, "label {}; expected a list of mentions"),
        ("doccano", {"text": TEXT, "label": [[0, 3]]}, "mention [0, 3]: no label"),
        ("doccano", {"text": TEXT, "label": [[0, "3", "name"]]}, "mention [0, '3', 'name']: 1 is not a whole number"),
        ("doccano", {"text": TEXT, "label": [[0, True, "name"]]}, "1 is not a whole number"),
        (
            "doccano",
            {"text": TEXT, "label": [[3, 3, "name"]]},
            "'name' [3, 3]: an empty span; the end must be the offset",
        ),
        ("doccano", {"text": TEXT, "label": [[3, 99, "name"]]}, "out of range; the text has the offsets 0 to 8"),
        ("doccano", {"text": TEXT, "label": [[-1, 2, "name"]]}, "out of range"),
        (
            "doccano",
            {"text": TEXT, "label": [[0, 3, "film"]]},
            "unknown label 'film'; expected one of name, book, game",
        ),
        ("doccano", {"text": TEXT, "label": [[0, 3, "name"], [0, 3, "name"]]}, "at offset 0 is listed twice"),
        (
            "doccano",
            {"text": TEXT, "label": [], "entities": []},
            "mentions under both label and entities; expected one",
        ),
        ("doccano", {"text": TEXT}, "missing key 'label', which other rows have"),
        ("doccano", {"text": TEXT, "label": ["name"]}, "mention 'name': 0 is not a whole number"),
        (
            "doccano",
            {"text": "张<|im_end|>", "label": []},
            "'<|im_end|>' in text, at offset 1: chat models read this as",
        ),
        ("doccano", {"text": "<｜end▁of▁sentence｜>", "label": []}, "chat models read this as markup"),
        (
            "spans",
            {"text": TEXT, "spans": [], "answer": "reject"},
            "answer 'reject'; only rows with 'accept' are annotated",
        ),
        ("spans", {"text": TEXT, "spans": [{"start": 0, "label": "name"}]}, "end is missing"),
        ("spans", {"text": TEXT, "spans": [], "_is_binary": True}, "the answer is about one mention"),
        ("huggingface", {"tokens": ["王"], "ner_tags": ["O", "O"]}, "1 tokens, but 2 tags"),
        (
            "huggingface",
            {"tokens": ["王", ""], "ner_tags": ["O", "O"]},
            "expected a list of non-empty strings",
        ),
        ("huggingface", {"tokens": "王", "ner_tags": ["O"]}, "tokens '王'; expected a list of non-empty strings"),
        ("huggingface", {"tokens": ["王"]}, "missing key 'ner_tags', which other rows have"),
        ("huggingface", {"tokens": ["王"], "ner_tags": ["E-name"]}, "token 1: tag 'E-name'; the scheme bio has"),
        ("huggingface", {"tokens": ["王", "\x07"], "ner_tags": ["O", "O"]}, "unusable character '\\x07' in token 2"),
        ("label-studio", {"data": {"text": TEXT}, "annotations": []}, "the task has 0 annotations; expected one"),
        (
            "label-studio",
            {"data": {"text": TEXT}, "annotations": [{"result": []}, {"result": []}]},
            "the task has 2 annotations; expected one",
        ),
        ("label-studio", {"data": {"body": TEXT}, "annotations": [{"result": []}]}, "missing key 'text'"),
        (
            "label-studio",
            {"data": {"text": TEXT}, "annotations": [{"result": [{"value": {"hypertextlabels": ["name"]}}]}]},
            "hypertextlabels: their offsets are those of HTML",
        ),
    ],
)
def test_a_row_is_refused(scratch: Path, name: str, row: dict[str, Any], expected: str) -> None:
    goods: dict[str, dict[str, Any]] = {
        "doccano": {"text": "好", "label": []},
        "spans": {"text": "好", "spans": []},
        "huggingface": {"tokens": ["好"], "ner_tags": ["O"]},
        "label-studio": {"data": {"text": "好"}, "annotations": [{"result": []}]},
    }
    before, bad, after = read(scratch / "raw", as_lines([goods[name], row, goods[name]]), name)
    assert before.sentence is not None
    assert after.sentence is not None
    assert [line for line, _ in reasons([bad])] == [2]
    assert expected in reasons([bad])[0][1]


@pytest.mark.parametrize(
    ("annotation", "expected"),
    [
        ("T1\tname 0 1;2 3\t王 明", "name [0, 3]: '王 明' has 2 parts; expected one"),
        ("T1\tname 3 7\t来了 好", "'来了 好' is not within one line"),
        ("T1\tname 0 2\t王明", "these offsets hold '王小'; the surface is not in the text"),
        ("T1\tname 0 99\t王", "out of range"),
        ("T1 name 0 1 王", "expected T1, a tab, LABEL START END, a tab, TEXT"),
        ("T1\tfilm 0 1\t王", "unknown label 'film'"),
    ],
)
def test_a_refused_brat_annotation_is_named_with_its_line(tmp_path: Path, annotation: str, expected: str) -> None:
    (tmp_path / "a.txt").write_text("王小明来了\n好人\n", encoding="utf-8")
    (tmp_path / "a.ann").write_text(f"\n{annotation}\n", encoding="utf-8")
    problems = [problem for row in read(tmp_path, None, "brat") for problem in row.problems]
    assert expected in problems[0].reason
    assert problems[0].line == 2
    assert problems[0].file.endswith("a.ann") is ("unknown label" not in expected)


@pytest.mark.parametrize("ending", ["txt", "ann"])
def test_the_encoding_of_a_brat_file_is_named(tmp_path: Path, ending: str) -> None:
    for name, content in {"txt": "王小明来了", "ann": "T1\tname 0 3\t王小明\n"}.items():
        (tmp_path / f"a.{name}").write_bytes(content.encode("gb18030" if name == ending else "utf-8"))
    (row,) = read(tmp_path, None, "brat")
    assert [problem.file.rpartition("/")[2] for problem in row.problems] == [f"a.{ending}"]
    assert reasons([row])[0][1].startswith("the file is GB18030, not UTF-8; convert it: iconv")


def test_a_discontinuous_mention_invalidates_only_its_line(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("王小明来了\n好人\n", encoding="utf-8")
    (tmp_path / "a.ann").write_text("T1\tname 0 1;2 3\t王 明\nT2\tname 6 8\t好人\n", encoding="utf-8")
    first, second = read(tmp_path, None, "brat")
    assert first.sentence is None
    assert found([second]) == [("好人", [(0, 2, "name")])]


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({"a.ann": ""}, "no .txt file"),
        ({"a.txt": "好", "a.ann": "", "b.ann": ""}, "b.ann: there is no b.txt"),
    ],
)
def test_a_brat_folder_is_refused(tmp_path: Path, files: dict[str, str], expected: str) -> None:
    for name, content in files.items():
        (tmp_path / name).write_text(content, encoding="utf-8")
    with pytest.raises(InputError, match=expected):
        read(tmp_path, None, "brat")


def test_a_brat_document_without_annotation_among_others_is_refused(tmp_path: Path) -> None:
    for name, content in {"a.txt": "好", "a.ann": "", "b.txt": "王"}.items():
        (tmp_path / name).write_text(content, encoding="utf-8")
    assert reasons(read(tmp_path, None, "brat")) == [(1, "there is no b.ann, and other documents have one")]


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (
            '[{"text": "好", "label": []} {"text": "好"}]',
            "1: broken JSON: expected ',' or ']' after an object, found '{\"t",
        ),
        ('[\n{"text": "好", "label": []},\n]', "3: broken JSON: Expecting value, found ']'"),
        ('[\n{"text": "好", "label": []}', "2: broken JSON: expected ',' or ']' after an object, found ''"),
        ('[\n{"text": "好", "label": [}]', "2: broken JSON: Expecting value, found '}]'"),
        ('[\n{"text": "好', "2: row 1: longer than"),
        ('[{"text": "好", "label": []}]\n[]', "2: broken JSON: expected nothing after the array"),
        (b'[\n{"text": "\xff"}]', "2: not UTF-8: byte 0xff"),
    ],
)
def test_a_broken_array_is_refused_with_the_line(scratch: Path, raw: str | bytes, expected: str) -> None:
    with pytest.raises(InputError) as refused:
        read(scratch / "raw", raw, "doccano")
    assert f"raw:{expected}" in str(refused.value)


def test_a_wrong_row_of_an_array_invalidates_only_that_row(scratch: Path) -> None:
    raw = '[\n{"text": "好", "text": "好", "label": []},\n3,\n{"text": "好", "label": []}]'
    rows = read(scratch / "raw", raw, "doccano")
    assert reasons(rows) == [
        (2, "row 1: broken JSON: key 'text' occurs twice in one object"),
        (3, "row 2: expected a JSON object, found 3"),
    ]
    assert rows[2].sentence == Sentence("train-3", "好", ())


@given(corpus=st.lists(sentences(), min_size=1, max_size=30), chunk=st.integers(1, 40))
def test_an_array_is_read_in_pieces(scratch: Path, corpus: list[Sentence], chunk: int) -> None:
    corpus = with_ids(corpus)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(json_objects, "_CHUNK_BYTES", chunk)
        patch.setattr(json_objects, "MAX_ROW_BYTES", 2000)
        raw = "[" + ",\n".join(json.dumps(row) for row in write_mention_lists(corpus, DIALECTS["doccano"][0])) + "]"
        (scratch / "raw").write_text(raw, encoding="utf-8")
        patch.setattr(json_objects, "is_array", lambda path: True)  # longer than a piece before its first bracket
        rows = read(scratch / "raw", None, "doccano")
    assert [row.sentence for row in rows] == corpus
    assert [row.line for row in rows] == list(range(1, len(corpus) + 1))


def test_an_unclosed_object_does_not_fill_the_memory(scratch: Path) -> None:
    raw = '[{"text": "' + "x" * (4 << 20) + '"}]'
    with pytest.raises(InputError, match="row 1: longer than 1048576 characters"):
        read(scratch / "raw", raw, "doccano")


@pytest.mark.parametrize(
    ("texts", "tags", "expected"),
    [
        ("王 来\n好\n", "O O\n", "texts:2: .*tags has only 1 lines; expected as many in both"),
        ("王 来\n", "O O\nO\n", "tags:2: .*texts has only 1 lines; expected as many in both"),
    ],
)
def test_parallel_files_must_have_as_many_lines(tmp_path: Path, texts: str, tags: str, expected: str) -> None:
    (tmp_path / "texts").write_text(texts, encoding="utf-8")
    (tmp_path / "tags").write_text(tags, encoding="utf-8")
    with pytest.raises(InputError, match=expected):
        read([tmp_path / "texts", tmp_path / "tags"], None, "parallel")


def test_parallel_lines_must_have_as_many_tags(tmp_path: Path) -> None:
    (tmp_path / "texts").write_text("王 小 来\n好\n", encoding="utf-8")
    (tmp_path / "tags").write_text("O O\nO\n", encoding="utf-8")
    rows = read([tmp_path / "texts", tmp_path / "tags"], None, "parallel")
    assert [reason.split(" on line")[0] for _, reason in reasons(rows)] == ["3 tokens (5 characters), but 2 tags"]
    assert rows[1].sentence is not None


def test_tags_as_numbers_need_names(scratch: Path) -> None:
    raw = as_lines([{"tokens": ["王", "来"], "ner_tags": [1, 0]}, {"tokens": ["好"], "ner_tags": [7]}])
    with pytest.raises(InputError, match="ner_tags are numbers; add their names in order: tag_names"):
        read(scratch / "raw", raw, "huggingface")
    good, bad = read(scratch / "raw", raw, "huggingface", tag_names=["O", "B-name"])
    assert found([good]) == [("王来", [(0, 1, "name")])]
    assert reasons([bad]) == [(2, "tag 7; expected a number from 0 to 1")]


@pytest.mark.parametrize("name", ["huggingface", "brat", "parallel", "doccano"])
def test_damaged_files_are_refused(tmp_path: Path, name: str) -> None:
    content = {"huggingface": b"PAR1 no", "brat": b"PK\x03\x04 no", "parallel": b"\x1f\x8b no", "doccano": b"\x00" * 9}
    (tmp_path / "raw").write_bytes(content[name])
    try:
        rows = read(tmp_path / "raw", None, name)
    except InputError as error:
        assert str(tmp_path / "raw") in str(error)  # noqa: PT017 - doccano's rows are refused one by one
    else:
        assert rows
        assert all(row.problems for row in rows)


@pytest.mark.parametrize("brackets", ["{{name:", "}}", "{{:王}}", "{{name}}"])
def test_marks_without_text_are_refused(scratch: Path, brackets: str) -> None:
    assert "marks no mention" in reasons(read(scratch / "raw", f"王{brackets}来\n", "boson"))[0][1]


# Counts of generated corpora in the sizes of public ones, compared with seqeval


@pytest.mark.parametrize(
    ("name", "scheme", "size"),
    [
        ("conll-bmes", "bmes", 463),
        ("conll-bio", "bio", 3442),
        ("parallel", "bio", 2318),
        ("huggingface", "bioes", 477),
    ],
)
def test_mentions_are_those_that_seqeval_finds(scratch: Path, name: str, scheme: str, size: int) -> None:
    generator = random.Random(size)
    corpus = []
    for number in range(size):
        length = generator.randint(1, 40)
        cuts = sorted(generator.sample(range(length + 1), min(length + 1, 2 * generator.randint(0, 3)) // 2 * 2))
        spans = zip(cuts[::2], cuts[1::2], strict=True)
        text = "".join(generator.choices("温格的球队战胜曼联", k=length))
        entities = (Entity(generator.choice(LABELS), text[start:end], start, end) for start, end in spans)
        corpus.append(Sentence(str(number), text, tuple(entities)))
    tags = [tags_of(sentence, scheme) for sentence in corpus]
    expected = Counter(label for one in tags for label, _, _ in get_entities([tag.replace("M-", "I-") for tag in one]))
    files = [scratch / "raw"]
    options: dict[str, Any] = {}
    if name == "parallel":
        files.append(scratch / "tags")
        files[0].write_text("".join(f"{sentence.text}\n" for sentence in corpus), encoding="utf-8")
        files[1].write_text("".join(" ".join(one) + "\n" for one in tags), encoding="utf-8")
    elif name == "huggingface":
        rows = [{"tokens": list(one.text), "ner_tags": tagged} for one, tagged in zip(corpus, tags, strict=True)]
        files[0].write_text(as_lines(rows), encoding="utf-8")
        options["scheme"] = scheme
    else:
        files[0].write_text("".join(to_conll(sentence, scheme) for sentence in corpus), encoding="utf-8")
    read_back = found(read(files, None, name, **options))
    assert len(read_back) == size
    assert Counter(label for _, spans in read_back for _, _, label in spans) == expected


# Unlabelled splits, labels, options


@pytest.mark.parametrize(
    ("name", "raw"),
    [
        ("doccano", '{"text": "好"}\n'),
        ("entitune", '{"id": "a", "text": "好"}\n'),
        ("ccks", '{"originalText": "好"}\n'),
        ("huggingface", '{"tokens": ["好"]}\n'),
        ("label-studio", '[{"data": {"text": "好"}, "predictions": [{"result": []}]}]'),
    ],
)
def test_a_split_without_labels_has_no_entities(scratch: Path, name: str, raw: str) -> None:
    (row,) = read(scratch / "raw", raw, name)
    assert row.sentence is not None
    assert (row.sentence.text, row.sentence.entities) == ("好", None)


def test_labels_can_be_renamed(scratch: Path) -> None:
    raw = as_lines([{"text": TEXT, "label": [[0, 3, "body part"], [4, 6, "name"]]}])
    rows = read(scratch / "raw", raw, "doccano", ["part", "name"], rename={"body part": "part"})
    assert found(rows) == [(TEXT, [(0, 3, "part"), (4, 6, "name")])]


@pytest.mark.parametrize(
    ("name", "options", "expected"),
    [
        ("cluener", {"columns": {"token": 1}}, "columns: not an option of format cluener; it is for conll-bio"),
        ("conll-bmes", {"repair_iob1": True}, "repair_iob1: not an option of format conll-bmes"),
        ("parallel", {"repair_iob1": True, "scheme": "bmes"}, "IOB1 is a form of bio"),
        ("json", {}, "mapping: format json needs the keys of text"),
        ("conll-bio", {"columns": {"tag": "ner"}}, "columns: tag: 'ner'; expected the number of a column"),
        ("huggingface", {"columns": {"tag": 1}}, "columns: tag: 1; expected a key"),
    ],
)
def test_options_of_other_formats_are_refused(name: str, options: dict[str, Any], expected: str) -> None:
    with pytest.raises(ValueError, match=expected):
        check_options(name, CorpusOptions.model_validate(options))


def test_a_dataset_may_name_every_format() -> None:
    assert get_args(Format) == tuple(FORMATS)


def test_every_format_takes_its_own_options() -> None:
    values: dict[str, Any] = {
        "columns": None,
        "scheme": "bio",
        "repair_iob1": True,
        "tag_names": ["O"],
        "spaces": True,
        "mapping": {**MAPPING},
        "text_key": "body",
        "use_predictions": True,
        "rename": {"a": "b"},
        "max_dropped": 0.1,
    }
    assert values.keys() == CorpusOptions.model_fields.keys()
    taken = set(itertools.chain.from_iterable(dialect.options for dialect in FORMATS.values()))
    assert taken == values.keys() - {"rename", "max_dropped"}
    for name, dialect in FORMATS.items():
        keys = {*dialect.options, "rename", "max_dropped"}
        check_options(name, CorpusOptions.model_validate({key: values[key] for key in keys}))


def test_missing_columns_are_refused(scratch: Path) -> None:
    with pytest.raises(InputError, match=r"there is no column 5 \(columns: tag\); the lines have 2"):
        read(scratch / "raw", "王 O\n", "conll-bio", columns={"tag": 5})
