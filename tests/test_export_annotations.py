"""export_annotations: predictions for annotators, read back by convert_dataset."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from corpora import LABELS, places, read, sentences, with_ids
from helpers import Result, read_jsonl, run_script, write_jsonl
from hypothesis import given
from hypothesis import strategies as st

from entitune.corpus.formats import FORMATS
from entitune.files import write_rows
from entitune.records import Sentence

WRITERS = [name for name, dialect in FORMATS.items() if dialect.write]
OPTIONS: dict[str, dict[str, Any]] = {"label-studio": {"use_predictions": True}}
PREDICTED = [
    {
        "id": "dev-1",
        "text": "😀王小明在上海",
        "gold": None,
        "pred": [
            {"label": "name", "text": "王小明", "start": 1, "end": 4},
            {"label": "book", "text": "不在", "start": None, "end": None},
            {"label": "game", "text": "上海", "start": 5, "end": 7},
            {"label": "game", "text": "上海", "start": 5, "end": 7},
        ],
        "raw": "",
        "finish_reason": "stop",
        "status": "ok",
    },
    {"id": "dev-2", "text": "好", "gold": [], "pred": [], "raw": "[]", "finish_reason": "stop", "status": "ok"},
]


def export(folder: Path, name: str) -> Result:
    done = run_script("export_annotations", "--input", "in.jsonl", "--format", name, "--output", "out", cwd=folder)
    assert "Traceback" not in done.stderr
    return done


@pytest.mark.parametrize("name", WRITERS)
def test_predictions_come_back_as_annotations(tmp_path: Path, name: str) -> None:
    write_jsonl(tmp_path / "in.jsonl", PREDICTED)
    done = export(tmp_path, name)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "out: 2 sentences, 2 mentions; left out: 1 that were not found in their sentence\n"
    rows = read(tmp_path / "out", None, name, LABELS, **OPTIONS.get(name, {}))
    found = [(row.sentence.id, row.sentence.text, places(row.sentence)) for row in rows if row.sentence]
    assert found == [("dev-1", "😀王小明在上海", [(1, 4, "name"), (5, 7, "game")]), ("dev-2", "好", [])]


@pytest.mark.parametrize("name", ["doccano", "label-studio"])
@given(corpus=st.lists(sentences(), min_size=1, max_size=4))
def test_a_round_trip_keeps_id_text_label_and_offsets(
    tmp_path_factory: pytest.TempPathFactory, name: str, corpus: list[Sentence]
) -> None:
    path = tmp_path_factory.getbasetemp() / "round-trip"
    dialect = FORMATS[name]
    assert dialect.write is not None
    (write_rows if dialect.array else write_jsonl)(path, dialect.write(with_ids(corpus)))
    rows = read(path, None, name, LABELS, **OPTIONS.get(name, {}))
    assert [row.sentence for row in rows] == with_ids(corpus)


def test_predictions_of_label_studio_are_annotations_only_on_request(tmp_path: Path) -> None:
    write_jsonl(tmp_path / "in.jsonl", PREDICTED)
    assert export(tmp_path, "label-studio").returncode == 0
    rows = read(tmp_path / "out", None, "label-studio", LABELS)
    assert [row.sentence and row.sentence.entities for row in rows] == [None, None]


def test_label_studio_tasks_have_the_form_of_its_import(tmp_path: Path) -> None:
    write_jsonl(tmp_path / "in.jsonl", PREDICTED[:1])
    assert export(tmp_path, "label-studio").returncode == 0
    (task,) = json.loads((tmp_path / "out").read_text(encoding="utf-8"))
    assert task["data"] == {"text": "😀王小明在上海", "sentence_id": "dev-1"}
    first = task["predictions"][0]["result"][0]
    assert first == {
        "id": "mention-1",
        "from_name": "label",
        "to_name": "text",
        "type": "labels",
        "value": {"start": 1, "end": 4, "text": "王小明", "labels": ["name"]},
    }


def test_records_of_the_client_are_written_without_ids(tmp_path: Path) -> None:
    record = {"text": "王小明", "entities": [{"label": "name", "text": "王小明", "start": 0, "end": 3}], "status": "ok"}
    write_jsonl(tmp_path / "in.jsonl", [record])
    assert export(tmp_path, "doccano").returncode == 0
    assert read_jsonl(tmp_path / "out") == [{"text": "王小明", "label": [[0, 3, "name"]]}]


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("[1]", "in.jsonl:1: expected an object in JSON"),
        ('{"text": "好"}', "in.jsonl:1: expected an object with text and pred"),
        ('{"text": "好", "pred": [3]}', "in.jsonl:1: mention 3; expected label, start and end"),
        ('{"text": "好", "pred": [{"label": "x", "start": 0, "end": 9}]}', "expected offsets within the text"),
        ('{"text": "好", "pred": [{"label": ["x"], "start": 0, "end": 1}]}', "expected a label that is a text"),
        ('{"text": "好", "pred": [{"label": null, "start": null, "end": null}]}', "expected a label that is a text"),
        ("no JSON", "in.jsonl:1: expected an object in JSON"),
    ],
)
def test_another_file_is_refused(tmp_path: Path, line: str, expected: str) -> None:
    (tmp_path / "in.jsonl").write_text(line + "\n", encoding="utf-8")
    done = export(tmp_path, "doccano")
    assert done.returncode == 1
    assert expected in done.stderr
    assert not (tmp_path / "out").exists()
