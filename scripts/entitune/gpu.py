"""Which GPUs this process should use, and what they can do, as nvidia-smi tells."""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass

BFLOAT16_CAPABILITY = 8.0
"""Compute capability from which on a GPU calculates in bfloat16 (Ampere)."""


@dataclass(frozen=True)
class Gpu:
    """One GPU: its index, its compute capability and its free memory in MiB."""

    index: int
    capability: float
    free_mib: int


def parse_gpus(text: str) -> list[Gpu]:
    """The GPUs in what nvidia-smi prints for index, compute_cap and memory.free as csv,noheader,nounits."""
    rows = [line.split(",") for line in text.splitlines() if line.strip()]
    return [Gpu(int(index), float(capability), int(free)) for index, capability, free in rows]


def find_gpus() -> list[Gpu]:
    """This machine's GPUs; none where there is no nvidia-smi or it fails."""
    query = ["nvidia-smi", "--query-gpu=index,compute_cap,memory.free", "--format=csv,noheader,nounits"]
    try:
        return parse_gpus(subprocess.run(query, capture_output=True, text=True, check=True).stdout)
    except (OSError, subprocess.CalledProcessError):
        return []


def environment_of(count: int, gpus: list[Gpu]) -> dict[str, str]:
    """CUDA_VISIBLE_DEVICES for `count` of the GPUs, those with the most free memory.

    Empty where a scheduler has already chosen. LLaMA-Factory and vLLM would else take every GPU that they see, and
    with them another effective batch size than the recipe's.
    """
    if "CUDA_VISIBLE_DEVICES" in os.environ:
        return {}
    freest = sorted(gpus, key=lambda gpu: (-gpu.free_mib, gpu.index))[:count]
    return {"CUDA_VISIBLE_DEVICES": ",".join(str(gpu.index) for gpu in freest)}


def lacks_bfloat16(gpus: list[Gpu]) -> bool:
    """Whether one of the GPUs cannot calculate in bfloat16, so that float16 has to do."""
    return any(gpu.capability < BFLOAT16_CAPABILITY for gpu in gpus)
