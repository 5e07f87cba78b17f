"""Resources: what a run needs of a GPU, printed before it starts, and a refusal where this machine cannot give it."""


rule estimate_resources:
    """memory and time that the selected runs need of a GPU, printed"""
    log:
        "logs/estimate_resources.log",
    localrule: True
    params:
        runs=",".join(STUDY.selected),
    shell:
        "python scripts/estimate_resources.py --runs {params.runs} 2>&1 | tee {log}"


def runs_of(job) -> list[str]:
    """The runs that a job works for."""
    if "group" in job.wildcards.keys():
        return [run.name for run, _ in group_of(job.wildcards).members]
    return [job.wildcards.run]


# Before the first job: 15 GB of download would be the wrong time to find out.
onstart:
    if runs := sorted({run for job in snakemake_internals.local_gpu_jobs(workflow) for run in runs_of(job)}):
        shell(f"python scripts/estimate_resources.py --check --runs {','.join(runs)} >&2")
