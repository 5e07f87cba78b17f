"""Which GPUs a job takes, from what nvidia-smi prints."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from helpers import ROOT

from entitune.engines import gpu
from entitune.engines.gpu import Gpu, environment_of, lacks_bfloat16, parse_gpus

LISTED = "0, 8.0, 20000\n1, 8.0, 40000\n2, 8.0, 40000\n"


def test_gpus_are_read() -> None:
    assert parse_gpus(LISTED)[1] == Gpu(1, 8.0, 40000)
    assert parse_gpus("") == []


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


def test_a_scheduler_has_the_last_word(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3")
    assert environment_of(1, parse_gpus(LISTED)) == {}


def test_older_gpus_have_no_bfloat16() -> None:
    assert not lacks_bfloat16(parse_gpus(LISTED))
    assert lacks_bfloat16(parse_gpus("0, 7.5, 15000\n"))
