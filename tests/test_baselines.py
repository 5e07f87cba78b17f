"""Baselines: IOB2 tags, the CRF, predictions of other systems, a BERT token classifier."""

from __future__ import annotations

import json
import os
import random
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
from corpora import tags_of, to_cluener, to_conll
from helpers import (
    ROOT,
    SHEET,
    Result,
    copy_repository,
    edit_yaml,
    python_of,
    read_tsv,
    run_script,
    snakemake,
    write_jsonl,
)
from hypothesis import given
from hypothesis import strategies as st
from predictions import LABELS

from entitune.bio_tags import read_bio, write_bio
from entitune.corpus.formats import FORMATS
from entitune.corpus.options import CorpusOptions
from entitune.corpus.sources import Source
from entitune.engines.crf import features
from entitune.evaluation.imported import import_predictions, read_imported
from entitune.job_records import JobRecord
from entitune.records import Entity, Mention, Prediction, Sentence, read_predictions

# --- tags ------------------------------------------------------------------------------------------------------------

TEXT = "北京大学在北京"
labels = st.sampled_from(["a", "b", "a-b", "类型"])
entities = st.lists(
    st.builds(
        lambda label, bounds: Entity(label, TEXT[min(bounds) : max(bounds)], min(bounds), max(bounds)),
        labels,
        st.tuples(st.integers(0, 7), st.integers(0, 7)).filter(lambda bounds: bounds[0] != bounds[1]),
    ),
    max_size=6,
)


@given(entities)
def test_tags_keep_entities_that_they_can_represent(entities: list[Entity]) -> None:
    tags, left_out = write_bio(entities, len(TEXT))
    read = read_bio(TEXT, tags)
    assert set(read) <= set(entities)
    assert len(read) + len(left_out) == len(entities)
    assert set(left_out) <= {"overlap"}
    if all(one.end <= other.start or other.end <= one.start for one in entities for other in entities if one != other):
        assert sorted(read, key=lambda one: one.start) == sorted(set(entities), key=lambda one: one.start)


def test_entities_that_tags_cannot_represent_are_left_out_with_a_reason() -> None:
    mentions = [Mention("", "北", 0, 1), Mention("-x", "北", 0, 1), Mention("a\n", "北", 0, 1), Mention("a", "上海")]
    assert write_bio(mentions, 7) == (["O"] * 7, ["label", "label", "label", "no place"])


def test_an_inside_tag_without_a_beginning_starts_an_entity() -> None:
    tags = ["I-a", "I-a", "I-b", "O", "I-a", "B-a", "I-a"]
    assert [(one.label, one.text) for one in read_bio(TEXT, tags)] == [
        ("a", "北京"),
        ("b", "大"),
        ("a", "在"),
        ("a", "北京"),
    ]


# --- the CRF ---------------------------------------------------------------------------------------------------------


def test_features_are_those_of_the_character_and_its_neighbours() -> None:
    found = features("在A1，。")
    assert len(found) == 5
    assert {len(one) for one in found} == {len(found[0])}
    assert {"0=1", "-1=A", "1=，", "-2=在", "2=。", "-1,0=A1", "-1,1=A，", "-1,0,1=A1，", "kind=N", "kinds=LNP"} <= set(
        found[2]
    )
    assert features("") == []
    shifted = features("了在A1，。")
    assert shifted[3] == found[2]  # characters at a distance of more than two have no effect


@pytest.fixture(scope="module")
def crf_python() -> Path:
    done = snakemake(ROOT, ".envs/crf/.built", "--cores", "1")
    assert done.returncode == 0, done.stdout
    return python_of("crf")


def corpus(seed: int, sentences: int) -> list[Sentence]:
    """A corpus that a CRF can learn from neighbours: names before 说 and places after 在."""
    generator = random.Random(seed)
    made = []
    for number in range(sentences):
        name = "".join(generator.choices("赵钱孙李周吴郑王", k=2))
        place = "".join(generator.choices("东西南北山河湖海", k=2)) + "市"
        text = f"{name}说，他在{place}工作。"
        spans = [Entity("name", name, 0, 2), Entity("address", place, 6, 9)]
        made.append(Sentence(f"{seed}-{number}", text, tuple(spans)))
    return made


@pytest.mark.engine
def test_the_crf_learns_and_predicts(crf_python: Path, tmp_path: Path) -> None:
    train, dev = (write_jsonl(tmp_path / f"{seed}.jsonl", corpus(seed, 60)) for seed in (1, 2))
    for name in ("model", "again"):
        given = ["--sentences", train, "--record", tmp_path / "record.json", "--output", tmp_path / name]
        done = run_script("train_crf", *given, python=crf_python)
        assert done.returncode == 0, done.stderr
    assert JobRecord.read(tmp_path / "record.json").seconds > 0
    assert (tmp_path / "model").read_bytes() == (tmp_path / "again").read_bytes()
    out = tmp_path / "predictions.jsonl"
    given = ["--sentences", dev, "--model", tmp_path / "model", "--output", out]
    done = run_script("predict_crf", *given, python=crf_python)
    assert done.returncode == 0, done.stderr
    predictions = list(read_predictions(out))
    assert [one.id for one in predictions] == [f"2-{number}" for number in range(60)]
    right = sum(
        [(m.label, m.start, m.end) for m in one.pred] == [(e.label, e.start, e.end) for e in one.gold or ()]
        for one in predictions
    )
    assert right >= 55
    assert {one.finish_reason for one in predictions} == {"crf"}

    (tmp_path / "bad").write_text("no model", encoding="utf-8")
    for script, given, message in (
        ("predict_crf", ["--sentences", dev, "--model", tmp_path / "bad"], "not a model of train_crf"),
        ("train_crf", ["--sentences", write_jsonl(tmp_path / "u", [{"id": "1", "text": "甲"}])], "u:1: unlabelled"),
        ("train_crf", ["--sentences", write_jsonl(tmp_path / "e", corpus(1, 0))], "no entity in 0 sentences"),
    ):
        refused = run_script(script, *given, "--output", tmp_path / "no", python=crf_python)
        assert refused.returncode == 1
        assert message in refused.stderr
        assert "Traceback" not in refused.stderr
        assert not (tmp_path / "no").exists()


# --- imported predictions --------------------------------------------------------------------------------------------

SPLIT = [
    Sentence("dev-1", "北京大学在北京", (Entity("org", "北京大学", 0, 4),)),
    Sentence("dev-2", "同一句", ()),
    Sentence("dev-3", "同一句", (Entity("org", "同", 0, 1),)),
    Sentence("7", "末句", None),
]
ROWS: list[dict[str, Any]] = [
    {"id": 7, "entities": []},
    {"id": "dev-3", "text": "同一句", "pred": [{"label": "org", "text": "同", "start": 0, "end": 1}]},
    {"text": "同一句", "entities": []},
    {
        "text": "北京大学在北京",
        "pred": [
            {"label": "loc", "text": "北京"},
            {"label": "org", "text": "北京大学"},
            {"label": "x", "text": "上海"},
        ],
    },
]


def with_place(text: str, start: int, end: int) -> dict[str, Any]:
    return {"id": "7", "entities": [{"label": "a", "text": text, "start": start, "end": end}]}


def imported(tmp_path: Path, rows: list[dict[str, Any]]) -> Any:
    split = write_jsonl(tmp_path / "split.jsonl", SPLIT)
    theirs = write_jsonl(tmp_path / "theirs.jsonl", rows)
    given = ["--predictions", theirs, "--sentences", split, "--output", tmp_path / "out.jsonl"]
    return run_script("import_predictions", *given)


def test_rows_are_matched_by_id_and_text_in_any_order(tmp_path: Path) -> None:
    for rows in (ROWS, ROWS[::-1]):
        done = imported(tmp_path, rows)
        assert done.returncode == 0, done.stderr
        assert "4 sentences, 4 mentions, 1 of them not found in their sentence" in done.stdout
        predictions = list(read_predictions(tmp_path / "out.jsonl"))
        assert [Sentence(one.id, one.text, one.gold) for one in predictions] == SPLIT
        assert [one.pred for one in predictions] == [
            (Mention("loc", "北京", 5, 7), Mention("org", "北京大学", 0, 4), Mention("x", "上海")),
            (),
            (Mention("org", "同", 0, 1),),
            (),
        ]
        assert {(one.status, one.finish_reason) for one in predictions} == {("ok", "imported")}


def test_predictions_can_be_imported_again(tmp_path: Path) -> None:
    assert imported(tmp_path, ROWS).returncode == 0
    first = (tmp_path / "out.jsonl").read_bytes()
    rows = [json.loads(line) for line in first.decode("utf-8").splitlines()]
    assert imported(tmp_path, rows).returncode == 0
    assert (tmp_path / "out.jsonl").read_bytes() == first


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (ROWS[:-1], "1 of 4 sentences of the split are missing: dev-1"),
        (ROWS[1:], "1 of 4 sentences of the split are missing: 7"),
        ([*ROWS, {"text": "别句", "entities": []}], ":5: the split has no sentence '别句'"),
        ([*ROWS, {"id": "dev-9", "entities": []}], ":5: the split has no id 'dev-9'"),
        ([*ROWS, {"id": "7", "entities": []}], ":5: a second row for id '7'"),
        (
            [*ROWS, {"text": "同一句", "entities": []}],
            ":5: the sentence '同一句' has more rows than occurrences in the split",
        ),
        ([{**ROWS[0], "text": "别句"}, *ROWS[1:]], ":1: the sentence with id '7' is '末句' in the split, not '别句'"),
        ([{"entities": []}], ":1: expected text or id, and either entities or pred"),
        ([{"id": "7"}], ":1: expected text or id, and either entities or pred"),
        ([{"id": "7", "entities": [{"label": "a"}]}], ":1: expected entities with end, label, start, text"),
        ([{"id": "7", "entities": [{"label": "a", "text": "末", "start": 0}]}], ":1: expected entities with"),
        ([with_place("末", 1, 2), *ROWS[1:]], ":1: '末' is not at offsets 1 to 2"),
        ([with_place("句", -1, 2), *ROWS[1:]], ":1: '句' is not at offsets -1 to 2"),
        ([with_place("末句", 0, 3), *ROWS[1:]], ":1: '末句' is not at offsets 0 to 3"),
    ],
)
def test_predictions_that_cannot_be_imported_are_named(
    tmp_path: Path, rows: list[dict[str, Any]], message: str
) -> None:
    done = imported(tmp_path, rows)
    assert done.returncode == 1
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "out.jsonl").exists()


def test_predictions_in_the_formats_of_corpora_are_imported(tmp_path: Path) -> None:
    split = write_jsonl(tmp_path / "split.jsonl", [Sentence("a", "温格在曼联", ()), Sentence("b", "无", ())])
    bio = "温 B-name\n格 I-name\n在 O\n曼 B-org\n联 I-org\n\n无 O\n"
    files = {
        "conll-bio": bio,
        "cluener": '{"text": "无", "label": {}}\n{"text": "温格在曼联", "label":'
        ' {"name": {"温格": [[0, 1]]}, "org": {"曼联": [[3, 4]]}}}\n',
    }
    outputs = []
    for name, content in files.items():
        (tmp_path / name).write_text(content, encoding="utf-8")
        outputs.append(tmp_path / f"{name}.jsonl")
        given = ["--predictions", tmp_path / name, "--format", name, "--sentences", split, "--output", outputs[-1]]
        done = run_script("import_predictions", *given)
        assert done.returncode == 0, done.stderr
    assert outputs[0].read_bytes() == outputs[1].read_bytes()
    first, second = read_predictions(outputs[0])
    assert first.pred == (Mention("name", "温格", 0, 2), Mention("org", "曼联", 3, 5))
    assert second.pred == ()

    for name, content, message in (
        ("conll-bio", bio.replace("I-name", "I-org"), "conll-bio:2"),
        ("cluener", '{"text": "无"}\n', "cluener:1: no list of mentions"),
        ("cluener", '{"text": "五", "label": {}}\n', "cluener:1: the split has no sentence '五'"),
    ):
        (tmp_path / name).write_text(content, encoding="utf-8")
        given = ["--predictions", tmp_path / name, "--format", name, "--sentences", split, "--output", tmp_path / "no"]
        refused = run_script("import_predictions", *given)
        assert refused.returncode == 1
        assert message in refused.stderr
        assert not (tmp_path / "no").exists()
    wrong = run_script("import_predictions", *given, "--options", '{"nope": 1}')
    assert wrong.returncode == 2
    assert "nope" in wrong.stderr


def write_in(name: str, folder: Path, sentences: list[Sentence]) -> list[Path]:
    """Write sentences in a format, as a file, two files or a folder."""
    tags = [tags_of(one) for one in sentences]
    match name:
        case "cluener":
            content = "".join(map(to_cluener, sentences))
        case "conll-bio" | "conll-bmes" | "conll-bioes":
            content = "".join(to_conll(one, name.removeprefix("conll-")) for one in sentences)
        case "huggingface":
            rows = [{"tokens": [*one.text], "ner_tags": row} for one, row in zip(sentences, tags, strict=True)]
            content = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        case "boson":
            marked = [one.text.replace("温格", "{{name:温格}}") for one in sentences]
            content = "".join(text + "\n" for text in marked)
        case "parallel":
            texts = [" ".join(one.text) + "\n" for one in sentences]
            for file, lines in (("texts", texts), ("tags", [" ".join(row) + "\n" for row in tags])):
                (folder / file).write_text("".join(lines), encoding="utf-8")
            return [folder / "texts", folder / "tags"]
        case "brat":
            (folder / "brat").mkdir()
            for number, one in enumerate(sentences):
                (folder / f"brat/{number}.txt").write_text(one.text + "\n", encoding="utf-8")
                lines = [f"T{n}\t{e.label} {e.start} {e.end}\t{e.text}\n" for n, e in enumerate(one.entities or (), 1)]
                (folder / f"brat/{number}.ann").write_text("".join(lines), encoding="utf-8")
            return [folder / "brat"]
        case _:
            write = FORMATS[name].write
            assert write
            written = list(write(sentences))
            lines = [json.dumps(row, ensure_ascii=False) + "\n" for row in written]
            content = json.dumps(written, ensure_ascii=False) if FORMATS[name].array else "".join(lines)
    (folder / "file").write_text(content, encoding="utf-8")
    return [folder / "file"]


@pytest.mark.parametrize("name", [name for name in FORMATS if name != "json"])  # json needs a mapping
def test_predictions_in_every_format_that_the_pipeline_reads_are_imported(name: str, tmp_path: Path) -> None:
    expected = [Sentence("1", "温格在曼联", (Entity("name", "温格", 0, 2),)), Sentence("2", "无", ())]
    options = CorpusOptions(use_predictions=True) if name == "label-studio" else CorpusOptions()
    rows = list(read_imported(Source.of(write_in(name, tmp_path, expected)), name, options))
    split = [Sentence(f"dev-{number}", one.text, ()) for number, one in enumerate(expected)]
    for predictions in (import_predictions(rows, split, "x"), import_predictions(rows[::-1], split, "x")):
        assert [one.pred for one in predictions] == [(Mention("name", "温格", 0, 2),), ()]


IMPORTS = """
theirs: {predictions: data/theirs.jsonl, test_predictions: data/theirs-test.jsonl, system: a system}
tagged: {predictions: [data/words.txt, data/tags.txt], format: parallel, system: a tagger}
"""


@pytest.mark.engine
def test_other_systems_and_a_crf_are_in_one_table_on_dev_and_test(crf_python: Path, tmp_path: Path) -> None:
    """A workflow from the sheet to the table, the comparison and the error analysis, without a model or a GPU."""
    folder = copy_repository(tmp_path / "repository")
    data, splits = folder / "data", {split: corpus(seed, 30) for seed, split in enumerate(("train", "dev", "test"), 1)}
    for split, sentences in splits.items():
        write_jsonl(data / f"mine-{split}.jsonl", sentences)
    wrong = {**splits["test"][0].to_dict(), "entities": []}
    write_jsonl(data / "theirs.jsonl", splits["dev"])
    write_jsonl(data / "theirs-test.jsonl", [wrong, *splits["test"][1:]])
    tags = [write_bio(one.entities or (), len(one.text))[0] for one in splits["dev"]]
    (data / "words.txt").write_text("".join(" ".join(one.text) + "\n" for one in splits["dev"]), encoding="utf-8")
    (data / "tags.txt").write_text("".join(" ".join(row) + "\n" for row in tags), encoding="utf-8")
    edit_yaml(
        folder / "conf/datasets.yaml",
        mine={
            "format": "entitune",
            "labels": ["name", "address"],
            "splits": {split: f"data/mine-{split}.jsonl" for split in splits},
        },
    )
    (folder / "conf/imports.yaml").write_text(IMPORTS, encoding="utf-8")
    trains = {"mine-crf": "crf", "mine-theirs": "import:theirs", "mine-tagged": "import:tagged"}
    rows = [f"{name}\tmine\t-\t-\t{train}\t-\t1\t\n" for name, train in trains.items()]
    (folder / "conf/runs.tsv").write_text(SHEET + "".join(rows), encoding="utf-8")

    def covering(runs: str, splits: str, *options: str) -> Result:
        return snakemake(folder, "analysis", "--cores", "all", *options, "--config", f"runs={runs}", f"splits={splits}")

    refused = covering("mine-tagged", "dev,test", "-n")
    assert "conf/imports.yaml: tagged: test_predictions: missing" in refused.stdout
    for runs, covered in (("mine-crf,mine-theirs,mine-tagged", "dev"), ("mine-crf,mine-theirs", "dev,test")):
        done = covering(runs, covered)
        assert done.returncode == 0, done.stdout
        table = read_tsv(folder / "results/metrics.tsv")
        scored = {(one["run"], one["split"]): float(one["f1"]) for one in table if one["label"] == "micro"}
        assert set(scored) == {(run, split) for run in runs.split(",") for split in covered.split(",")}
        assert scored["mine-theirs", "dev"] == scored.get(("mine-tagged", "dev"), 1.0) == 1.0
    assert 0.9 < scored["mine-theirs", "test"] < 1.0
    compared = read_tsv(folder / "results/comparison.tsv")
    assert {one["split"] for one in compared} == {"dev", "test"}
    assert (folder / "results/mine-theirs/seed-1/errors/test/categories.tsv").is_file()
    manifest = json.loads((folder / "results/mine-theirs/seed-1/manifest.json").read_text(encoding="utf-8"))
    assert {"data/theirs.jsonl", "data/theirs-test.jsonl"} <= set(manifest["files"])


# --- BERT ------------------------------------------------------------------------------------------------------------

TINY_BERT = """
import sys
import torch
from transformers import BertConfig, BertForTokenClassification, BertTokenizerFast

folder, labels, characters = sys.argv[1], sys.argv[2].split(","), sys.argv[3]
vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *characters]
with open(f"{folder}/vocab.txt", "w", encoding="utf-8") as stream:
    stream.write("\\n".join(vocabulary) + "\\n")
tags = ["O", *(f"{prefix}-{label}" for label in labels for prefix in "BI")]
torch.manual_seed(1)
config = BertConfig(
    vocab_size=len(vocabulary), hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64,
    initializer_range=1.0, id2label=dict(enumerate(tags)), label2id={tag: i for i, tag in enumerate(tags)},
)
BertForTokenClassification(config).save_pretrained(folder)
BertTokenizerFast(f"{folder}/vocab.txt").save_pretrained(folder)
"""


@pytest.mark.engine
def test_the_documented_bert_script_makes_predictions_for_the_import(tmp_path: Path) -> None:
    page = (ROOT / "docs" / "baselines.md").read_text(encoding="utf-8")
    (recipe,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    (tmp_path / "bert.py").write_text(recipe, encoding="utf-8")
    (tmp_path / "tiny.py").write_text(TINY_BERT, encoding="utf-8")
    sentences = [Sentence("1", "温 格的球队", (Entity("name", "温 格", 0, 3),)), *corpus(1, 20)]
    split = write_jsonl(tmp_path / "dev.jsonl", sentences)
    model = tmp_path / "my-bert"
    model.mkdir()
    characters = "".join(sorted({character for one in sentences for character in one.text} - {" ", "李"}))
    python = str(python_of("train"))
    for command in (
        ["tiny.py", str(model), ",".join(LABELS), characters],
        ["bert.py", str(model), str(split), "theirs.jsonl"],
    ):
        done = subprocess.run(
            [python, *command],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(ROOT / "scripts"), "HF_HUB_OFFLINE": "1"},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
    out = tmp_path / "imported.jsonl"
    done = run_script(
        "import_predictions", "--predictions", tmp_path / "theirs.jsonl", "--sentences", split, "--output", out
    )
    assert done.returncode == 0, done.stderr
    predictions: list[Prediction] = list(read_predictions(out))
    assert [one.gold for one in predictions] == [one.entities for one in sentences]
    found = [mention for one in predictions for mention in one.pred]
    assert len(found) > len(sentences)  # a random classifier marks many entities
    assert all(mention.start is not None for mention in found)
    assert {mention.label for mention in found} <= set(LABELS)
    scored = ["--run", "bert", "--seed", 1, "--dataset", "d", "--split", "dev", "--labels", ",".join(LABELS)]
    done = run_script("score_predictions", "--predictions", out, *scored, "--output", tmp_path / "scores.tsv")
    assert done.returncode == 0, done.stderr
