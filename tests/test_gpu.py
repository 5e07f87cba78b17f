"""Selection of GPUs for a job from the output of nvidia-smi."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from helpers import ROOT

from entitune import paths
from entitune.cli import InputError
from entitune.engines import gpu
from entitune.engines.gpu import Gpu, environment_of, lacks_bfloat16, parse_gpus

LISTED = ["0, 8.0, 20000", "1, 8.0, 40000", "2, 8.0, 40000"]


def test_gpus_are_read() -> None:
    assert parse_gpus(LISTED)[1] == Gpu(1, 8.0, 40000)
    assert parse_gpus([]) == []


@pytest.fixture(autouse=True)
def _own_locks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr(gpu, "_claims", [])
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)


@pytest.mark.parametrize(("count", "taken"), [(1, "1"), (2, "1,2"), (3, "1,2,0"), (4, "1,2,0")])
def test_the_freest_gpus_are_taken(count: int, taken: str) -> None:
    assert environment_of(count, parse_gpus(LISTED)) == {"CUDA_VISIBLE_DEVICES": taken}


def test_jobs_that_start_together_take_different_gpus() -> None:
    assert [gpu.claim(1, parse_gpus(LISTED)) for _ in range(3)] == [[1], [2], [0]]


def test_a_job_waits_for_gpus_until_another_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    take = "import sys, time; from entitune.engines.gpu import claim, parse_gpus;"
    take += f"print(claim(2, parse_gpus({LISTED!r})), flush=True); time.sleep(600)"
    environment = {**os.environ, "TMPDIR": str(tmp_path), "PYTHONPATH": str(ROOT / "scripts")}
    other = subprocess.Popen([sys.executable, "-c", take], env=environment, stdout=subprocess.PIPE, text=True)
    assert other.stdout
    assert other.stdout.readline() == "[1, 2]\n"
    waited = []

    def end_the_other(seconds: float) -> None:
        waited.append(seconds)
        other.kill()
        other.wait()

    monkeypatch.setattr("time.sleep", end_the_other)
    assert gpu.claim(2, parse_gpus(LISTED)) == [1, 2]
    assert len(waited) == 1


def test_the_gpus_of_a_scheduler_are_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3")
    assert environment_of(1, parse_gpus(LISTED)) == {}
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,5,7")
    assert environment_of(2, parse_gpus(LISTED)) == {"CUDA_VISIBLE_DEVICES": "3,5"}


@pytest.fixture
def driver(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], None]]:
    """Install an nvidia-smi that prints a driver version."""

    def install(version: str) -> None:
        smi = tmp_path / "nvidia-smi"
        smi.write_text(f"#!/bin/sh\necho '{version}'\n", encoding="utf-8")
        smi.chmod(0o755)
        monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
        gpu.find_driver.cache_clear()

    yield install
    gpu.find_driver.cache_clear()


@pytest.mark.parametrize(
    ("version", "generation"), [("580.65.06", 13), ("575.57.08", 12), ("535.104.05", 12), ("470.57.02", 13), ("no", 13)]
)
def test_the_driver_decides_the_cuda_version_of_environments(
    driver: Callable[[str], None], version: str, generation: int
) -> None:
    driver(version)
    assert gpu.cuda_generation("auto") == generation
    assert (gpu.cuda_generation(12), gpu.cuda_generation(13)) == (12, 13)


def environment(folder: Path, lock: str) -> Path:
    """Make an environment whose marker names `lock`."""
    folder.mkdir(exist_ok=True)
    (folder / ".built").write_text(f"{'0' * 64}  {lock}\n", encoding="utf-8")
    return folder


def test_a_job_checks_the_driver_of_its_node(driver: Callable[[str], None], tmp_path: Path) -> None:
    newer, older = environment(tmp_path / "a", "envs/train.txt"), environment(tmp_path / "b", "envs/train-cuda12.txt")
    driver("535.104.05")
    gpu.check_environment(older)
    with pytest.raises(InputError, match=r"is 535\.104\.05; .*/a is built for CUDA 13.*Set `cuda: 12` in conf/config"):
        gpu.check_environment(newer)
    driver("580.65.06")
    gpu.check_environment(older)
    gpu.check_environment(newer)
    driver("470.57.02")
    for folder in (newer, older):
        with pytest.raises(InputError, match=r"is 470\.57\.02; the engines need 525 or newer \(CUDA 12\), or 580"):
            gpu.check_environment(folder)


def test_older_gpus_have_no_bfloat16() -> None:
    assert not lacks_bfloat16(parse_gpus(LISTED))
    assert lacks_bfloat16(parse_gpus(["0, 7.5, 15000"]))


def test_steps_depend_on_the_locks_of_both_cuda_versions() -> None:
    """Except the rules for the embedded base model, which are not repeated for the other CUDA version."""
    rules = [path for path in (ROOT / "rules").glob("*.smk") if path.stem != "base_model"]
    one_lock = r'paths\.lock\((?!"crf"|"workflow"|wildcards\.env, cuda_generation)'
    assert [path.name for path in rules if re.search(one_lock, path.read_text(encoding="utf-8"))] == []
    assert paths.locks("train") == ["envs/train.txt", "envs/train-cuda12.txt"]
    assert all((ROOT / lock).is_file() for name in paths.CUDA_12 for lock in paths.locks(name))
