"""Resources: the GPU memory and time that runs need, and a check of this machine's GPU before the first job."""


rule estimate_resources:
    """prints the GPU memory and time that the selected runs need"""
    log:
        "logs/estimate_resources.log",
    localrule: True
    params:
        runs=",".join(STUDY.selected),
    shell:
        "python scripts/estimate_resources.py --runs {params.runs} 2>&1 | tee {log}"


def runs_of(job) -> list[str]:
    """Return the names of the runs that a job works for."""
    if "group" in job.wildcards.keys():
        return [run.name for run, _ in group_of(job.wildcards).members]
    return [job.wildcards.run]


# Check before the first job, not after a download of 15 GB.
onstart:
    if runs := sorted({run for job in snakemake_internals.local_gpu_jobs(workflow) for run in runs_of(job)}):
        shell(f"python scripts/estimate_resources.py --check --runs {','.join(runs)} >&2")
