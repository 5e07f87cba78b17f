"""Which GPUs a job takes, from what nvidia-smi prints."""

from __future__ import annotations

import pytest
from entitune.gpu import Gpu, environment_of, lacks_bfloat16, parse_gpus

LISTED = "0, 8.0, 20000\n1, 8.0, 40000\n2, 8.0, 40000\n"


def test_gpus_are_read() -> None:
    assert parse_gpus(LISTED)[1] == Gpu(1, 8.0, 40000)
    assert parse_gpus("") == []


def test_the_freest_gpus_are_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert environment_of(1, parse_gpus(LISTED)) == {"CUDA_VISIBLE_DEVICES": "1"}
    assert environment_of(2, parse_gpus(LISTED)) == {"CUDA_VISIBLE_DEVICES": "1,2"}


def test_a_scheduler_has_the_last_word(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3")
    assert environment_of(1, parse_gpus(LISTED)) == {}


def test_older_gpus_have_no_bfloat16() -> None:
    assert not lacks_bfloat16(parse_gpus(LISTED))
    assert lacks_bfloat16(parse_gpus("0, 7.5, 15000\n"))
