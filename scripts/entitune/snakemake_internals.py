"""All uses of Snakemake 9.27 without a public API. Rules call these functions with their `workflow`.

Check each function for a new release of Snakemake. `tests/test_stale.py` and `tests/test_done.py` fail if one no longer
works.
"""

from __future__ import annotations

import itertools
import os
import sys
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

from snakemake.dag import DAG
from snakemake.settings.enums import Quietness

from entitune.files import sha256
from entitune.paths import RESULTS

TICK = 0.001
"""Seconds by which a file's modification time may differ from the recorded time and still count as equal."""

STARTED = time.time()
"""The start of this command in seconds since 1970."""


def is_quiet(workflow: Any) -> bool:
    """Return whether the user turned off progress output (`--quiet`)."""
    return bool({Quietness.ALL, Quietness.PROGRESS} & set(workflow.output_settings.quiet or ()))


def makes_report() -> bool:
    """Return whether this command writes the report (`--report`), which needs all figures."""
    return any(word.split("=")[0] == "--report" for word in sys.argv)


def submits_to_slurm() -> bool:
    """Return whether this command submits its jobs to Slurm, judging by its profile or executor."""
    words = " ".join(sys.argv).replace("=", " ").split()
    pairs = itertools.pairwise(words)
    return any(
        (option in ("--executor", "-e") and value == "slurm")
        or (option in ("--workflow-profile", "--profile") and value.rstrip("/").endswith("slurm"))
        for option, value in pairs
    )


def is_main(workflow: Any) -> bool:
    """Return whether this process plans the workflow, instead of running a single job for another process."""
    return bool(workflow.is_main_process)


def local_gpu_jobs(workflow: Any) -> list[Any]:
    """Return the jobs that will run on a GPU of this machine: none if a scheduler runs the jobs."""
    if not workflow.local_exec:
        return []
    return [job for job in workflow.dag.needrun_jobs() if job.resources.get("gpu")]


def failed_jobs(workflow: Any) -> list[Any]:
    """Return the jobs that this command started and that did not finish."""
    return [
        job
        for job in workflow.dag.needrun_jobs()
        if any(os.path.exists(log) and os.path.getmtime(log) >= STARTED for log in job.log)
    ]


def correct_plans() -> None:
    """Make every plan include all steps that have to run. Snakemake omits three kinds of steps.

    Steps whose files are missing although files made from them exist: Snakemake deletes the outputs of a failed or
    terminated job, but looks for missing files only among the targets (snakemake issues 1978, 2011, 3808). The same
    command would find the table of an earlier run and do nothing. So the missing files are added to the forced files,
    as `--forcerun FILE` does.

    Steps whose files were changed by hand: Snakemake would only run the steps after them, and nobody could tell that a
    score does not come from the run's own predictions.

    Steps after a step that runs, if their input is `ancient`: Snakemake does not examine the steps after one that runs,
    because they will run anyway, and then skips these because their input is ancient. So all steps are examined here.
    """
    decide: Callable[..., Coroutine[Any, Any, None]] = DAG.update_needrun

    async def update_needrun(self: Any, create_inventory: bool = False) -> None:
        if self.workflow.is_main_process:
            self.forcefiles.update(_missing_intermediates(self), _stale_environments(self))
            self.forcefiles.update([file async for file in _changed_by_hand(self)])
        self.bfs = lambda *_: ()  # `DAG.update_needrun` calls it for the jobs that it need not examine
        try:
            await decide(self, create_inventory)
        finally:
            del self.bfs

    DAG.update_needrun = update_needrun


def _missing_intermediates(dag: Any) -> Iterator[str]:
    """Yield the missing files under results/ that existing files were made from, or that a target lists.

    This includes the missing files of a step whose other files exist.
    """
    for job in dag.jobs:
        missing = [file for file in job.output if not os.path.exists(file)]
        if not missing:
            for files in dag.dependencies[job].values():
                yield from (file for file in files if file.startswith(f"{RESULTS}/") and not os.path.exists(file))
        elif len(missing) < len(job.output):
            yield from missing


async def _changed_by_hand(dag: Any) -> AsyncIterator[str]:
    """Yield the files under results/ that were changed after their step had ended and after other steps had read them.

    Files without a checksum (larger than `--max-checksum-file-size`) are left to Snakemake.
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
    """Yield the markers of environments that were built from an older lock file, or whose Python is missing."""
    for job in dag.jobs:
        if job.rule.name == "build_env" and (marker := Path(job.output.built)).is_file():
            built_from = marker.read_bytes().split()[:1]
            if built_from != [sha256(job.input.lock).encode()] or not (marker.parent / "bin" / "python").exists():
                yield job.output.built
