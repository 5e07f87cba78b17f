"""Two processes and one folder: real processes that are killed, silent, or on another machine."""

from __future__ import annotations

import itertools
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from helpers import BIN, ENVIRONMENT, ROOT, wait_for

from entitune import claims
from entitune.claims import ClaimHeld, ClaimLost, Holder, claim

HOLD = """
import sys, time
from pathlib import Path
from entitune.claims import claim
with claim(Path(sys.argv[1]), "work is being done", 1.0):
    print("held", flush=True)
    time.sleep(60)
"""


def hold(path: Path) -> subprocess.Popen[str]:
    """Start a process that holds the claim."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "scripts"), "SLURM_JOB_ID": "4711"}
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(path)],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout
    assert process.stdout.readline() == "held\n"
    return process


@pytest.fixture
def holder(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    process = hold(tmp_path / "claim")
    yield process
    process.kill()
    process.wait()


def test_a_second_process_gets_the_name_of_the_holder(tmp_path: Path, holder: subprocess.Popen[str]) -> None:
    with pytest.raises(ClaimHeld) as refused, claim(tmp_path / "claim", "results/x is being trained", 0.5):
        pass
    message = str(refused.value)
    assert message.startswith(f"results/x is being trained by process {holder.pid} on ")
    assert "of Slurm job 4711" in message
    assert message.endswith("wait until it ends, or end it with: scancel 4711")


def test_a_second_process_waits_for_a_holder_that_ends(tmp_path: Path, holder: subprocess.Popen[str]) -> None:
    threading.Timer(0.5, holder.terminate).start()
    with claim(tmp_path / "claim", "x", 30):
        assert holder.wait() == -signal.SIGTERM


@pytest.mark.parametrize("reaped", [True, False])
def test_a_killed_holder_blocks_nobody(tmp_path: Path, holder: subprocess.Popen[str], reaped: bool) -> None:
    """Also while it is a zombie, whose exit code nobody has read."""
    holder.kill()
    if reaped:
        holder.wait()
    with claim(tmp_path / "claim", "x", 30):
        pass


def test_another_process_with_the_same_number_is_not_the_holder(tmp_path: Path) -> None:
    before = replace(Holder.here(), id="before", started=1.0)
    (tmp_path / "claim").write_text(json.dumps(vars(before)))
    with claim(tmp_path / "claim", "x", 30):
        assert json.loads((tmp_path / "claim").read_text())["started"] > 1.0
    assert not (tmp_path / "claim").exists()


def elsewhere() -> Holder:
    return replace(Holder.here(), id="elsewhere", host="node7", machine="another", pid=1, slurm_job="12")


class Clock:
    """A clock that only `sleep` advances; `meanwhile` is called during each sleep."""

    def __init__(self, meanwhile: Callable[[], object] = lambda: None) -> None:
        self.now = 1000.0
        self._meanwhile = meanwhile

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        self._meanwhile()


def test_a_silent_holder_on_another_machine_is_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    monkeypatch.setattr(claims, "time", clock)
    (tmp_path / "claim").write_text(json.dumps(vars(elsewhere())))
    with claim(tmp_path / "claim", "x", 30):
        assert clock.now > 1030


def test_a_holder_on_another_machine_that_touches_its_claim_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, touches = tmp_path / "claim", itertools.count()
    path.write_text(json.dumps(vars(elsewhere())))
    monkeypatch.setattr(claims, "time", Clock(lambda: os.utime(path, ns=(0, next(touches)))))
    with pytest.raises(ClaimHeld, match="process 1 on node7 of Slurm job 12"), claim(path, "x", 30):
        pass


def test_a_file_that_is_not_a_claim_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "claim").write_text("")
    with claim(tmp_path / "claim", "x", 0.5):
        pass


def test_a_holder_that_was_replaced_notices(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(claims, "HEARTBEAT", 0.0)
    with claim(tmp_path / "claim", "x") as held:
        os.utime(tmp_path / "claim", ns=(0, 0))
        held.touch()
        assert (tmp_path / "claim").stat().st_mtime_ns > 0
        (tmp_path / "claim").write_text(json.dumps(vars(elsewhere())))
        with pytest.raises(ClaimLost, match="held by process 1 on node7"):
            held.touch()
    assert (tmp_path / "claim").exists()  # the claim of the other process


def test_only_one_of_many_threads_gets_the_claim(tmp_path: Path) -> None:
    """Five threads compete for a claim whose holder has ended."""
    before = replace(Holder.here(), id="before", started=1.0)
    (tmp_path / "claim").write_text(json.dumps(vars(before)))
    inside: list[int] = []

    def work(number: int) -> None:
        with claim(tmp_path / "claim", "x", 30):
            inside.append(number)
            assert len(inside) == 1
            time.sleep(0.02)
            inside.clear()

    errors: list[threading.ExceptHookArgs] = []
    kept, threading.excepthook = threading.excepthook, errors.append
    try:
        threads = [threading.Thread(target=work, args=(number,)) for number in range(5)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        threading.excepthook = kept
    assert errors == []
    assert list(tmp_path.iterdir()) == []


WATCH = """
import sys, time
from pathlib import Path
from entitune.processes import Workflow
workflow = Workflow()
Path(sys.argv[1]).write_text("started")
while not workflow.is_gone():
    time.sleep(0.1)
Path(sys.argv[1]).write_text("ended")
"""


@pytest.mark.workflow
def test_a_script_notices_that_snakemake_was_killed(tmp_path: Path) -> None:
    """Kill only Snakemake: the shell between Snakemake and the script survives."""
    (tmp_path / "watch.py").write_text(WATCH)
    (tmp_path / "Snakefile").write_text('rule all:\n    output: "done"\n    shell: "python watch.py written; true"\n')
    environment = {**ENVIRONMENT, "PYTHONPATH": str(ROOT / "scripts")}
    command = [str(BIN / "snakemake"), "--cores", "1", "--quiet"]
    process = subprocess.Popen(command, cwd=tmp_path, env=environment, stderr=subprocess.DEVNULL)
    written = tmp_path / "written"
    for expected in ("started", "ended"):
        wait_for(lambda: written.exists() and written.read_text() == expected, 300, expected)  # noqa: B023
        process.kill()
    process.wait()


def test_a_script_that_a_person_started_belongs_to_no_workflow(tmp_path: Path) -> None:
    """The shell that started the script may end."""
    (tmp_path / "watch.py").write_text(WATCH)
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "scripts")}
    shell = f"{sys.executable} watch.py written >/dev/null 2>&1 & echo $!"
    started = subprocess.run(["bash", "-c", shell], cwd=tmp_path, env=environment, stdout=subprocess.PIPE, text=True)
    try:
        written = tmp_path / "written"
        wait_for(lambda: written.exists() and written.read_text(), 300, "start")
        time.sleep(1)  # ten times the interval between two checks
        assert written.read_text() == "started"
    finally:
        os.kill(int(started.stdout), signal.SIGKILL)
