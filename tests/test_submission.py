"""cluener_predict.json has the format of the example in the benchmark's archive."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import pytest
from helpers import run_script, write_jsonl, zipped_rows
from predictions import LABELS, entity

from entitune.cli import InputError
from entitune.files import to_json
from entitune.records import Mention, Prediction
from write_submission import submission


def prediction(number: str, text: str, pred: list[dict[str, Any]]) -> Prediction:
    return Prediction(id=number, text=text, gold=None, pred=tuple(Mention(**one) for one in pred), status="ok")


def test_the_published_example_is_reproduced(cluener_archive: Path) -> None:
    with zipfile.ZipFile(cluener_archive) as files:
        example = files.read("cluener_predict.json").decode("utf-8").splitlines()
    sentences = zipped_rows(cluener_archive, "test.json")
    compared = 0
    for line, sentence in zip(example, sentences, strict=False):
        if "?" in line:  # placeholder lines of the example
            continue
        pred = [
            entity(label, surface, start, end + 1)
            for label, surfaces in json.loads(line)["label"].items()
            for surface, spans in surfaces.items()
            for start, end in spans
        ]
        record = prediction(str(sentence["id"]), sentence["text"], pred[::-1])
        assert to_json(submission(record, [*LABELS, "goverment"])) == line  # as spelled in the example
        compared += 1
    assert compared == 4


def test_a_row_of_the_submission_has_sorted_labels_and_inclusive_ends() -> None:
    pred = [
        entity("name", "乙", 4, 5),
        entity("name", "甲", 2, 3),
        entity("name", "甲", 0, 1),
        entity("name", "甲", 0, 1),
        entity("address", "CS", 5, 7),  # grounded after NFKC: the text is that of the sentence
        entity("name", "丙"),
        entity("动物", "甲", 0, 1),
    ]
    assert submission(prediction("7", "甲见甲和乙ＣＳ", pred), LABELS) == {
        "id": 7,
        "label": {"address": {"ＣＳ": [[5, 6]]}, "name": {"甲": [[0, 0], [2, 2]], "乙": [[4, 4]]}},
    }
    assert submission(prediction("0", "甲", []), LABELS) == {"id": 0, "label": {}}


def test_an_id_that_is_not_a_number_is_refused() -> None:
    with pytest.raises(InputError, match="the id must be a number"):
        submission(prediction("test-1", "甲", []), LABELS)


def test_the_script_writes_the_file_and_refuses_an_empty_one(tmp_path: Path) -> None:
    path = write_jsonl(
        tmp_path / "p.jsonl",
        [
            prediction("0", "甲", [entity("name", "甲", 0, 1), entity("name", "丙"), entity("动物", "甲", 0, 1)]),
            prediction("1", "乙", []),
        ],
    )
    out = tmp_path / "cluener_predict.json"
    done = run_script("write_submission", "--predictions", path, "--output", out, "--labels", ",".join(LABELS))
    assert done.returncode == 0, done.stderr
    assert out.read_text(encoding="utf-8") == (
        '{"id": 0, "label": {"name": {"甲": [[0, 0]]}}}\n{"id": 1, "label": {}}\n'
    )
    assert "2 sentences, 1 mentions; left out: 1 that were not found in their sentence, 1 whose label" in done.stdout

    path.write_text("", encoding="utf-8")
    refused = run_script(
        "write_submission", "--predictions", path, "--output", tmp_path / "x", "--labels", ",".join(LABELS)
    )
    assert refused.returncode == 1
    assert "no prediction" in refused.stderr
    assert not (tmp_path / "x").exists()
