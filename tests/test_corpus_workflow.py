"""A user's own corpora in the workflow: from raw files to canonical JSON lines."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from helpers import copy_repository, read_jsonl, run_script, snakemake

pytestmark = pytest.mark.workflow

FILES = {
    "brat/train/a.txt": "王小明在上海。\n没有人。\n",
    "brat/train/a.ann": "T1\tname 0 3\t王小明\n",
    "brat/dev/a.txt": "李红来了。\n",
    "brat/dev/a.ann": "T1\tname 0 2\t李红\n",
    "pair/train.texts": "王 小 明 在 上 海\n没 有 人\n",
    "pair/train.tags": "B-name I-name I-name O O O\nO O O\n",
    "pair/dev.texts": "李 红 来 了\n",
    "pair/dev.tags": "B-name I-name O O\n",
    "unlabelled/train.jsonl": '{"text": "王小明在上海", "label": [[0, 3, "name"]]}\n',
    "unlabelled/dev.jsonl": '{"text": "李红来了"}\n',
}


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the repository with corpora in a user's folder, added by inspect_corpus."""
    folder = copy_repository(tmp_path_factory.mktemp("corpora") / "repository")
    for name, content in FILES.items():
        path = folder.parent / "my data" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content, encoding="utf-8")
    for name, files in {
        "brat": ["../my data/brat/train", "../my data/brat/dev"],
        "pair": [f"../my data/pair/{split}.{kind}" for split in ("train", "dev") for kind in ("texts", "tags")],
    }.items():
        done = run_script("inspect_corpus", *files, "--add", name, cwd=folder)
        assert done.returncode == 0, done.stderr
    return folder


@pytest.mark.parametrize("name", ["brat", "pair"])
def test_an_added_corpus_is_converted(repository: Path, name: str) -> None:
    targets = [f"results/datasets/{name}/{split}.jsonl" for split in ("train", "dev")]
    done = snakemake(repository, *targets, "--cores", "1")
    assert done.returncode == 0, done.stdout
    found = [row["entities"] for row in read_jsonl(repository / targets[0])]
    assert found == [[{"label": "name", "text": "王小明", "start": 0, "end": 3}], []]
    summary = json.loads((repository / f"results/datasets/{name}/dev.summary.json").read_text(encoding="utf-8"))
    assert (summary["sentences"], summary["mentions"]) == (1, 1)
    assert summary["source"].startswith("../my data/")


def test_a_change_in_a_folder_is_noticed_and_messages_name_the_users_file(repository: Path) -> None:
    target = "results/datasets/brat/dev.jsonl"
    assert snakemake(repository, target, "--cores", "1").returncode == 0
    annotation = repository.parent / "my data" / "brat" / "dev" / "a.ann"
    annotation.write_text("T1\tname 1 3\t李红\n", encoding="utf-8")
    done = snakemake(repository, target, "--cores", "1")
    assert done.returncode == 1
    assert (
        "../my data/brat/dev/a.ann:1: name [1, 3]: these offsets hold '红来'; the surface is at [0, 2]" in done.stdout
    )
    annotation.write_text("T1\tname 0 2\t李红\n", encoding="utf-8")


def test_a_dev_split_without_labels_is_refused_at_conversion(repository: Path) -> None:
    with (repository / "conf" / "datasets.yaml").open("a", encoding="utf-8") as stream:
        folder = "../my data/unlabelled"
        stream.write("unlabelled:\n  format: doccano\n  labels: [name]\n")
        stream.write(f"  splits: {{train: {folder}/train.jsonl, dev: {folder}/dev.jsonl}}\n")
    done = snakemake(repository, "results/datasets/unlabelled/dev.jsonl", "--cores", "1")
    assert done.returncode == 1
    assert "my data/unlabelled/dev.jsonl: no labels; format doccano has them under" in done.stdout
