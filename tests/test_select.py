"""A recipe with `select`: the best checkpoint on held-out rows is the adapter, and only stale steps rerun.

One training of 40 steps (about a minute with its two engine starts) serves all tests.
"""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest
from helpers import read_jsonl, read_tsv, replace_in, run_script, snakemake

from entitune.corpus.same_text import text_key
from entitune.corpus.selection import hold_out
from entitune.records import read_sentences

pytestmark = pytest.mark.engine

RUN = "chosen+train_rows=80"
FOLDER = f"results/{RUN}/seed-1"
ROW = "chosen\tdemo\tentitune-tiny\tner-zh-short-brackets\tdemo-select\tcpu\t1\ttrain_rows=80\n"
FEW_SHOT = "results/datasets/demo/ner-zh-short-brackets-5shot"
ANSWERS = {"predict_shard", "select_checkpoint", "merge_adapter", "read_answers", "score_predictions", "write_manifest"}


@pytest.fixture(scope="module")
def chosen(demo: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the demo in which RUN has finished, trained on 80 of the rows that are not held out."""
    folder = tmp_path_factory.mktemp("select") / "copy"
    shutil.copytree(demo, folder, symlinks=True)
    with (folder / "conf/runs.tsv").open("a", encoding="utf-8") as stream:
        stream.write(ROW)
    done = snakemake(folder, f"{FOLDER}/manifest.json", "--cores", "all")
    assert done.returncode == 0, done.stdout
    return folder


def keys(path: Path) -> set[str]:
    return {text_key(sentence.text) for sentence in read_sentences(path)}


def would_run(folder: Path) -> set[str]:
    done = snakemake(folder, f"{FOLDER}/manifest.json", "-n", "--cores", "all")
    assert done.returncode == 0, done.stdout
    return set(re.findall(r"^(?:local)?rule (\w+):", done.stdout, re.MULTILINE))


def test_held_out_rows_choose_the_checkpoint_and_are_not_trained_on(chosen: Path) -> None:
    data = chosen / "results/datasets/demo"
    (registered,) = data.glob("ner-zh-short-brackets/entitune-tiny/cutoff-512.held_out-0.1.rows-80.seed-1/train.json")
    trained = {text_key(row["input"]) for row in json.loads(registered.read_text(encoding="utf-8"))}
    held_out = keys(chosen / FOLDER / "held_out.jsonl")
    assert (len(trained), len(held_out)) == (80, 64)
    assert not held_out & (trained | keys(data / "dev.jsonl"))
    assert held_out == {text_key(one.text) for one in hold_out(list(read_sentences(data / "train.jsonl")), 0.1, 1)[1]}


def test_the_best_checkpoint_is_the_adapter(chosen: Path) -> None:
    rows = read_tsv(chosen / FOLDER / "checkpoints.tsv")
    assert [row["step"] for row in rows] == ["10", "20", "30", "40"]
    assert {row["sentences"] for row in rows} == {"64"}
    (best,) = [row for row in rows if row["chosen"] == "yes"]
    first_of_best = max(rows, key=lambda row: (float(row["f1"]), -int(row["step"])))
    assert best == first_of_best
    for row in rows:
        gold, predicted, correct = (int(row[column]) for column in ("support", "predicted", "correct"))
        assert gold == sum(len(one.entities or ()) for one in read_sentences(chosen / FOLDER / "held_out.jsonl"))
        assert float(row["f1"]) == pytest.approx(2 * correct / (gold + predicted), abs=1e-6)
    for name in ("adapter_model.safetensors", "adapter_config.json"):
        candidate = chosen / FOLDER / "candidates" / f"checkpoint-{best['step']}" / name
        assert (chosen / FOLDER / "adapter" / name).read_bytes() == candidate.read_bytes()
    weights = (chosen / FOLDER).glob("candidates/checkpoint-*/adapter_model.safetensors")
    assert len({path.read_bytes() for path in weights}) == 4

    manifest = json.loads((chosen / FOLDER / "manifest.json").read_text(encoding="utf-8"))
    assert manifest["checkpoint"]["step"] == int(best["step"])
    assert "64 held-out rows of the training split" in manifest["checkpoint"]["why"]
    assert list(manifest["checkpoint"]["f1"]) == ["10", "20", "30", "40"]
    assert {f"{FOLDER}/checkpoints.tsv", f"{FOLDER}/candidates/manifest.json"} <= set(manifest["files"])
    jobs = {"train_adapter", "merge_candidates", "merge_adapter", "predict_shard.select.1-of-1"}
    assert set(manifest["stages"]) == {*jobs, "predict_shard.dev.1-of-1"}


def test_one_engine_answers_for_all_checkpoints(chosen: Path) -> None:
    answers = read_jsonl(chosen / f"results/groups/{RUN}@seed-1/answers/select/1-of-1.jsonl")
    ids = [sentence.id for sentence in read_sentences(chosen / FOLDER / "held_out.jsonl")]
    assert [(one["step"], one["id"]) for one in answers] == [(step, name) for step in (10, 20, 30, 40) for name in ids]
    log = (chosen / f"logs/predict_shard/{RUN}@seed-1/select/1-of-1.log").read_text(encoding="utf-8")
    assert re.findall(r"seed 1 step (\d+): 64 answers", log) == ["10", "20", "30", "40"]


def test_a_finished_run_is_verified(chosen: Path) -> None:
    def verify() -> str:
        return run_script("verify_runs", "--runs", RUN, cwd=chosen).stderr

    assert verify() == ""
    for name in ("candidates/checkpoint-10/adapter_config.json", "merged_candidates/checkpoint-10/config.json"):
        path = chosen / FOLDER / name
        content = path.read_bytes()
        path.write_bytes(content + b"\n")
        assert f"{FOLDER}/{name} has " in verify()
        path.write_bytes(content)


def test_nothing_runs_twice(chosen: Path) -> None:
    assert would_run(chosen) == set()


def test_another_share_of_held_out_rows_reruns_the_training(chosen: Path) -> None:
    replace_in(chosen, "conf/recipes.yaml", "select: 0.1", "select: 0.2")
    rows = {"hold_out_rows", "register_with_held_out", "register_held_out", "render_config", "check_training_rows"}
    assert would_run(chosen) == rows | {"train_candidates", "merge_candidates"} | ANSWERS
    replace_in(chosen, "conf/recipes.yaml", "select: 0.2", "select: 0.1")
    assert would_run(chosen) == set()


def test_other_decode_settings_rerun_no_training(chosen: Path) -> None:
    replace_in(chosen, "conf/decode.yaml", "max_tokens: 200", "max_tokens: 100")
    assert would_run(chosen) == {"check_lengths", "register_held_out"} | ANSWERS
    replace_in(chosen, "conf/decode.yaml", "max_tokens: 100", "max_tokens: 200")


def test_examples_of_a_prompt_are_never_held_out(chosen: Path) -> None:
    """Half of the rows are held out, so five examples would hardly all be kept by chance."""
    held_out, examples = f"{FEW_SHOT}/selected/held_out.held_out-0.5.seed-1.jsonl", f"{FEW_SHOT}/examples.jsonl"
    done = snakemake(chosen, held_out, "--cores", "all")
    assert done.returncode == 0, done.stdout
    assert len(keys(chosen / examples)) == 5
    assert len(keys(chosen / held_out)) == 320
    assert not keys(chosen / examples) & keys(chosen / held_out)
    without = hold_out(list(read_sentences(chosen / "results/datasets/demo/train.jsonl")), 0.5, 1)[1]
    assert keys(chosen / examples) & {text_key(sentence.text) for sentence in without}


def test_the_report_draws_f1_against_steps(chosen: Path) -> None:
    figure = "results/report/checkpoints.svg"
    done = snakemake(chosen, figure, "--cores", "all", "--config", f"runs={RUN}")
    assert done.returncode == 0, done.stdout
    assert "optimisation step" in (chosen / figure).read_text(encoding="utf-8")
