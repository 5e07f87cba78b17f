"""The time and memory that a job took, and its node. The job itself writes the record where it runs.

This is kept apart from other provenance, because a change of this module reruns the jobs. Needs psutil and pydantic
(every environment has both).
"""

from __future__ import annotations

import contextlib
import os
import platform
import re
import resource
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal, Self

import psutil
from pydantic import BaseModel, ConfigDict, ValidationError

from entitune.cli import InputError
from entitune.files import read_json, write_json
from entitune.paths import built_from
from entitune.processes import nvidia_smi

MIB = 1 << 20


class Hardware(BaseModel):
    """The node that a job runs on."""

    model_config = ConfigDict(frozen=True)

    system: str
    python: str
    processor: str | None
    cores: int
    """The cores that this process may use."""
    memory_mb: int
    """The node's main memory in MiB."""
    gpus: list[str]
    """The node's GPUs: name, memory, driver."""


def hardware() -> Hardware:
    """Return the node of this process."""
    return Hardware(
        system=platform.platform(),
        python=platform.python_version(),
        processor=processor(),
        cores=len(os.sched_getaffinity(0)),
        memory_mb=psutil.virtual_memory().total // MIB,
        gpus=gpus(),
    )


def processor() -> str | None:
    """Return the processor's name, or None if the system does not report it (many ARM machines)."""
    try:
        found = re.search(r"^model name\s*: (.*)$", Path("/proc/cpuinfo").read_text(encoding="utf-8"), re.MULTILINE)
    except OSError:
        return None
    return found[1] if found else None


def gpus() -> list[str]:
    """Return name, memory and driver of each GPU of this node; empty if nvidia-smi is missing or fails."""
    return nvidia_smi("name,memory.total,driver_version", units=True)


PeakOf = Literal["process tree", "largest process"]


class JobRecord(BaseModel):
    """Where and when a job ran, and how much time and memory it took."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    date: str
    """The start: ISO 8601, UTC."""
    seconds: float
    peak_memory_mb: int
    """In MiB."""
    peak_memory_of: PeakOf
    """Whether the peak is that of all processes of the job, page cache included, or of the largest one."""
    hardware: Hardware
    lock: str | None = None
    """The lock file of the environment in which the engine ran."""

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read the record of a job. Raises InputError if the file is not one."""
        try:
            return cls.model_validate(read_json(path))
        except ValidationError as error:
            raise InputError(f"{path}: not the record of a job: {error}") from error


@contextlib.contextmanager
def recorded_job(path: Path | None, environment: Path = Path(sys.prefix)) -> Iterator[None]:
    """Write a JobRecord of the block to `path` when the block ends without an error. With None, write nothing.

    `environment` is the folder of the engine's environment, by default that of this process.
    """
    if path is None:
        yield
        return
    path.unlink(missing_ok=True)  # the record of an earlier attempt
    date, started = datetime.now(UTC).isoformat(timespec="seconds"), time.monotonic()
    group = ControlGroup.own()
    if group and not group.is_own():
        group = None
    before = group.peak() if group else 0
    yield
    seconds = time.monotonic() - started
    peak, of = peak_memory(group, before)
    record = JobRecord(
        date=date,
        seconds=round(seconds, 3),
        peak_memory_mb=peak // MIB,
        peak_memory_of=of,
        hardware=hardware(),
        lock=built_from(environment),
    )
    write_json(path, record.model_dump(mode="json"))


class ControlGroup:
    """The control group (cgroup v2) of a process. Schedulers create one per job; the kernel records its peak memory."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @classmethod
    def own(cls, mounted: Path = Path("/sys/fs/cgroup"), listed: Path = Path("/proc/self/cgroup")) -> Self | None:
        """Return the group of this process, or None if the system has no cgroup v2 that measures memory."""
        try:
            found = re.search(r"^0::/(.*)$", listed.read_text(encoding="utf-8"), re.MULTILINE)
        except OSError:
            return None
        group = cls(mounted / found[1]) if found else None
        return group if group and (group.folder / "memory.peak").is_file() else None

    def peak(self) -> int:
        """Return the group's peak memory in bytes, page cache included; 0 if it cannot be read."""
        try:
            return int((self.folder / "memory.peak").read_text(encoding="ascii"))
        except (OSError, ValueError):
            return 0  # a job must not fail because of its record

    def is_own(self) -> bool:
        """Return whether the group holds only this process, its ancestors and its descendants."""
        me = psutil.Process()
        family = {process.pid for process in (me, *me.parents(), *me.children(recursive=True))}
        try:
            members = set(map(int, (self.folder / "cgroup.procs").read_text(encoding="ascii").split()))
            return members <= family and not any(path.is_dir() for path in self.folder.iterdir())
        except (OSError, ValueError):
            return False


def peak_memory(group: ControlGroup | None, before: int) -> tuple[int, PeakOf]:
    """Return the peak memory of this process and its descendants in bytes, and what it is the peak of.

    A sum of samples would depend on when they are taken, so the kernel's own peaks are used: that of the group if the
    group belongs to this job alone and its peak has risen since the job started, else that of the largest process.
    Memory that this process needs afterwards, while it ends, is not included (about 100 MB for torch).

    Args:
        group: The control group of this process, if there is one.
        before: The group's peak in bytes when the job started.
    """
    if group and group.is_own() and (peak := group.peak()) > before:
        return peak, "process tree"
    living = [os.getpid(), *(child.pid for child in psutil.Process().children(recursive=True))]
    ended = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024
    return max(ended, *map(peak_of_process, living)), "largest process"


def peak_of_process(pid: int) -> int:
    """Return the peak memory of a process in bytes; 0 if it has just ended."""
    try:
        status = Path(f"/proc/{pid}/status").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return 0
    found = re.search(r"^VmHWM:\s*(\d+) kB$", status, re.MULTILINE)
    return int(found[1]) * 1024 if found else 0
