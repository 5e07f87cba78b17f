"""GPUs: what a run needs of one, printed before it starts, and a refusal where this machine cannot give it."""


localrules:
    estimate_resources,


rule estimate_resources:
    """memory and time that the selected runs need of a GPU, printed"""
    log:
        "logs/estimate_resources.log",
    params:
        runs=",".join(STUDY.selected),
    shell:
        "python scripts/estimate_resources.py --runs {params.runs} 2>&1 | tee {log}"


def gpu_runs() -> list[str]:
    """The runs with a GPU job to do. A scheduler finds a machine for them; without one it has to be this one."""
    if not workflow.local_exec:
        return []
    jobs = [job for job in workflow.dag.needrun_jobs() if job.resources.get("gpu")]
    return sorted({job.wildcards.run for job in jobs})


# Before the first job: 15 GB of download would be the wrong time to find out.
onstart:
    if runs := gpu_runs():
        shell(f"python scripts/estimate_resources.py --check --runs {','.join(runs)} >&2")
