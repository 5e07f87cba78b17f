"""The one place that uses what Snakemake 9.27 has no public API for. Rules call these functions with their `workflow`.

Checked against Snakemake's source for each new release: `workflow.output_settings`, `workflow.local_exec`,
`workflow.dag`.
"""

from __future__ import annotations

from typing import Any

from snakemake.settings.enums import Quietness


def is_quiet(workflow: Any) -> bool:
    """Whether the user asked for no progress (`--quiet`)."""
    return bool({Quietness.ALL, Quietness.PROGRESS} & set(workflow.output_settings.quiet or ()))


def local_gpu_jobs(workflow: Any) -> list[Any]:
    """The jobs that are about to run on a GPU of this machine: none where a scheduler finds a machine for them."""
    if not workflow.local_exec:
        return []
    return [job for job in workflow.dag.needrun_jobs() if job.resources.get("gpu")]
