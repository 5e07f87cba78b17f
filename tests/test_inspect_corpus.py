"""inspect_corpus and recognise: the format of a file, and the entry that reads it."""

from __future__ import annotations

import json
import re
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow
import pytest
import yaml
from corpora import LABELS, as_lines, sentences, tags_of, to_cluener, to_conll, with_ids
from helpers import SHEET, Result, run_script, write_jsonl
from hypothesis import given
from hypothesis import strategies as st
from pyarrow import parquet

from entitune.corpus.formats import check_options, read_split
from entitune.corpus.mention_lists import DIALECTS, write_mention_lists
from entitune.corpus.options import CorpusOptions
from entitune.corpus.recognise import looks_annotated, recognise
from entitune.corpus.sources import Source
from entitune.records import Entity, Sentence

TEXT = "王小明在上海看病。"
CORPUS = [
    Sentence("a", TEXT, (Entity("name", "王小明", 0, 3), Entity("book", "上海", 4, 6))),
    Sentence("b", "没有人名。", ()),
    Sentence("c", "好书", (Entity("book", "书", 1, 2),)),
]


@pytest.fixture(scope="session")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("recognise")


def tokens(scheme: str, token_key: str = "tokens", tag_key: str = "ner_tags") -> str:
    return as_lines([{token_key: list(one.text), tag_key: tags_of(one, scheme)} for one in CORPUS])


def columns(scheme: str, template: str) -> str:
    """Return CoNLL lines from a template with N (number), T (token) and G (tag)."""
    text = ""
    for one in CORPUS:
        for number, (token, tag) in enumerate(zip(one.text, tags_of(one, scheme), strict=True), 1):
            text += template.replace("N", str(number)).replace("T", token).replace("G", tag) + "\n"
        text += "\n"
    return text


WRITTEN: dict[str, tuple[str, str, dict[str, Any]]] = {
    "cluener": ("".join(map(to_cluener, CORPUS)), "cluener", {}),
    "cluener array": (json.dumps([json.loads(to_cluener(one)) for one in CORPUS]), "cluener", {}),
    **{
        f"{name} {number}": (as_lines(list(write_mention_lists(CORPUS, dialect))), name, {})
        for name, dialects in DIALECTS.items()
        for number, dialect in enumerate(dialects)
    },
    **{f"conll {scheme}": (columns(scheme, "T\tG"), f"conll-{scheme}", {}) for scheme in ("bio", "bmes", "bioes")},
    "conll spaces": (columns("bio", "T G"), "conll-bio", {}),
    "conll 4 columns": (columns("bmes", "T NN x G"), "conll-bmes", {}),
    "conll numbered": (columns("bio", "N\tT\tG\t-\t-"), "conll-bio", {"columns": {"token": 1, "tag": 2}}),
    "iob1": (columns("bio", "T G").replace("B-", "I-"), "conll-bio", {"repair_iob1": True}),
    "huggingface": (tokens("bio"), "huggingface", {}),
    "huggingface bmes": (tokens("bmes"), "huggingface", {"scheme": "bmes"}),
    "huggingface keys": (
        tokens("bio", "words", "tags"),
        "huggingface",
        {"columns": {"token": "words", "tag": "tags"}},
    ),
    "huggingface other keys": (
        tokens("bmes", "text", "BIO"),
        "huggingface",
        {"columns": {"token": "text", "tag": "BIO"}, "scheme": "bmes"},
    ),
    "label-studio text": (
        json.dumps(
            [
                {
                    "data": {"image": "a.png", "ocr": TEXT},
                    "annotations": [
                        {"result": [{"value": {"start": 0, "end": 3, "text": "王小明", "labels": ["name"]}}]}
                    ],
                }
            ]
        ),
        "label-studio",
        {"text_key": "ocr"},
    ),
    "json with pairs": (
        as_lines(
            [
                {
                    "url": "https://example.org/longer/than/the/text",
                    "text": one.text,
                    "entity_list": [
                        {"type": e.label, "source": "human", "tag_id": "x", "span": [e.start, e.end], "word": e.text}
                        for e in one.entities or ()
                    ],
                    "relations": [],
                    "Comments": [],
                }
                for one in CORPUS
            ]
        ),
        "json",
        {
            "mapping": {
                "text": "text",
                "mentions": "entity_list",
                "start": "span.0",
                "end": "span.1",
                "label": "type",
                "surface": "word",
                "inclusive": False,
            }
        },
    ),
    "json in objects": (
        as_lines(
            [
                {
                    "data": {"content": one.text},
                    "result": {
                        "found": [{"s": e.start, "e": (e.end or 0) - 1, "tag": e.label} for e in one.entities or ()]
                    },
                }
                for one in CORPUS
            ]
        ),
        "json",
        {
            "mapping": {
                "text": "data.content",
                "mentions": "result.found",
                "start": "s",
                "end": "e",
                "label": "tag",
                "inclusive": True,
            }
        },
    ),
    "boson": ("{{name:王小明}}在{{book:上海}}看病。\n好\n", "boson", {}),
    "label-studio min": (
        json.dumps([{"id": 1, "text": TEXT, "ner": [{"start": 0, "end": 3, "text": "王小明", "labels": ["name"]}]}]),
        "label-studio",
        {},
    ),
    "json with numbered lists": (
        as_lines(
            [
                {
                    "text": one.text,
                    "labels": [[f"T{n}", e.label, e.start, e.end, e.text] for n, e in enumerate(one.entities or ())],
                }
                for one in CORPUS
            ]
        ),
        "json",
        {
            "mapping": {
                "text": "text",
                "mentions": "labels",
                "start": 2,
                "end": 3,
                "label": 1,
                "surface": 4,
                "inclusive": False,
            }
        },
    ),
    "json": (
        as_lines(
            [
                {
                    "body": one.text,
                    "spots": [{"from": e.start, "to": e.end, "t": e.text, "kind": e.label} for e in one.entities or ()],
                }
                for one in CORPUS
            ]
        ),
        "json",
        {
            "mapping": {
                "text": "body",
                "mentions": "spots",
                "start": "from",
                "end": "to",
                "label": "kind",
                "surface": "t",
                "inclusive": False,
            }
        },
    ),
}


@pytest.mark.parametrize("name", WRITTEN)
@pytest.mark.parametrize("line_end", ["\n", "\r\n"])
def test_a_file_is_recognised_and_its_options_read_it(tmp_path: Path, name: str, line_end: str) -> None:
    raw, expected_format, options = WRITTEN[name]
    (tmp_path / "raw").write_bytes(raw.replace("\n", line_end).encode())
    source = Source.of([tmp_path / "raw"])
    recognised = recognise(source)
    assert recognised is not None
    assert (recognised.format, recognised.options, recognised.labelled) == (expected_format, options, True)
    chosen = CorpusOptions.model_validate(recognised.options)
    check_options(recognised.format, chosen)
    rows = list(read_split(source, recognised.format, "train", LABELS, chosen)[1])
    assert [row.problems for row in rows if row.problems] == []
    assert sum(len(row.sentence.entities or ()) for row in rows if row.sentence) >= 1
    assert yaml.safe_load("{" + recognised.entry() + "}") == {"format": expected_format, **options}


@pytest.mark.parametrize("name", [*DIALECTS, "conll-bmes", "conll-bioes"])
@given(
    corpus=st.lists(sentences(disjoint=True), min_size=1, max_size=4).filter(
        lambda all_: any(one.entities for one in all_)
    )
)
def test_a_recognised_file_is_not_recognised_as_another_format(
    scratch: Path, name: str, corpus: list[Sentence]
) -> None:
    corpus = with_ids(corpus)
    if name in DIALECTS:
        raw = as_lines(list(write_mention_lists(corpus, DIALECTS[name][0])))
    else:
        raw = "".join(to_conll(one, name.removeprefix("conll-")) for one in corpus)
    (scratch / "raw").write_bytes(raw.encode())
    recognised = recognise(Source.of([scratch / "raw"]))
    assert recognised is not None
    tagged = {"conll-bmes", "conll-bioes", "conll-bio"}  # without long mentions, the schemes are equal
    assert recognised.format == name or {recognised.format, name} <= tagged


@pytest.mark.parametrize(
    "raw",
    [
        "",
        "\n",
        "好\n天\n",
        "a,b\n1,2\n",
        '{"a": 1}\n',
        "[1, 2]",
        "{",
        '{"text": "好", "x": [[]]}',
        "\x00\x01",
        "王 O B\n",
    ],
)
def test_a_file_that_is_not_a_corpus_is_not_recognised(tmp_path: Path, raw: str) -> None:
    (tmp_path / "raw").write_text(raw, encoding="utf-8")
    assert recognise(Source.of([tmp_path / "raw"])) is None


def test_folders_and_pairs_are_recognised(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "brat.zip", "w") as archive:
        archive.writestr("a.txt", "好")
        archive.writestr("a.ann", "")
    (tmp_path / "texts").write_text("王 小 明\n好\n", encoding="utf-8")
    (tmp_path / "tags").write_text("B-name M-name E-name\nO\n", encoding="utf-8")
    brat = recognise(Source.of([tmp_path / "brat.zip"]))
    pair = recognise(Source.of([tmp_path / "texts", tmp_path / "tags"]))
    assert brat is not None
    assert brat.format == "brat"
    assert pair is not None
    assert (pair.format, pair.options) == ("parallel", {"scheme": "bmes"})
    assert recognise(Source.of([tmp_path / "tags", tmp_path / "texts"])) is None


def test_labels_in_a_column_may_have_spaces(tmp_path: Path) -> None:
    (tmp_path / "raw").write_text("王\tB-my name\n明\tI-my name\n", encoding="utf-8")
    found = recognise(Source.of([tmp_path / "raw"]))
    assert found is not None
    (row,) = read_split(Source.of([tmp_path / "raw"]), found.format, "train")[1]
    assert row.sentence == Sentence("train-1", "王明", (Entity("my name", "王明", 0, 2),))


def test_names_of_tags_without_prefixes_begin_mentions(tmp_path: Path) -> None:
    table = pyarrow.table({"tokens": [["王", "明", "来"]], "ner_tags": [[1, 1, 0]]})
    feature = {"feature": {"names": ["O", "name"], "_type": "ClassLabel"}, "_type": "Sequence"}
    table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": {"ner_tags": feature}}})})
    parquet.write_table(table, tmp_path / "raw")
    source = Source.of([tmp_path / "raw"])
    found = recognise(source)
    assert found is not None
    assert found.options == {"tag_names": ["O", "I-name"], "repair_iob1": True}
    (row,) = read_split(source, found.format, "train", LABELS, CorpusOptions.model_validate(found.options))[1]
    assert row.sentence == Sentence("train-1", "王明来", (Entity("name", "王明", 0, 2),))


def test_parquet_is_recognised(tmp_path: Path) -> None:
    parquet.write_table(pyarrow.table({"tokens": [["王"]], "ner_tags": [["S-name"]]}), tmp_path / "raw")
    found = recognise(Source.of([tmp_path / "raw"]))
    assert found is not None
    assert (found.format, found.options) == ("huggingface", {"scheme": "bmes"})


@pytest.mark.parametrize("where", ["parquet", "card", "infos"])
def test_names_of_tags_are_found(tmp_path: Path, where: str) -> None:
    names = ["O", "B-name", "I-name"]
    feature = {"feature": {"names": names, "_type": "ClassLabel"}, "_type": "List"}
    row = {"words": ["王", "明", "来"], "tags": [1, 2, 0]}
    path = tmp_path / "data" / "train"
    path.parent.mkdir()
    if where == "parquet":
        table = pyarrow.table({key: [value] for key, value in row.items()})
        table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": {"tags": feature}}})})
        parquet.write_table(table, path)
    else:
        path.write_text(as_lines([row]), encoding="utf-8")
    if where == "infos":
        (tmp_path / "dataset_infos.json").write_text(json.dumps({"default": {"features": {"tags": feature}}}))
    if where == "card":
        classes = {"class_label": {"names": {str(number): name for number, name in enumerate(names)}}}
        card = yaml.safe_dump({"dataset_info": {"features": [{"name": "tags", "sequence": classes}]}})
        (tmp_path / "README.md").write_text(f"---\n{card}---\n# Corpus\n")
    source = Source.of([path])
    recognised = recognise(source)
    assert recognised is not None
    assert ("tag_names" in recognised.options) is (where != "parquet")
    options = CorpusOptions.model_validate(recognised.options)
    (read,) = read_split(source, recognised.format, "train", LABELS, options)[1]
    assert read.sentence == Sentence("train-1", "王明来", (Entity("name", "王明", 0, 2),))


@pytest.mark.parametrize("card", ["# Corpus\n", "---\na: [\n---\n", "---\ndataset_info: 3\n---\n"])
def test_tags_as_numbers_get_placeholders_without_names(tmp_path: Path, card: str) -> None:
    (tmp_path / "README.md").write_text(card, encoding="utf-8")
    (tmp_path / "train.json").write_text(as_lines([{"tokens": ["王", "来"], "ner_tags": [1, 0]}]), encoding="utf-8")
    done = run_script("inspect_corpus", tmp_path / "train.json")
    assert "tag_names: [O, NAME-OF-TAG-1]" in done.stdout
    assert "Replace NAME-OF-TAG-1, ... by the names of the tags" in done.stdout


@pytest.mark.parametrize(
    "row",
    [
        {"text": "王来", "label": "B-name O"},
        {"text": "王来", "entities": '[{"start": 0}]'},
        {"text": "王来", "ents": [{"from": 1, "to": 2, "type": "name"}]},
        {"title": "王来", "ents": [[{"pos": [0, 1], "sentence": 1, "type": "name"}]]},
        {"text": "好王", "ents": [{"from": 2, "to": 2, "type": "name", "word": "王"}]},
        {"text": "王来", "ents": [{"from": 0, "to": 1, "type": "name", "category": "x", "word": "王"}]},
    ],
)
def test_nothing_is_guessed(tmp_path: Path, row: dict[str, Any]) -> None:
    """Annotation that is not read, offsets that may count from 1, surfaces elsewhere, two keys of labels."""
    (tmp_path / "raw").write_text(as_lines([row]), encoding="utf-8")
    assert recognise(Source.of([tmp_path / "raw"])) is None


def test_a_wrong_mention_does_not_change_the_mapping(tmp_path: Path) -> None:
    right = {"text": "王来", "ents": [{"from": 0, "to": 1, "type": "name", "word": "王"}]}
    wrong = {"text": "来王", "ents": [{"from": 0, "to": 1, "type": "book", "word": "王"}]}
    (tmp_path / "raw").write_text(as_lines([right] * 20 + [wrong]), encoding="utf-8")
    recognised = recognise(Source.of([tmp_path / "raw"]))
    assert recognised is not None
    assert recognised.options["mapping"] == {
        "text": "text",
        "mentions": "ents",
        "start": "from",
        "end": "to",
        "label": "type",
        "surface": "word",
        "inclusive": False,
    }


@pytest.mark.parametrize(
    ("row", "keys"),
    [
        ({"text": "好", "label": {"name": {"王": [[0, 1]]}}}, ["label"]),
        ({"text": "好", "spots": [{"from": 0, "to": 1}]}, ["spots"]),
        ({"text": "好", "topics": ["a", "b"], "sizes": [1, 2], "at": {"page": 3}}, []),
    ],
)
def test_keys_with_offsets_are_taken_for_annotations(row: dict[str, Any], keys: list[str]) -> None:
    assert looks_annotated(row) == keys


# The script


@pytest.fixture
def inspect(tmp_path: Path) -> Callable[..., Result]:
    """Run the script in a folder with its own conf/."""
    conf = tmp_path / "conf"
    conf.mkdir()
    (conf / "datasets.yaml").write_text("# Corpora\ndemo: {format: cluener}  # mine", encoding="utf-8")
    (conf / "runs.tsv").write_text(f"# Runs\n{SHEET}demo\tdemo\tm\tp\tt\td\t1\t\n", encoding="utf-8")

    def run(*arguments: str) -> Result:
        done = run_script("inspect_corpus", *arguments, cwd=tmp_path)
        assert "Traceback" not in done.stderr
        return done

    return run


def test_a_corpus_is_described(tmp_path: Path, inspect: Callable[..., Result]) -> None:
    rows: list[dict[str, Any]] = [
        {"text": TEXT, "label": [[0, 3, "name"], [0, 2, "name"], [4, 6, "body part"]]},
        {"text": "好", "label": []},
        {"text": "好", "label": [[0, 1, "name"]]},
        {"text": "好", "label": [[0, 9, "name"]]},
        {"text": "好", "label": [[0, 8, "name"]]},
    ]
    (tmp_path / "my-train.jsonl").write_text("\ufeff" + as_lines(rows), encoding="utf-8")
    (tmp_path / "my-dev.jsonl").write_text(as_lines(rows[:1]), encoding="utf-8")
    done = inspect("my-train.jsonl", "my-dev.jsonl")
    assert done.returncode == 0, done.stderr
    page = {
        key: value
        for key, value in re.findall(r"^  ([a-z].{11}) ?(.*)$", done.stdout.split("\n\n")[0], re.MULTILINE)
        for key in [key.strip()]
    }
    assert page["format"] == "doccano (doccano's export)"
    assert page["encoding"] == "UTF-8 with a byte order mark"
    assert page["rows"] == "5, 2 of them with problems"
    assert page["sentences"] == "3, 1 of them without a mention"
    assert page["mentions"] == "4, 1 of them overlap an earlier one"
    assert page["labels"] == "name (3), body part (1)"
    assert page["characters"] == "shortest 1, median 1, 95 % up to 9, longest 9"
    assert page["of a mention"] == "shortest 1, median 2, 95 % up to 3, longest 3"
    assert page["duplicates"] == "1 sentences repeat an earlier one, 1 with another annotation"
    assert page["problems"].startswith("offsets do not fit the text (2 times): my-train.jsonl:4: 'name' [0, 9]: out of")
    assert "dev: 1 different sentences are also in train" in done.stdout
    entry = yaml.safe_load(done.stdout.split("For conf/datasets.yaml:\n\n")[1].split("\nFor ")[0])
    assert entry == {
        "mine": {
            "format": "doccano",
            "rename": {"body part": "body_part"},
            "labels": ["name", "body_part"],
            "splits": {"train": "my-train.jsonl", "dev": "my-dev.jsonl"},
        }
    }
    assert "2 rows have problems" in done.stdout


def test_entry_and_row_are_appended(tmp_path: Path, inspect: Callable[..., Result]) -> None:
    for split in ("train", "dev"):
        (tmp_path / f"{split}.json").write_text("".join(map(to_cluener, CORPUS)), encoding="utf-8")
    done = inspect("train.json", "dev.json", "--add", "mine")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "conf" / "datasets.yaml").read_text(encoding="utf-8") == (
        "# Corpora\ndemo: {format: cluener}  # mine\n"
        "mine:\n  format: cluener\n  labels: [book, name]\n  splits: {train: train.json, dev: dev.json}\n"
    )
    runs = (tmp_path / "conf" / "runs.tsv").read_text(encoding="utf-8").splitlines()
    assert runs[:3] == ["# Runs", SHEET.rstrip("\n"), "demo\tdemo\tm\tp\tt\td\t1\t"]
    assert runs[3] == "mine-tiny\tmine\tentitune-tiny\tner-zh-short\ttiny\tcpu\t1\t"
    before = (tmp_path / "conf" / "datasets.yaml").read_bytes()
    again = inspect("train.json", "dev.json", "--add", "mine")
    assert again.returncode == 1
    assert "dataset 'mine' already exists" in again.stderr
    assert (tmp_path / "conf" / "datasets.yaml").read_bytes() == before


@pytest.mark.parametrize(
    ("files", "arguments", "expected"),
    [
        ({"x": "conll"}, ["x", "--add", "mine"], "A dataset needs a labelled split dev"),
        ({"dev": "cluener", "train": "conll"}, ["dev", "train"], "the splits have different formats (train: conll-bio"),
        (
            {"a": "conll", "b": "conll"},
            ["a", "b"],
            "a: the name does not tell the split; write train=a, dev=a or test=a",
        ),
        ({"dev": "plain"}, ["dev"], "dev: unknown format; the formats are cluener, conll-bio"),
        ({"dev": "rows"}, ["dev"], "dev: unknown format, JSON rows with the keys 'a', 'b'"),
        ({"dev": "conll", "train": "conll"}, ["dev", "train", "--add", "a b"], "'a b' is not safe as a name"),
        ({"dev": "gb18030"}, ["dev"], "dev: the file is GB18030, not UTF-8; convert it: iconv"),
        ({}, ["dev"], "No such file or directory: 'dev'"),
    ],
)
def test_unusable_input_is_refused(
    tmp_path: Path,
    inspect: Callable[..., Result],
    files: dict[str, str],
    arguments: list[str],
    expected: str,
) -> None:
    content = {
        "conll": to_conll(CORPUS[0], "bio").encode(),
        "cluener": to_cluener(CORPUS[0]).encode(),
        "plain": "你好\n再见\n".encode(),
        "rows": b'{"a": 1, "b": [[]]}\n',
        "gb18030": "你好\n再见\n".encode("gb18030"),
    }
    for name, kind in files.items():
        (tmp_path / name).write_bytes(content[kind])
    before = (tmp_path / "conf" / "datasets.yaml").read_bytes()
    done = inspect(*arguments)
    assert done.returncode == 1
    assert expected in done.stderr
    assert (tmp_path / "conf" / "datasets.yaml").read_bytes() == before


def test_labels_that_differ_in_case_are_named(tmp_path: Path) -> None:
    rows = [{"text": "好", "label": [[0, 1, label]]} for label in ("ORG", "LOC", "org ")]
    write_jsonl(tmp_path / "dev.json", rows)
    expected = "'ORG', 'org ' differ in case or spaces only: join them with `rename`"
    assert expected in run_script("inspect_corpus", tmp_path / "dev.json").stdout


def test_two_files_of_a_split_are_sentences_and_tags(tmp_path: Path, inspect: Callable[..., Result]) -> None:
    for split in ("train", "dev"):
        (tmp_path / f"{split}.texts").write_text("王 小 明\n好\n", encoding="utf-8")
        (tmp_path / f"{split}.tags").write_text("B-name I-name I-name\nO\n", encoding="utf-8")
    done = inspect("train.texts", "train.tags", "dev.texts", "dev.tags")
    assert done.returncode == 0, done.stderr
    assert "splits: {train: [train.texts, train.tags], dev: [dev.texts, dev.tags]}" in done.stdout


def test_long_sentences_lead_to_windows(tmp_path: Path) -> None:
    rows = [{"text": "好" * length, "label": {"name": {"好": [[0, 0]]}}} for length in (200, 201, 900)]
    write_jsonl(tmp_path / "dev.json", rows)
    advice = "2 sentences have more than 200 characters: `windows: true` in the entry splits those too long"
    assert advice in run_script("inspect_corpus", tmp_path / "dev.json").stdout
    write_jsonl(tmp_path / "dev.json", rows[:1])
    assert "windows: true" not in run_script("inspect_corpus", tmp_path / "dev.json").stdout
