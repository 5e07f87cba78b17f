"""Provenance: a manifest per run and seed with everything that its scores were made from."""


def made_from(wildcards) -> dict[str, list[str]]:
    """Return all files that a run's scores were made from, and the records of its jobs."""
    run, seed = run_of(wildcards), int(wildcards.seed)
    chooses = isinstance(run, TunedRun) and run.selects
    return {
        "files": STUDY.made_from(run, seed),
        "summaries": run.summaries(seed, STUDY.splits),
        "envs": [ancient(paths.environment(env)) for env in run.engines],
        "locks": [lock for env in run.engines for lock in paths.locks(env)],
        "records": run.job_records(seed),
        "shared": STUDY.shared_records(run, seed),
        "checkpoints": [run.files(seed).checkpoint_scores] if chooses else [],
    }


def shared_by(wildcards) -> int:
    """Return the number of runs and seeds that share the engine of this one."""
    run = run_of(wildcards)
    return len(STUDY.group_of(run.name, wildcards.seed).members) if isinstance(run, BaseRun) else 1


rule write_manifest:
    """the manifest of a run: what its scores were made from"""
    input:
        unpack(made_from),
    output:
        manifest=RUN.manifest,
    log:
        "logs/write_manifest/{run}/{seed}.log",
    localrule: True
    params:
        code=code_digest("write_manifest"),
        config=lambda w: json.dumps({**run_of(w).settings(), "seed": int(w.seed)}, ensure_ascii=False),
        environments=lambda w, input: [os.path.dirname(env) for env in input.envs],
        shared_by=shared_by,
        checkpoints=lambda w, input: option("--checkpoints", input.checkpoints),
    shell:
        "python scripts/write_manifest.py --config {params.config:q} --files {input.files}"
        " --environments {params.environments} --records {input.records}"
        " --shared-records {input.shared} --shared-by {params.shared_by} {params.checkpoints}"
        " --summaries {input.summaries} --output {output.manifest} 2>&1 | tee {log} >&2"
