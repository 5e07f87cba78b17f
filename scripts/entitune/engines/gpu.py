"""The GPUs that this process should use and what they support, according to nvidia-smi."""

from __future__ import annotations

import fcntl
import functools
import os
import re
import tempfile
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Literal

from entitune import paths
from entitune.cli import InputError
from entitune.paths import built_from
from entitune.processes import nvidia_smi

BFLOAT16_CAPABILITY = 8.0
"""The lowest compute capability with bfloat16 (Ampere)."""


OLDEST_DRIVER = {13: 580, 12: 525}
"""CUDA version -> the oldest NVIDIA driver that runs programs built with any of its releases; newest version first.

https://docs.nvidia.com/deploy/cuda-compatibility/minor-version-compatibility.html, table 1.
"""


@functools.cache
def find_driver() -> str | None:
    """Return the version of this machine's NVIDIA driver, or None if nvidia-smi is missing or fails."""
    first = next(iter(nvidia_smi("driver_version")), "")
    return first if re.fullmatch(r"\d+(\.\d+)+", first) else None


def _major(driver: str) -> int:
    return int(driver.split(".")[0])


def cuda_generation(wanted: Literal["auto", 12, 13]) -> int:
    """Return the version of CUDA that environments are built for on this machine, 12 or 13.

    `auto` is the newest version that the driver supports. It is 13 if there is no driver or the driver is too old for
    both: a CPU needs none.
    """
    if wanted != "auto":
        return wanted
    driver = find_driver()
    return next((cuda for cuda, oldest in OLDEST_DRIVER.items() if driver and _major(driver) >= oldest), 13)


def check_driver(cuda: int, what: str) -> None:
    """Raise InputError if this machine's driver is too old for programs built with CUDA `cuda`.

    Args:
        cuda: 12 or 13.
        what: What is built with it, for the message: ".envs/train is built".
    """
    driver, oldest = find_driver(), min(OLDEST_DRIVER.values())
    if driver is None or _major(driver) >= OLDEST_DRIVER[cuda]:
        return
    if _major(driver) < oldest:
        raise InputError(
            f"the NVIDIA driver of this machine is {driver}; the engines need {oldest} or newer (CUDA 12), or "
            f"{OLDEST_DRIVER[13]} or newer (CUDA 13). Update the driver, or choose runs that need no GPU"
        )
    raise InputError(
        f"the NVIDIA driver of this machine is {driver}; {what} for CUDA {cuda}, which needs {OLDEST_DRIVER[cuda]} or "
        "newer. Set `cuda: 12` in conf/config.yaml: the environments are built again, and finished results are kept"
    )


def check_environment(folder: Path) -> None:
    """Raise InputError if this machine's driver is too old for the environment in `folder`."""
    check_driver(paths.cuda_of(built_from(folder) or "") or 13, f"{folder} is built")


@dataclass(frozen=True)
class Gpu:
    """One GPU: its index, its compute capability and its free memory in MiB."""

    index: int
    capability: float
    free_mib: int


def parse_gpus(lines: Iterable[str]) -> list[Gpu]:
    """Read the lines of nvidia-smi for index, compute_cap and memory.free, without units."""
    rows = (line.split(",") for line in lines)
    return [Gpu(int(index), float(capability), int(free)) for index, capability, free in rows]


def find_gpus() -> list[Gpu]:
    """Return this machine's GPUs; empty if nvidia-smi is missing or fails."""
    return parse_gpus(nvidia_smi("index,compute_cap,memory.free"))


_claims: list[IO[str]] = []
"""Locked files. They stay open and locked until this process ends, for any reason."""


def claim(count: int, gpus: list[Gpu]) -> list[int]:
    """Claim the `count` GPUs with the most free memory that no other job of this user has claimed.

    Waits if too few are unclaimed. Claims are needed because Snakemake counts GPUs but does not assign them, and two
    jobs that start together see the same free memory. Returns the indexes of the GPUs.
    """
    folder, prefix = Path(tempfile.gettempdir()), f"entitune-{os.getuid()}-gpu"
    with (folder / f"{prefix}s.lock").open("w") as queue:
        fcntl.flock(queue, fcntl.LOCK_EX)  # one job at a time: two jobs with half of their GPUs would wait for ever
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
    """Return CUDA_VISIBLE_DEVICES for `count` of the GPUs, which this process holds until it ends.

    Empty if a scheduler has already chosen that many. If it has chosen more, only the first ones are used. Otherwise
    LLaMA-Factory and vLLM would use every GPU that they see, and so another effective batch size than the recipe's.
    """
    if (chosen := os.environ.get("CUDA_VISIBLE_DEVICES")) is not None:
        first = chosen.split(",")[:count]
        return {} if chosen == ",".join(first) else {"CUDA_VISIBLE_DEVICES": ",".join(first)}
    return {"CUDA_VISIBLE_DEVICES": ",".join(map(str, claim(count, gpus)))}


def lacks_bfloat16(gpus: list[Gpu]) -> bool:
    """Return whether one of the GPUs does not support bfloat16, so that float16 must be used."""
    return any(gpu.capability < BFLOAT16_CAPABILITY for gpu in gpus)
