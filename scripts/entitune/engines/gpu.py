"""Which GPUs this process should use, and what they can do, as nvidia-smi tells."""

from __future__ import annotations

import fcntl
import os
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import IO

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


_claims: list[IO[str]] = []
"""Locked files: open, and so locked, until this process ends, however it ends."""


def claim(count: int, gpus: list[Gpu]) -> list[int]:
    """Indexes of `count` of the GPUs, those with the most free memory that no other job of this user has claimed.

    Waits where too few are free. Snakemake counts GPUs but gives out no numbers, and two jobs that start together see
    the same memory free.
    """
    folder, prefix = Path(tempfile.gettempdir()), f"entitune-{os.getuid()}-gpu"
    with (folder / f"{prefix}s.lock").open("w") as queue:
        fcntl.flock(queue, fcntl.LOCK_EX)  # one at a time: two jobs with half of what they need would wait for ever
        while True:
            found: dict[int, IO[str]] = {}
            for gpu in sorted(gpus, key=lambda gpu: (-gpu.free_mib, gpu.index)):
                lock: IO[str] = (folder / f"{prefix}-{gpu.index}.lock").open("w")
                try:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    lock.close()
                    continue
                found[gpu.index] = lock
                if len(found) == count:
                    break
            if len(found) == min(count, len(gpus)):
                _claims.extend(found.values())
                return list(found)
            for held in found.values():
                held.close()
            time.sleep(1)


def environment_of(count: int, gpus: list[Gpu]) -> dict[str, str]:
    """CUDA_VISIBLE_DEVICES for `count` of the GPUs, which are this process's until it ends.

    Empty where a scheduler has already chosen. LLaMA-Factory and vLLM would else take every GPU that they see, and
    with them another effective batch size than the recipe's.
    """
    if "CUDA_VISIBLE_DEVICES" in os.environ:
        return {}
    return {"CUDA_VISIBLE_DEVICES": ",".join(map(str, claim(count, gpus)))}


def lacks_bfloat16(gpus: list[Gpu]) -> bool:
    """Whether one of the GPUs cannot calculate in bfloat16, so that float16 has to do."""
    return any(gpu.capability < BFLOAT16_CAPABILITY for gpu in gpus)
