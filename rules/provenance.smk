"""Provenance: a manifest per run and seed with everything that its scores were made from."""


def made_from(wildcards) -> dict[str, list[str]]:
    """Return all files that a run's scores were made from, and the records of its jobs."""
    run, files = run_of(wildcards), run_of(wildcards).files(wildcards.seed)
    inputs = {"files": STUDY.made_from(run, int(wildcards.seed))}
    inputs["summaries"] = run.summaries(int(wildcards.seed), STUDY.splits)
    inputs["envs"] = [ancient(paths.environment(env)) for env in run.engines]
    inputs["locks"] = [lock for env in run.engines for lock in paths.locks(env)]
    if isinstance(run, CrfRun):
        inputs["records"] = [files.record("train_crf")]
    if not isinstance(run, BaseRun):
        return inputs
    group = STUDY.group_of(run.name, wildcards.seed)
    shards = paths.shards(run.decode.shards)
    inputs["shared"] = [group.files.record(split, shard) for split in STUDY.splits for shard in shards]
    if isinstance(run, TunedRun):
        inputs["records"] = [files.record("train_adapter")]
        inputs["records"] += [files.record("merge_adapter")] if run.merges else []
        if run.selects:
            inputs["records"] += [files.record("merge_candidates")] if run.merges else []
            inputs["shared"] += [group.files.record(SELECT, shard) for shard in shards]
            inputs["checkpoints"] = [files.checkpoint_scores]
    return inputs


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
        environments=lambda w, input: [os.path.dirname(env) for env in input.get("envs", [])],
        records=lambda w, input: input.get("records", []),
        shared=lambda w, input: input.get("shared", []),
        shared_by=shared_by,
        checkpoints=lambda w, input: option("--checkpoints", input.get("checkpoints")),
    shell:
        "python scripts/write_manifest.py --config {params.config:q} --files {input.files}"
        " --environments {params.environments} --records {params.records}"
        " --shared-records {params.shared} --shared-by {params.shared_by} {params.checkpoints}"
        " --summaries {input.summaries}"
        " --output {output.manifest}"
        " 2>&1 | tee {log} >&2"
