"""Training with several processes gives the result of one process."""

from __future__ import annotations

import subprocess
from pathlib import Path

import psutil
import pytest
import yaml
from helpers import have_ended, losses, train_command, wait_for

pytestmark = pytest.mark.engine
STEPS = 12
THREADS = ("--threads", "2")


@pytest.fixture(scope="module")
def prepared(demo: Path) -> Path:
    """Configs of a short training: batches of 8 with 2 accumulated, and twice batches of 8 for 2 processes."""
    config = yaml.safe_load((demo / "results/demo/seed-1/train.yaml").read_text())
    # Sorting by length would give two processes other batches. Shuffling gives the same batches as accumulation.
    config |= {"train_sampling_strategy": "random", "per_device_train_batch_size": 8, "logging_steps": 1}
    config |= {"max_steps": STEPS, "save_strategy": "steps", "save_steps": 6}
    del config["neftune_noise_alpha"]  # each process draws its own noise
    for name, accumulation in (("one", 2), ("two", 1), ("stopped", 1)):
        config |= {"gradient_accumulation_steps": accumulation, "output_dir": f"work/{name}/key"}
        (demo / f"{name}.yaml").write_text(yaml.safe_dump(config))
    return demo


@pytest.fixture(scope="module")
def one(prepared: Path) -> list[float]:
    subprocess.run(train_command("one", *THREADS), cwd=prepared, check=True)
    return [loss for _, loss in losses(prepared / "adapters" / "one")]


def test_two_processes_train_as_one(prepared: Path, one: list[float]) -> None:
    """Every step has the same sentences, so losses differ only by the rounding of bfloat16 (2 to 3 digits)."""
    subprocess.run(train_command("two", *THREADS, "--processes", "2"), cwd=prepared, check=True)
    two = [loss for _, loss in losses(prepared / "adapters" / "two")]
    assert len(two) == len(one) == STEPS
    assert two == pytest.approx(one, rel=0.02)
    assert two[-1] < two[0]


def test_a_kill_ends_all_processes(prepared: Path) -> None:
    process = subprocess.Popen(train_command("stopped", *THREADS, "--processes", "2"), cwd=prepared)
    checkpoint = prepared / "work/stopped/key/checkpoint-6/trainer_state.json"
    wait_for(lambda: checkpoint.exists() or process.poll() is not None, 600, "checkpoint")
    assert process.poll() is None
    family = psutil.Process(process.pid).children(recursive=True)
    assert len(family) > 1
    process.kill()
    process.wait()
    wait_for(lambda: have_ended(family), 600, "end of the training: its processes outlive its script")
