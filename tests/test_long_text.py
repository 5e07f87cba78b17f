"""Long sentences, end to end with the real engines: windows in training and prediction, sentences in scores."""

from __future__ import annotations

import itertools
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from helpers import demo_rows, read_jsonl, read_tsv, snakemake, write_jsonl

pytestmark = pytest.mark.engine

SENTENCES = 12
"""The number of demo sentences that are joined into a long one."""
HELD_BY_NONE = 100
"""The length of a mention that is longer than a window."""
CUTS = str.maketrans(dict.fromkeys("。！？，、；：", "～"))
"""Characters at which a window ends if possible."""
ENTRIES = {
    "datasets": """
long:
  format: cluener
  labels: *cluener_labels
  splits: {train: data/long/train.json, dev: data/long/dev.json}
  windows: true
""",
    "models": """
demo-tuned: {source: path, path: results/demo/seed-1/merged, revision: demo, licence: Apache-2.0, template: qwen}
""",
    "decode": """
cpu-narrow:
  <<: *cpu
  max_tokens: 150
  max_model_len: 300
""",
    "recipes": """
demo-narrow: {config: train/demo-narrow.yaml, gpus: 0, threads: 1, mem_mb: 4000, runtime: 15}
""",
}
ROWS = """long\tlong\tdemo-tuned\tner-zh-short-brackets\tnone\tcpu-narrow\t1\t
long-train\tlong\tentitune-tiny\tner-zh-short\tdemo-narrow\tcpu-narrow\t1\t
"""


def joined(rows: list[dict[str, Any]], cuts: bool = True) -> dict[str, Any]:
    """Join sentences in CLUENER's format; without `cuts`, there is no good end for a window."""
    text = ""
    label: dict[str, dict[str, list[list[int]]]] = {}
    for row in rows:
        for name, surfaces in row["label"].items():
            for surface, offsets in surfaces.items():
                surface = surface if cuts else surface.translate(CUTS)
                moved = [[start + len(text), end + len(text)] for start, end in offsets]
                label.setdefault(name, {}).setdefault(surface, []).extend(moved)
        text += row["text"]
    return {"text": text if cuts else text.translate(CUTS), "label": label}


@pytest.fixture(scope="module")
def long_text(demo: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the demo with long and short sentences, and the model of the demo's first seed.

    Starts one engine and runs seven steps in the engines' environments: about a minute on two idle cores.
    """
    folder = tmp_path_factory.mktemp("long") / "copy"
    shutil.copytree(demo, folder, symlinks=True)
    train, dev = demo_rows("train")[:48], demo_rows("dev")
    groups = [dev[start : start + SENTENCES] for start in range(0, 60, SENTENCES)]
    long = [joined(group, cuts=group is not groups[-1]) for group in groups]
    start = long[-1]["text"][:HELD_BY_NONE]
    long[-1]["label"].setdefault("book", {})[start] = [[0, HELD_BY_NONE - 1]]
    write_jsonl(folder / "data/long/train.json", [joined(train[:24]), joined(train[24:], cuts=False), *train[:8]])
    write_jsonl(folder / "data/long/dev.json", [*long, *dev[60:80]])
    for name, text in ENTRIES.items():
        with (folder / f"conf/{name}.yaml").open("a", encoding="utf-8") as stream:
            stream.write(text)
    with (folder / "conf/runs.tsv").open("a", encoding="utf-8") as stream:
        stream.write(ROWS)
    recipe = (folder / "conf/train/demo.yaml").read_text(encoding="utf-8")
    (folder / "conf/train/demo-narrow.yaml").write_text(recipe.replace("cutoff_len: 512", "cutoff_len: 240"))
    targets = ["results/long/seed-1/manifest.json", "results/long-train/training_rows.json"]
    done = snakemake(folder, *targets, "--cores", "all")
    assert done.returncode == 0, done.stdout
    return folder


def test_long_sentences_are_predicted_in_windows_and_scored_as_sentences(long_text: Path) -> None:
    predictions = read_jsonl(long_text / "results/long/seed-1/predictions/dev.jsonl")
    sentences = read_jsonl(long_text / "results/datasets/long/dev.jsonl")
    assert [(one["id"], one["text"], one["gold"]) for one in predictions] == [
        (one["id"], one["text"], one["entities"]) for one in sentences
    ]
    for one in predictions[:5]:
        starts, ends = zip(*one["windows"], strict=True)
        assert (starts[0], ends[-1]) == (0, len(one["text"]))
        assert len(starts) > 3
    assert [start for start, _ in predictions[0]["windows"][1:]] == [end for _, end in predictions[0]["windows"][:-1]]
    last = predictions[4]["windows"]
    assert all(after[0] < before[1] for before, after in itertools.pairwise(last))
    placed = [(one["text"], mention) for one in predictions for mention in one["pred"] if mention["start"] is not None]
    assert placed
    assert all(text[mention["start"] : mention["end"]] == mention["text"] for text, mention in placed)
    # A sentence that fits has the same prompt and the same answer as without windows.
    short = {one["text"]: one for one in read_jsonl(long_text / "results/demo/seed-1/predictions/dev.jsonl")}
    assert all("windows" not in one and one["raw"] == short[one["text"]]["raw"] for one in predictions[5:])
    # In windows the model finds about as much as in single sentences.
    scores = {
        run: next(
            float(row["f1"])
            for row in read_tsv(long_text / f"results/{run}/seed-1/scores/dev.tsv")
            if (row["scoring"], row["label"]) == ("spans", "micro")
        )
        for run in ("demo", "long")
    }
    assert scores["long"] > 0.6 * scores["demo"]


def test_training_and_prediction_use_the_same_windows(long_text: Path) -> None:
    """check_training_rows has compared the trainer's rows with the windows, and check_parity the prompts."""
    folder = long_text / "results/datasets/long/ner-zh-short/entitune-tiny/windows-240"
    rows = json.loads((folder / "cutoff-240/train.json").read_text(encoding="utf-8"))
    checked = json.loads((long_text / "results/long-train/training_rows.json").read_text(encoding="utf-8"))
    summary = json.loads((folder / "train.summary.json").read_text(encoding="utf-8"))
    assert checked["rows"] == checked["equal"] == len(rows) == summary["windows"] > 15
    assert (summary["sentences"], summary["split"]) == (10, 2)
    windows = {one["id"]: one for one in read_jsonl(folder / "train.jsonl")}
    for row in rows:
        window = windows[row["id"]]
        assert row["input"] == window["text"]
        named = [{"label": one["label"], "text": one["text"]} for one in window["entities"]]
        assert json.loads(row["output"]) == named
    tokens = read_jsonl(folder / "train.tokens.jsonl")
    assert max(len(row["prompt_ids"]) + row["answer_tokens"] for row in tokens) <= 240


def test_a_mention_that_no_window_contains_is_reported(long_text: Path) -> None:
    folder = long_text / "results/datasets/long/ner-zh-short-brackets/demo-tuned/windows-300-150"
    summary = json.loads((folder / "dev.summary.json").read_text(encoding="utf-8"))
    assert summary["mentions_lost"] == 1
    manifest = json.loads((long_text / "results/long/seed-1/manifest.json").read_text(encoding="utf-8"))
    reason = {"whole in no window": 1}
    assert manifest["left_out"] == [
        {"split": "dev", "what": "mentions", "count": 1, "of": summary["mentions"], "kinds": reason}
    ]
    page = (long_text / "results/long/seed-1/scores/dev.md").read_text(encoding="utf-8")
    assert f"- dev: 1 of {summary['mentions']} mentions left out: whole in no window (1)\n" in page
