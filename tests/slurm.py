"""A real Slurm on this machine, for tests: one node, two processors, and one GPU that is /dev/null."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from helpers import wait_for

CONF = Path("/etc/slurm/slurm.conf")  # the only path that srun's job steps read
GRES = CONF.with_name("gres.conf")
HOST = socket.gethostname().split(".")[0]
SETTINGS = """\
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
# A requeued job waits until its old credentials have expired.
AuthInfo=socket={state}/munge.sock,cred_expire=10
CredType=cred/munge
CommunicationParameters=NoCtldInAddrAny,NoInAddrAny
SlurmctldPort=16817
SlurmdPort=16818
SrunPortRange=16900-16999
StateSaveLocation={state}/ctld
SlurmdSpoolDir={state}/d
SlurmctldPidFile={state}/slurmctld.pid
SlurmdPidFile={state}/slurmd.pid
SlurmctldLogFile={state}/slurmctld.log
SlurmdLogFile={state}/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerParameters=sched_interval=2,bf_interval=2
MpiDefault=none
ReturnToService=2
# Ended jobs stay in the records for the tests to read.
MinJobAge=3600
# Seconds between SIGTERM and SIGKILL.
KillWait=10
GresTypes=gpu
SlurmdParameters=config_overrides
NodeName={host} NodeAddr=127.0.0.1 CPUs=2 RealMemory=64000 Gres=gpu:fake:1 State=UNKNOWN
PartitionName=test Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""


def command(*words: str) -> str:
    """Run a command and return its output; fail the test if the command fails."""
    return subprocess.run(words, capture_output=True, text=True, check=True, timeout=600).stdout


def jobs() -> dict[str, dict[str, str]]:
    """Return Slurm's records of all jobs by id, also of ended jobs: JobState, Comment, TRES and others."""
    records = command("scontrol", "--oneliner", "show", "job").splitlines()
    fields = [dict(re.findall(r"(\S+?)=(\S*)", record)) for record in records if record.startswith("JobId=")]
    return {record["JobId"]: record for record in fields}


def node_state() -> str:
    done = subprocess.run(["sinfo", "--noheader", "--format=%t"], capture_output=True, text=True, check=False)
    return done.stdout.strip()


def start(state: Path) -> None:
    state.chmod(0o755)  # munge requires that everybody can reach its socket
    for folder in ("ctld", "d"):
        (state / folder).mkdir()
    (state / "munge.key").write_bytes(os.urandom(128))
    (state / "munge.key").chmod(0o400)
    CONF.write_text(SETTINGS.format(host=HOST, state=state), encoding="utf-8")
    GRES.write_text(f"AutoDetect=off\nNodeName={HOST} Name=gpu Type=fake File=/dev/null\n", encoding="utf-8")
    files = {"key-file": "munge.key", "socket": "munge.sock", "pid-file": "munged.pid", "log-file": "munged.log"}
    files |= {"seed-file": "munge.seed"}
    command("munged", *(f"--{option}={state / name}" for option, name in files.items()))
    command("slurmctld", "-i")
    command("slurmd")
    wait_for(lambda: node_state() == "idle", 600, "idle node")


def end(daemon: str, pid: int) -> None:
    os.kill(pid, signal.SIGTERM)
    wait_for(lambda: not Path(f"/proc/{pid}").exists(), 30, f"end of {daemon}")


def stop(state: Path) -> None:
    if node_state():
        subprocess.run(["scancel", "--user=root"], check=False, capture_output=True)
        with contextlib.suppress(AssertionError):
            wait_for(lambda: node_state() == "idle", 30, "idle node")
    for daemon in ("slurmd", "slurmctld", "munged"):
        with contextlib.suppress(OSError, ValueError):
            end(daemon, int((state / f"{daemon}.pid").read_text()))
    for path in (CONF, GRES):
        path.unlink(missing_ok=True)


@pytest.fixture(scope="module")
def slurm() -> Iterator[None]:
    """Run Slurm while the tests of the module run."""
    if missing := [name for name in ("munged", "slurmctld", "slurmd") if not shutil.which(name)]:
        pytest.skip(f"{', '.join(missing)} not installed (apt-get install slurm-wlm munge)")
    if os.geteuid():
        pytest.skip("starting Slurm needs root")
    if CONF.exists():
        pytest.skip(f"this machine already has a Slurm configuration: {CONF}")
    state = Path(tempfile.mkdtemp(prefix="slurm-"))  # short: the path of a socket may have at most 107 characters
    try:
        start(state)
        yield
    finally:
        stop(state)
        shutil.rmtree(state)
