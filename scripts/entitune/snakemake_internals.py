"""The one place that uses what Snakemake 9.27 has no public API for. Rules call these functions with their `workflow`.

Look at each function again for a new release of Snakemake; `tests/test_stale.py` and `tests/test_done.py` fail where
one no longer holds.
"""

from __future__ import annotations

import hashlib
import itertools
import os
import sys
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

from snakemake.dag import DAG
from snakemake.settings.enums import Quietness

from entitune.paths import RESULTS

TICK = 0.001
"""Seconds by which a file's time of modification may differ from the recorded one without being another."""

STARTED = time.time()
"""When this command began, in seconds since 1970."""


def is_quiet(workflow: Any) -> bool:
    """Whether the user asked for no progress (`--quiet`)."""
    return bool({Quietness.ALL, Quietness.PROGRESS} & set(workflow.output_settings.quiet or ()))


def makes_report() -> bool:
    """Whether this command writes the report (`--report`), for which all figures must be there."""
    return any(word.split("=")[0] == "--report" for word in sys.argv)


def submits_to_slurm() -> bool:
    """Whether this command submits its jobs to Slurm, by the profile or by the executor that it names."""
    words = " ".join(sys.argv).replace("=", " ").split()
    pairs = itertools.pairwise(words)
    return any(
        (option in ("--executor", "-e") and value == "slurm")
        or (option in ("--workflow-profile", "--profile") and value.rstrip("/").endswith("slurm"))
        for option, value in pairs
    )


def is_main(workflow: Any) -> bool:
    """Whether this process plans the workflow, rather than running one job of it for another process."""
    return bool(workflow.is_main_process)


def local_gpu_jobs(workflow: Any) -> list[Any]:
    """The jobs that are about to run on a GPU of this machine: none where a scheduler finds a machine for them."""
    if not workflow.local_exec:
        return []
    return [job for job in workflow.dag.needrun_jobs() if job.resources.get("gpu")]


def failed_jobs(workflow: Any) -> list[Any]:
    """The jobs of this command that were started and did not finish."""
    return [
        job
        for job in workflow.dag.needrun_jobs()
        if any(os.path.exists(log) and os.path.getmtime(log) >= STARTED for log in job.log)
    ]


def correct_plans() -> None:
    """Have every plan include each step that has to run. Snakemake leaves out three kinds.

    Steps whose files are gone although files made from them are there: Snakemake deletes the outputs of a failed or
    terminated job, and looks for missing files of targets alone (snakemake issues 1978, 2011, 3808). So the same
    command would find the table of an earlier run and do nothing. The missing files are added to those that are
    forced, as `--forcerun FILE` does.

    Steps whose files somebody has changed: Snakemake would run what follows them, and nobody could tell any more that a
    score was not made from the predictions.

    Steps behind an `ancient` input whose maker runs: Snakemake does not look at what follows a job that runs, because
    it will run as well, and then does not run it because the input is ancient. So nothing is passed over here.
    """
    decide: Callable[..., Coroutine[Any, Any, None]] = DAG.update_needrun

    async def update_needrun(self: Any, create_inventory: bool = False) -> None:
        if self.workflow.is_main_process:
            self.forcefiles.update(_missing_intermediates(self), _stale_environments(self))
            self.forcefiles.update([file async for file in _changed_by_hand(self)])
        self.bfs = lambda *_: ()  # what `DAG.update_needrun` asks for the jobs to pass over
        try:
            await decide(self, create_inventory)
        finally:
            del self.bfs

    DAG.update_needrun = update_needrun


def _missing_intermediates(dag: Any) -> Iterator[str]:
    """The missing files under results/ of which something that is there was made, or that a target lists.

    Also those of a step whose other files are there.
    """
    for job in dag.jobs:
        missing = [file for file in job.output if not os.path.exists(file)]
        if not missing:
            for files in dag.dependencies[job].values():
                yield from (file for file in files if file.startswith(f"{RESULTS}/") and not os.path.exists(file))
        elif len(missing) < len(job.output):
            yield from missing


async def _changed_by_hand(dag: Any) -> AsyncIterator[str]:
    """The files under results/ that were written after their step had ended, and are not what other steps have read.

    Files without a checksum, which are larger than `--max-checksum-file-size`, are left to Snakemake.
    """
    records = dag.workflow.persistence
    for job in dag.jobs:
        written = [os.path.getmtime(file) for file in job.output if os.path.exists(file)]
        for file in itertools.chain(*dag.dependencies[job].values()) if written else ():
            if not file.startswith(f"{RESULTS}/") or not os.path.exists(file):
                continue
            changed, record = os.path.getmtime(file), records.metadata(file)
            if changed > min(written) and record and record.endtime and changed > record.endtime + TICK:
                read = records.input_checksums(job, file) - {None}
                if read and not await file.is_same_checksum(read.pop(), dag.max_checksum_file_size):
                    yield file


def _stale_environments(dag: Any) -> Iterator[str]:
    """The markers of environments that were built from another lock file than the present one, or lost their Python."""
    for job in dag.jobs:
        if job.rule.name == "build_env" and (marker := Path(job.output.built)).is_file():
            built_from = marker.read_bytes().split()[:1]
            if built_from != [_checksum(job.input.lock).encode()] or not (marker.parent / "bin" / "python").exists():
                yield job.output.built


def _checksum(path: str) -> str:
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
