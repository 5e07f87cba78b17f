"""A claim on a folder: one process of a cluster works in it, and a second process learns which one.

Kernel locks are not reliable on the file systems that clusters share. So a claim is a file: it is created exclusively,
names its holder, and the holder touches it every few seconds. A holder on this machine is looked up by process id and
start time, so a killed process blocks nobody. A holder on another machine counts as gone if it has not touched its
file for `patience` seconds of this machine's clock.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import sys
import time
import uuid
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path

import psutil
from pydantic import TypeAdapter, ValidationError

from entitune.cli import InputError

HEARTBEAT = 5.0
"""Seconds between two touches of a claim."""

PATIENCE = 60.0
"""Seconds that a process waits for the holder to end or to show that it is alive."""


class ClaimHeld(InputError):
    """Another process holds the claim. The message names the process and how to end it."""


class ClaimLost(InputError):
    """Another process took over the claim, because this one seemed to be gone."""


@dataclass(frozen=True)
class Holder:
    """The process that holds a claim."""

    id: str
    host: str
    machine: str
    """Identifies the machine: its boot id and process namespace."""
    pid: int
    started: float
    """Start time of the process in seconds since 1970."""
    slurm_job: str | None

    @classmethod
    def here(cls) -> Holder:
        """Return this process as a holder, with a new id."""
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="utf-8").strip()
        machine = f"{boot} {os.readlink('/proc/self/ns/pid')}"
        process = psutil.Process()
        job = os.environ.get("SLURM_JOB_ID")
        return cls(uuid.uuid4().hex, socket.gethostname(), machine, process.pid, process.create_time(), job)

    def is_gone(self) -> bool:
        """Return whether the process of a holder on this machine has ended."""
        try:
            process = psutil.Process(self.pid)
            return process.create_time() != self.started or process.status() == psutil.STATUS_ZOMBIE
        except psutil.NoSuchProcess:
            return True

    def describe(self) -> str:
        """Return the process, host, Slurm job and start time for a message."""
        job = f" of Slurm job {self.slurm_job}" if self.slurm_job else ""
        return f"process {self.pid} on {self.host}{job}, running since {datetime.fromtimestamp(self.started):%F %T}"


class Claim:
    """A claim held by this process."""

    def __init__(self, path: Path, holder: Holder) -> None:
        self._path = path
        self._holder = holder
        self._touched = time.monotonic()

    def touch(self) -> None:
        """Show that this process is alive, at most once per `HEARTBEAT`. Raises ClaimLost if another one holds it."""
        if time.monotonic() - self._touched < HEARTBEAT:
            return
        other = _read(self._path)
        if other is None or other.holder != self._holder:
            who = other.holder.describe() if other and other.holder else "nobody"
            raise ClaimLost(f"{self._path}: now held by {who}, because this process was suspended for too long")
        os.utime(self._path)
        self._touched = time.monotonic()


@dataclass(frozen=True)
class _Record:
    text: str
    touched: int
    """The file's modification time in nanoseconds. Compared only with other times of the same file."""

    @property
    def holder(self) -> Holder | None:
        """The process that holds the claim; None if the file is still being written or is damaged."""
        try:
            return TypeAdapter(Holder).validate_json(self.text, strict=True)
        except ValidationError:
            return None


def _read(path: Path) -> _Record | None:
    try:
        # Opening the file makes a network file system fetch its current state.
        with path.open(encoding="utf-8", errors="replace") as stream:
            return _Record(stream.read(), os.fstat(stream.fileno()).st_mtime_ns)
    except FileNotFoundError:
        return None


def _create(path: Path, holder: Holder) -> bool:
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with path.open("x", encoding="utf-8") as stream:
            json.dump(asdict(holder), stream)
    except FileExistsError:
        return False
    return True


def _release(path: Path, me: Holder) -> None:
    if (mine := _read(path)) and mine.holder == me:
        path.unlink(missing_ok=True)


def _remove(path: Path, seen: _Record, me: Holder, what: str, patience: float) -> None:
    """Remove the claim `seen`, but not another claim that has replaced it.

    Several processes may have seen it. They take turns by holding a claim on the removal. Otherwise one process could
    remove the claim that another has just created.
    """
    removal = path.with_name(f"{path.name}.removal")
    _acquire(removal, me, what, patience)
    try:
        if (record := _read(path)) and record.text == seen.text:
            path.unlink()
    finally:
        _release(removal, me)


def _acquire(path: Path, me: Holder, what: str, patience: float) -> None:
    """Create the claim's file as soon as no living process holds it. Raises ClaimHeld."""
    began, waiting = time.monotonic(), False
    # The last record of the file, when it was first read, and whether the file has changed while this process waited.
    seen, changed, alive = None, began, False
    while not _create(path, me):
        record = _read(path)
        if record is None:
            continue
        now = time.monotonic()
        if seen is None or record != seen:
            alive, seen, changed = seen is not None, record, now
        holder = record.holder
        is_local = holder is not None and holder.machine == me.machine
        if (holder and is_local and holder.is_gone()) or (not is_local and now - changed > patience):
            _remove(path, record, me, what, patience)
            continue
        if holder and now - began > patience and (is_local or alive):
            how = f"scancel {holder.slurm_job}" if holder.slurm_job else f"kill {holder.pid} on {holder.host}"
            raise ClaimHeld(f"{what} by {holder.describe()}; wait until it ends, or end it with: {how}")
        if holder and not waiting:
            print(f"{what} by {holder.describe()}; waiting for it to end", file=sys.stderr, flush=True)
            waiting = True
        time.sleep(min(1.0, patience / 10))


@contextlib.contextmanager
def claim(path: Path, what: str, patience: float = PATIENCE) -> Iterator[Claim]:
    """Hold a claim while the block runs.

    Args:
        path: The claim's file. Its folder is created.
        what: What is being done, for messages: "results/demo/seed-1 is being trained".
        patience: Seconds to wait for the holder to end or, on another machine, to show that it is alive.

    Raises:
        ClaimHeld: Another process holds the claim and is alive.
    """
    me = Holder.here()
    _acquire(path, me, what, patience)
    try:
        yield Claim(path, me)
    finally:
        _release(path, me)
