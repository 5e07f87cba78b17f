"""The trainer on a few sentences: trainings that diverge, are killed, damaged or started twice."""

from __future__ import annotations

import json
import math
import os
import re
import shutil
import signal
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import yaml
from helpers import (
    BIN,
    ENVIRONMENT,
    SHEET,
    copy_repository,
    edit_yaml,
    have_ended,
    losses,
    processes_in,
    python_of,
    read_jsonl,
    run_code,
    run_script,
    snakemake,
    wait_for,
)
from training import MODEL, RECIPE, prepare, start_training

from entitune.cli import InputError
from entitune.engines.candidates import candidates_in
from entitune.engines.checkpoints import CHECKSUMS, PARTIAL_STATE, find_damage, find_not_finite, finish
from entitune.engines.groups import Job, for_each_candidate
from entitune.manifests import ModelManifest, verify
from entitune.prompting.prompt import Prompt
from run_llamafactory import check_finite
from train_adapter import cut_log, drop_damaged_checkpoints

FILES = ("adapter_model.safetensors", "adapter_config.json", "optimizer.pt", "scheduler.pt", "training_args.bin")


def write_checkpoint(folder: Path, *others: str) -> Path:
    """Write a checkpoint of small files that is finished like the trainer's checkpoints."""
    folder.mkdir(parents=True)
    for name in (*FILES, "README.md", *(others or ["rng_state.pth"])):
        (folder / name).write_text(name)
    (folder / PARTIAL_STATE).write_text('{"global_step": 1}')
    finish(folder)
    return folder


def test_a_checkpoint_is_finished_by_its_last_file(tmp_path: Path) -> None:
    checkpoint = write_checkpoint(tmp_path / "checkpoint-1")
    assert find_damage(checkpoint, processes=1) is None
    assert not (checkpoint / PARTIAL_STATE).exists()
    assert set(json.loads((checkpoint / CHECKSUMS).read_text())) == {path.name for path in checkpoint.iterdir()} - {
        CHECKSUMS
    }


@pytest.mark.parametrize("name", [*FILES, "rng_state.pth", "trainer_state.json", "README.md"])
def test_a_changed_or_missing_file_is_damage(tmp_path: Path, name: str) -> None:
    checkpoint = write_checkpoint(tmp_path / "checkpoint-1")
    (checkpoint / name).write_bytes((checkpoint / name).read_bytes()[:-1] + b"?")
    assert find_damage(checkpoint, processes=1) == f"{name} has changed since it was written"
    (checkpoint / name).unlink()
    assert find_damage(checkpoint, processes=1) == f"{name} is missing"


def test_each_process_has_random_numbers(tmp_path: Path) -> None:
    """Other processes write their files a moment later, so these files are checked on their own."""
    checkpoint = write_checkpoint(tmp_path / "checkpoint-1", "rng_state_0.pth", "rng_state_1.pth")
    assert find_damage(checkpoint, processes=3) == "rng_state_1.pth is damaged"
    np.savez(checkpoint / "whole.npz", np.arange(1000))  # a zip archive, like those of torch.save
    os.replace(checkpoint / "whole.npz", checkpoint / "rng_state_1.pth")
    assert find_damage(checkpoint, processes=2) is None
    assert find_damage(checkpoint, processes=3) == "rng_state_2.pth is missing"
    assert find_damage(checkpoint, processes=1) == "rng_state.pth is missing"
    data = bytearray((checkpoint / "rng_state_1.pth").read_bytes())
    data[500] ^= 1
    (checkpoint / "rng_state_1.pth").write_bytes(data)
    assert find_damage(checkpoint, processes=2) == "rng_state_1.pth is damaged"


def test_incomplete_checkpoints_are_removed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for step in (2, 4, 6):
        write_checkpoint(tmp_path / f"checkpoint-{step}")
    (tmp_path / "checkpoint-4" / "optimizer.pt").unlink()
    (tmp_path / "checkpoint-6" / CHECKSUMS).unlink()
    (tmp_path / "checkpoint-8").mkdir()
    drop_damaged_checkpoints(tmp_path, processes=1)
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint-2"]
    told = capsys.readouterr().err
    assert "checkpoint-4: removed: optimizer.pt is missing" in told
    assert "checkpoint-6: removed: it is incomplete" in told
    write_checkpoint(tmp_path / "checkpoint-4")
    (tmp_path / "checkpoint-4" / "optimizer.pt").unlink()
    drop_damaged_checkpoints(tmp_path, processes=1, needs_all=True)
    assert list(tmp_path.iterdir()) == []
    assert "checkpoint-2: removed: another checkpoint is damaged" in capsys.readouterr().err


def test_log_entries_after_the_checkpoint_are_dropped(tmp_path: Path) -> None:
    log = tmp_path / "trainer_log.jsonl"
    log.write_text("".join(f'{{"current_steps": {step}, "loss": 1.0}}\n' for step in (2, 4, 6)) + '{"current_st')
    (tmp_path / "checkpoint-4").mkdir()
    (tmp_path / "checkpoint-2").mkdir()
    assert cut_log(tmp_path) == 4
    assert [record["current_steps"] for record in read_jsonl(log)] == [2, 4]
    shutil.rmtree(tmp_path / "checkpoint-4")
    shutil.rmtree(tmp_path / "checkpoint-2")
    assert cut_log(tmp_path) == 0
    assert log.read_text() == ""


def test_each_candidate_is_a_job_in_the_order_of_steps(tmp_path: Path) -> None:
    for step in (100, 20):
        write_checkpoint(tmp_path / f"checkpoint-{step}")
    ModelManifest.of_folder(tmp_path, model="x", source="train_adapter", revision=None).write(tmp_path)
    (tmp_path / "checkpoint-300").mkdir()  # not of a finished training
    first, second = (str(tmp_path / f"checkpoint-{step}") for step in (20, 100))
    served, merged = Job("a", 1, "t", "base", str(tmp_path), candidates=True), Job("a", 2, "t", str(tmp_path), None)
    jobs = for_each_candidate([served, replace(merged, candidates=True), merged])
    assert list(jobs) == [
        Job("a", 1, "t", "base", first, step=20),
        Job("a", 1, "t", "base", second, step=100),
        Job("a", 2, "t", first, None, step=20),
        Job("a", 2, "t", second, None, step=100),
        merged,
    ]
    (tmp_path / "checkpoint-20" / "adapter_model.safetensors").unlink()
    with pytest.raises(InputError, match=r"checkpoint-20/adapter_model\.safetensors is missing"):
        list(for_each_candidate([served]))
    ModelManifest(model="x", source="train_adapter", revision=None, files=()).write(tmp_path)
    with pytest.raises(InputError, match="its manifest lists no checkpoint-STEP"):
        list(for_each_candidate([served]))


@pytest.mark.parametrize("name", ["loss", "eval_loss", "train_loss", "grad_norm"])
@pytest.mark.parametrize("value", [math.nan, math.inf, "nan"])
def test_a_number_that_is_not_finite_ends_the_training(name: str, value: object) -> None:
    with pytest.raises(InputError, match=f"step 7: {name} is (nan|inf): the training diverged: lower learning_rate"):
        check_finite({"loss": 1.0, name: value}, 7, float16=False)


def test_a_gradient_may_overflow_in_float16() -> None:
    check_finite({"loss": 1.0, "grad_norm": math.inf}, 7, float16=True)
    check_finite({"loss": 1.0, "grad_norm": None, "epoch": 1.0}, 7, float16=False)


def write_safetensors(path: Path, tensors: dict[str, tuple[str, np.ndarray[Any, Any]]]) -> Path:
    header, data = {"__metadata__": {"format": "pt"}}, b""
    for name, (dtype, values) in tensors.items():
        offsets = [len(data), len(data) + values.nbytes]
        header[name] = {"dtype": dtype, "shape": list(values.shape), "data_offsets": offsets}  # type: ignore[dict-item]
        data += values.tobytes()
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + data)
    return path


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_weights_that_are_not_finite_are_found(tmp_path: Path, value: float) -> None:
    fine, broken = np.array([0.0, -1.5, 3e38], np.float32), np.array([0.0, value], np.float32)
    tensors: dict[str, tuple[str, np.ndarray[Any, Any]]] = {
        "a": ("F32", fine),
        "b": ("F32", broken),
        "c": ("F16", broken.astype(np.float16)),
    }
    tensors |= {
        "d": ("F64", broken.astype(np.float64)),
        "e": ("BF16", (broken.view(np.uint32) >> 16).astype(np.uint16)),
    }
    tensors |= {"f": ("BF16", (fine.view(np.uint32) >> 16).astype(np.uint16)), "g": ("I64", np.array([-1]))}
    path = write_safetensors(tmp_path / "w.safetensors", tensors)
    assert find_not_finite(path) == ["b", "c", "d", "e"]
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(ValueError, match="truncated within tensor"):
        find_not_finite(path)
    path.write_bytes(b"<html>")
    with pytest.raises(ValueError, match="not a safetensors file"):
        find_not_finite(path)


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("training")
    prepare(folder, {"plain": Prompt("找出实体。")})
    return folder / "plain"


def finished(process: subprocess.Popen[str]) -> str:
    _, errors = process.communicate()
    assert process.returncode == 0, errors
    return errors


@pytest.mark.engine
def test_a_training_of_fewer_steps_than_logging_steps_logs_one_loss(rows: Path) -> None:
    """The loss is also plotted, and the checkpoints are removed."""
    finished(start_training(rows, "small", RECIPE | {"num_train_epochs": 1.0, "logging_steps": 500}))
    assert [step for step, _ in losses(rows / "adapter-small")] == [4]
    assert (rows / "adapter-small" / "training_loss.png").stat().st_size > 1000
    assert not (rows / "work-small" / "checkpoints").exists()


@pytest.mark.engine
def test_a_diverged_training_gives_no_adapter(rows: Path) -> None:
    recipe = {"learning_rate": 1.0e30, "max_grad_norm": 0.0, "max_steps": 12, "logging_steps": 1}
    process = start_training(rows, "diverged", RECIPE | recipe)
    _, errors = process.communicate()
    assert process.returncode == 1
    assert re.search(r"error: step \d+: (loss|grad_norm) is (nan|inf): the training diverged", errors)
    assert "Traceback" not in errors
    assert not (rows / "adapter-diverged").exists()


MERGED = """
import json, sys
from transformers import AutoModelForCausalLM
model = AutoModelForCausalLM.from_pretrained(sys.argv[1])
same = model.get_input_embeddings().weight.equal(model.get_output_embeddings().weight)
print("MERGED" + json.dumps([model.config.tie_word_embeddings, same]))
"""


@pytest.mark.engine
def test_a_fully_trained_output_layer_is_kept(rows: Path) -> None:
    """The base has one matrix for input and output, and an engine would use it for both."""
    finished(start_training(rows, "whole", RECIPE | {"additional_target": "lm_head", "num_train_epochs": 1.0}))
    python, merged = python_of("train"), rows / "merged"
    words = ["--model", MODEL, "--adapter", rows / "adapter-whole", "--output-dir", merged]
    done = run_script("merge_adapter", *words, python=python)
    assert done.returncode == 0, done.stderr
    told = run_code("train", MERGED, merged)
    assert json.loads(told.split("MERGED")[1]) == [False, False]


LONG = {"max_steps": 40, "save_steps": 5, "logging_steps": 1, "save_strategy": "steps"}


@pytest.fixture(scope="module")
def straight(rows: Path) -> bytes:
    """The adapter of an uninterrupted training."""
    finished(start_training(rows, "straight", RECIPE | LONG))
    return (rows / "adapter-straight" / "adapter_model.safetensors").read_bytes()


def kill_at(rows: Path, name: str, step: int, *options: str) -> Path:
    """Start a training, kill its script when a checkpoint is complete, and return the folder of checkpoints."""
    process = start_training(rows, name, RECIPE | LONG, *options)
    folder = rows / f"work-{name}" / "checkpoints" / "key"
    saved = folder / f"checkpoint-{step}" / "trainer_state.json"
    wait_for(lambda: saved.exists() or process.poll() is not None, 600, "checkpoint")
    assert process.poll() is None, process.communicate()
    trainer = psutil.Process(process.pid).children(recursive=True)
    process.send_signal(signal.SIGKILL)
    process.wait()
    wait_for(lambda: have_ended(trainer), 600, "end of the trainer")
    return folder


@pytest.fixture(scope="module")
def killed(rows: Path) -> Path:
    """The checkpoints of a training that was killed after its second one."""
    return kill_at(rows, "killed", 10)


@pytest.mark.engine
@pytest.mark.parametrize(("name", "damage"), [("adapter_model.safetensors", "removed"), ("optimizer.pt", "changed")])
def test_a_damaged_checkpoint_is_not_resumed_from(
    rows: Path, straight: bytes, killed: Path, name: str, damage: str
) -> None:
    """Tests two files; test_a_changed_or_missing_file_is_damage tests each file."""
    case = f"{damage}-{name}"
    folder = rows / f"work-{case}" / "checkpoints" / "key"
    shutil.copytree(killed, folder)
    last = max(folder.glob("checkpoint-*/trainer_state.json"), key=lambda path: int(path.parent.name[11:])).parent
    if damage == "removed":
        (last / name).unlink()
    else:
        data = bytearray((last / name).read_bytes())
        data[len(data) // 2] ^= 64
        (last / name).write_bytes(data)
    errors = finished(start_training(rows, case, RECIPE | LONG))
    assert f"{last}: removed: {name} " in errors
    assert f"resuming from {folder}, step {int(last.name[11:]) - 5}" in errors
    assert (rows / f"adapter-{case}" / "adapter_model.safetensors").read_bytes() == straight
    assert [step for step, _ in losses(rows / f"adapter-{case}")] == list(range(1, 41))


@pytest.mark.engine
def test_a_killed_training_leaves_every_candidate(rows: Path, straight: bytes) -> None:
    kill_at(rows, "candidates", 20, "--candidates")
    errors = finished(start_training(rows, "candidates", RECIPE | LONG, "--candidates"))
    assert "resuming from" in errors
    candidates = candidates_in(rows / "adapter-candidates")
    assert list(candidates) == [5, 10, 15, 20, 25, 30, 35, 40]
    weights = [(folder / "adapter_model.safetensors").read_bytes() for folder in candidates.values()]
    assert len(set(weights)) == 8
    assert weights[-1] == straight
    verify(rows / "adapter-candidates", deep=True)
    assert not (rows / "work-candidates" / "checkpoints").exists()


@pytest.mark.engine
def test_a_second_training_of_the_same_run_waits_or_is_refused(rows: Path) -> None:
    first = start_training(rows, "twice", RECIPE | LONG)
    claim = rows / "work-twice" / "checkpoints" / "claim.json"
    wait_for(claim.exists, 600, "claim")
    second = start_training(rows, "twice", RECIPE | LONG)
    _, errors = second.communicate()
    assert f"work-twice is being trained by process {first.pid} on " in errors
    finished(first)
    assert not claim.exists()


@pytest.mark.engine
def test_a_killed_workflow_leaves_no_trainer_and_resumes(tmp_path: Path) -> None:
    """Kill only Snakemake, as the kernel does when memory runs out; then run --unlock and the same command."""
    folder = copy_repository(tmp_path / "repository")
    recipe = {**RECIPE, "max_steps": 160, "save_steps": 20, "logging_steps": 20}
    (folder / "conf" / "train" / "short.yaml").write_text(yaml.safe_dump(recipe), encoding="utf-8")
    job = {"config": "train/short.yaml", "gpus": 0, "threads": 1, "mem_mb": 4000, "runtime": 15}
    edit_yaml(folder / "conf" / "recipes.yaml", short=job)
    edit_yaml(folder / "conf" / "config.yaml", runs=["short"])
    row = "short\tdemo\tentitune-tiny\tner-zh-short\tshort\tcpu\t1\t\n"
    (folder / "conf" / "runs.tsv").write_text(SHEET + row, encoding="utf-8")
    command = [str(BIN / "snakemake"), "results/short/seed-1/adapter/adapter_model.safetensors", "--cores", "1"]
    with (tmp_path / "first.log").open("w") as log:
        process = subprocess.Popen(command, cwd=folder, env=ENVIRONMENT, stdout=log, stderr=log)
    saved = "results/short/seed-1/checkpoints/*/checkpoint-40/trainer_state.json"
    wait_for(lambda: any(folder.glob(saved)) or process.poll() is not None, 600, "checkpoint")
    assert process.poll() is None, (tmp_path / "first.log").read_text()
    assert processes_in(folder)
    process.kill()
    process.wait()
    wait_for(lambda: not processes_in(folder), 600, "end of the trainer")
    assert snakemake(folder, "--unlock").returncode == 0
    done = snakemake(folder, *command[1:])
    assert done.returncode == 0, done.stdout
    assert "resuming from results/short/seed-1/checkpoints/" in done.stdout
    assert [step for step, _ in losses(folder / "results/short/seed-1/adapter")] == list(range(20, 161, 20))
