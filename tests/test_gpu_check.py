"""gpu_check on the CPU: a tiny shape, the embedded base model, the real engines."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import gpu_check
import pytest
import yaml
from helpers import ROOT, Result, python_of

from entitune.engines import memory_estimate

TRAIN_PYTHON = python_of("train")

REFERENCE = {
    "stage": "sft",
    "do_train": True,
    "finetuning_type": "lora",
    "lora_rank": 4,
    "lora_target": "all",
    "cutoff_len": 256,
    "learning_rate": 1.0e-2,
    "per_device_train_batch_size": 2,
    "gradient_accumulation_steps": 2,
    "preprocessing_num_workers": 1,
}
FAST = {"disable_gradient_checkpointing": True, "enable_liger_kernel": True, "per_device_train_batch_size": 4}
SHAPE = {
    "model_type": "qwen3",
    "hidden_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "intermediate_size": 128,
    "head_dim": 16,
    "vocab_size": 500,
    "tie_word_embeddings": False,
}

MEASURED: set[int] = set()
"""How many measurements the report had whenever it was looked at."""


def run_check(work: Path, *arguments: str, python: str = str(TRAIN_PYTHON)) -> Result:
    (work / "reference.yaml").write_text(yaml.safe_dump(REFERENCE), encoding="utf-8")
    (work / "fast.yaml").write_text(yaml.safe_dump(FAST), encoding="utf-8")
    (work / "shape.json").write_text(json.dumps(SHAPE), encoding="utf-8")
    (work / "prompt.txt").write_text("{labels}\n", encoding="utf-8")
    command = [python, str(ROOT / "benchmarks" / "gpu_check.py"), "--reference", str(work / "reference.yaml")]
    command += ["--fast", str(work / "fast.yaml"), "--shape", str(work / "shape.json")]
    command += ["--prompt", str(work / "prompt.txt"), "--output-dir", str(work / "out"), *arguments]
    with tempfile.TemporaryFile("w+") as errors:
        process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=errors)
        while process.poll() is None:
            if (work / "out" / "gpu_check.json").exists():
                written = json.loads((work / "out" / "gpu_check.json").read_text(encoding="utf-8"))
                MEASURED.add(len(written["training"]) + sum(map(len, written["shapes"].values())))
            time.sleep(0.1)
        errors.seek(0)
        return Result(command, process.returncode, "", errors.read())


def copy_with_nan(model: Path, copy: Path) -> Path:
    """Copy a model; all weights of the copy are NaN."""
    shutil.copytree(model, copy)
    content = (model / "model.safetensors").read_bytes()
    start = 8 + int.from_bytes(content[:8], "little")
    (copy / "model.safetensors").write_bytes(content[:start] + b"\xc0\x7f" * ((len(content) - start) // 2))
    return copy


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """A complete check on the CPU: 16 sentences, one timed step per setting. The first of the two trainings fails."""
    work = tmp_path_factory.mktemp("gpu_check")
    base = "data/models/entitune-tiny"
    broken = copy_with_nan(ROOT / base, work / "broken")
    models = ["--model", f"{broken}=qwen", "--model", f"{base}=qwen"]
    result = run_check(work, "--device", "cpu", "--examples", "16", "--steps", "1", *models)
    assert result.returncode == 0, result.stderr
    report = dict(json.loads((work / "out" / "gpu_check.json").read_text(encoding="utf-8")))
    report["markdown"] = (work / "out" / "gpu_check.md").read_text(encoding="utf-8")
    return report


@pytest.mark.engine
def test_the_base_is_trained_with_llamafactory(report: dict[str, Any]) -> None:
    _, training = report["training"]
    assert training["model"] == "entitune-tiny"
    assert training["examples"] == 16
    assert training["error"] is None
    # The base knows the task: a few steps change its loss less than the batches differ.
    assert 0 < training["last_loss"] < training["first_loss"] + 0.1
    assert training["tokens_per_second"] > training["examples_per_second"] > 0
    assert training["memory_allocated"] is training["memory_reserved"] is None  # a CPU


@pytest.mark.engine
def test_a_training_that_diverged_is_a_row_of_the_table(report: dict[str, Any]) -> None:
    failed, _ = report["training"]
    assert re.fullmatch(r"exit code 1: step 1: (loss|grad_norm) is nan: the training diverged.*", failed["error"])
    assert f"| broken | 16 | {failed['error']} | | | | |" in report["markdown"]


@pytest.mark.engine
def test_the_report_is_written_after_each_measurement(report: dict[str, Any]) -> None:
    assert MEASURED & {3, 4, 5, 6}  # neither only at the end of the trainings nor only at the end of the settings


@pytest.mark.engine
def test_settings_are_added_one_after_the_other(report: dict[str, Any]) -> None:
    settings = report["shapes"]["shape"]
    names = [record["settings"] for record in settings]
    assert names == [
        "reference",
        "+ disable_gradient_checkpointing: true",
        "+ enable_liger_kernel: true",
        "+ per_device_train_batch_size: 4",
        "reference, quantization_bit: 4",
    ]
    for record in (*settings[:2], settings[4]):
        assert record["error"] is None
        assert record["examples"] == 4  # one step of 2 x 2 rows, after two warm-up steps
        assert record["tokens_per_second"] > 0
        assert record["mfu"] is record["hfu"] is None  # no data sheet for this device
        # 4 x (inputs + outputs) of 7 layers in 2 blocks
        assert record["trainable_parameters"] == 2 * 4 * (128 + 96 + 96 + 128 + 3 * 192)
    # liger-kernel needs a GPU, or is not installed: its row has the error, and the other rows are measured.
    assert settings[2]["error"]


@pytest.mark.engine
def test_the_table_shows_what_was_measured(report: dict[str, Any]) -> None:
    seconds = report["training"][1]["seconds"]
    assert f"| entitune-tiny | 16 | {seconds:.1f} | " in report["markdown"]
    assert "| reference | " in report["markdown"]
    assert f"torch {report['machine']['torch']}" in report["markdown"]


@pytest.mark.engine
def test_without_a_gpu_there_is_a_message(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")  # hides the GPUs of this machine
    result = run_check(tmp_path)
    assert result.returncode == 1
    assert "error: torch sees no CUDA device" in result.stderr
    assert not (tmp_path / "out").exists()


def test_batches_of_equal_length() -> None:
    lengths = [5, 1, 4, 2, 3, 6]
    assert sorted(map(sorted, gpu_check.make_batches(lengths, 2, grouped=True))) == [[1, 2], [3, 4], [5, 6]]
    assert sorted(gpu_check.make_batches(lengths, 2, grouped=False)) == [[3, 6], [4, 2], [5, 1]]


def test_a_setting_that_ran_out_of_memory_is_a_row_of_the_table() -> None:
    machine: dict[str, Any] = {"device": "NVIDIA A100", "date": "2026-01-01", "cuda": "13.0"}
    measured = {
        "settings": "reference",
        "error": None,
        "tokens_per_second": 2000.0,
        "examples_per_second": 8.0,
        "memory_allocated": 24.1e9,
        "memory_reserved": 26.4e9,
        "memory_estimated": 25.0e9,
        "mfu": 0.2,
        "hfu": 0.3,
    }
    text = gpu_check.format_report(
        {
            "machine": machine | {"torch": "2.13.0"} | dict.fromkeys(gpu_check.PACKAGES[1:]),
            "train": "train.json",
            "training": [],
            "shapes": {
                "qwen2.5-7b-instruct": [
                    measured,
                    {"settings": "+ a: 1", "error": "OutOfMemoryError: CUDA out of memory."},
                    measured | {"settings": "+ b: 2", "tokens_per_second": 5000.0},
                ]
            },
        }
    )
    assert "# GPU check: NVIDIA A100\n\n2026-01-01, torch 2.13.0, CUDA 13.0\n" in text
    assert "| reference | 2,000 | 8.0 | 24.1, 26.4, 25.0 | 20.0, 30.0 | 1.00 |" in text
    assert "| + a: 1 | OutOfMemoryError: CUDA out of memory. | | | | |" in text
    assert "| + b: 2 | 5,000 | 8.0 | 24.1, 26.4, 25.0 | 20.0, 30.0 | 2.50 |" in text
    assert "LLaMA-Factory" not in text


@pytest.mark.parametrize("checkpointing", [True, False])
def test_the_estimate_takes_the_measured_hfu(checkpointing: bool) -> None:
    """With the HFU of a measurement, the estimate of time is the measured time."""
    shape = memory_estimate.Shape.from_config(json.loads((ROOT / gpu_check.SHAPES[0]).read_text(encoding="utf-8")))
    training = memory_estimate.LoraTraining.from_arguments(
        REFERENCE | {"disable_gradient_checkpointing": not checkpointing}
    )
    measured = {"seconds": 18.2, "examples": 256, "tokens": 68_706}
    hfu = gpu_check.share_of_peak(measured, shape, training, 989)
    assert hfu
    seconds = memory_estimate.training_seconds(shape, training, 68_706 / 256, 256, 989, hfu=hfu)
    assert seconds == pytest.approx(18.2)
    assert gpu_check.share_of_peak(measured, shape, training, None) is None


def test_the_reason_of_a_failure_is_found_in_the_output() -> None:
    output = "Traceback:\n  x()\ntorch.AcceleratorError: CUDA error: out | of\nCompile with `A`.\n"
    assert gpu_check.reason_in(output) == "torch.AcceleratorError: CUDA error: out / of"
    assert gpu_check.reason_in("step 1\nerror: step 2: loss is nan\n\n\n") == "step 2: loss is nan"
    assert gpu_check.reason_in("10%|█ | 1/10\n") == "10%/█ / 1/10"
    assert gpu_check.reason_in("\n\n") == "no message"


def test_a_wrong_model_is_refused_before_anything_is_measured(tmp_path: Path) -> None:
    result = run_check(tmp_path, "--model", f"{tmp_path}=qwen", python=sys.executable)
    assert result.returncode == 1
    assert f"error: --model: no config.json in {tmp_path}; give the folder of a model" in result.stderr


def test_torch_is_needed_only_to_measure() -> None:
    script = str(ROOT / "benchmarks" / "gpu_check.py")
    result = subprocess.run([sys.executable, script, "--help"], capture_output=True, text=True)
    assert result.returncode == 0
    assert "--device {cuda,cpu}" in result.stdout
