"""Provenance: a manifest per run and seed, beside its scores, that says from what they were made."""


localrules:
    write_manifest,


def made_from(wildcards) -> dict[str, list[str]]:
    """Everything that a run's figures were made from, and what its stages cost."""
    run, folder = run_of(wildcards), f"results/{wildcards.run}/seed-{wildcards.seed}"
    if run.vote_of:
        voters = [f"results/{run.vote_of}/seed-{seed}" for seed in STUDY.runs[run.vote_of].seeds]
        made = [f"{voter}/manifest.json" for voter in voters] + [f"{voter}/predictions/dev.jsonl" for voter in voters]
        return {"files": [*made, f"{folder}/predictions/dev.jsonl", f"{folder}/scores/dev.tsv", "envs/workflow.txt"]}
    splits = ["train", "dev"] if run.recipe else ["dev"]
    envs = ["train", predict_env_of(run)]
    shards = STUDY.decode[run.decode]["shards"]
    files = [f"results/datasets/{run.dataset}/raw/{split}" for split in splits]
    files += [f"results/datasets/{run.dataset}/{split}.jsonl" for split in splits]
    files += [alpaca_of(run, split) for split in splits]
    files += [manifest_of(run), f"{folder}/predictions/dev.jsonl", f"{folder}/scores/dev.tsv"]
    name = pass_of(run, wildcards.seed)
    records = f"results/passes/{name}" if name else f"{folder}/jobs"
    predicted = [f"{records}/predict_shard.dev.{i}-of-{shards}.json" for i in range(1, shards + 1)]
    jobs = []
    if run.recipe:
        files += [registered_of(run), f"{folder}/train.yaml", f"{folder}/adapter/adapter_model.safetensors"]
        jobs.append(f"{folder}/jobs/train_adapter.json")
        if STUDY.decode[run.decode]["adapter"] == "merged":
            jobs.append(f"{folder}/jobs/merge_adapter.json")
    return {
        "files": [*files, "envs/workflow.txt", *(f"envs/{env}.txt" for env in envs)],
        "jobs": jobs if name else [*predicted, *jobs],
        "shared_jobs": predicted if name else [],
        "envs": [environment(env) for env in envs],
    }


def merged_config(wildcards) -> str:
    """The run's row of the sheet with everything that it names."""
    run = run_of(wildcards)
    merged = {
        "run": run.name,
        "seed": int(wildcards.seed),
        "dataset": {"name": run.dataset, **STUDY.datasets[run.dataset]},
        "model": {"name": run.model, **STUDY.models[run.model]},
        "prompt": {"name": run.prompt, **STUDY.prompts[run.prompt]},
        "train": {"name": run.recipe, **STUDY.recipes[run.recipe], "overrides": run.overrides} if run.recipe else None,
        "vote_of": run.vote_of,
        "decode": {"name": run.decode, **STUDY.decode[run.decode]},
    }
    return json.dumps(merged, ensure_ascii=False)


rule write_manifest:
    """from what a run's figures were made"""
    input:
        unpack(made_from),
        code=code_of("write_manifest"),
    output:
        manifest="results/{run}/seed-{seed}/manifest.json",
    log:
        "logs/write_manifest/{run}/{seed}.log",
    params:
        config=merged_config,
        environments=lambda w, input: [os.path.dirname(env) for env in input.get("envs", [])],
        jobs=lambda w, input: input.get("jobs", []),
        shared_jobs=lambda w, input: (
            option("--shares", len(PASSES[pass_of(run_of(w), w.seed)]))
            + f" --shared-jobs {' '.join(input.shared_jobs)}"
            if input.get("shared_jobs")
            else ""
        ),
    shell:
        "python scripts/write_manifest.py --config {params.config:q} --files {input.files}"
        " --environments {params.environments} --jobs {params.jobs} {params.shared_jobs} --output {output.manifest}"
        " 2>&1 | tee {log} >&2"
