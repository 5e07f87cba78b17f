"""Predict: prompts as token ids -> raw answers, one shard per job -> predictions with grounded mentions.

An engine group has the runs and seeds that one engine predicts for, one after the other (`share_engine` in
conf/decode.yaml). Otherwise each run and seed has its own group.
"""

VOTES = [run.name for run in STUDY.runs.values() if isinstance(run, VoteRun)]
WITH_MODEL = [run.name for run in STUDY.runs.values() if isinstance(run, BaseRun)]


def group_decode(wildcards):
    """Return the decode settings of a job's engine group."""
    return group_of(wildcards).first.decode


def group_sources(wildcards) -> list[EngineSource]:
    """Return what each member of an engine group reads to predict a split, or held-out rows with each candidate."""
    return [run.engine_source(seed, wildcards.split) for run, seed in group_of(wildcards).members]


def group_inputs(wildcards) -> dict[str, list[str]]:
    """Return the inputs of an engine group: prompts and their checks, models, adapters."""
    members, decode, sources = group_of(wildcards).members, group_decode(wildcards), group_sources(wildcards)
    inputs = {
        "lengths": [paths.lengths_check(run.lengths_checked_by, wildcards.split) for run, _ in members],
        "tokens": [source.tokens for source in sources],
        "parity": [source.parity for source in sources],
        "models": [source.model for source in sources],
        "adapters": [source.adapter for source in sources if source.adapter],
        "sentences": [source.sentences for source in sources if decode.structured],
    }
    if wildcards.split == SELECT:
        inputs["lengths"] = []  # register_held_out has checked them
    return {
        "env": [ancient(paths.environment(decode.environment))],
        "lock": paths.locks(decode.environment),
        **{name: list(dict.fromkeys(files)) for name, files in inputs.items()},
    }


def group_jobs(wildcards) -> str:
    """Return the jobs of the engine in order, as one JSON text: runs and seeds, prompts, models."""
    jobs = [
        {
            "run": run.name,
            "seed": seed,
            "tokens": source.tokens,
            "model": os.path.dirname(source.model),
            "adapter": os.path.dirname(source.adapter) if source.adapter else None,
            **({"answer": run.prompt.answer, "sentences": source.sentences} if run.decode.structured else {}),
            **({"candidates": True} if wildcards.split == SELECT else {}),
        }
        for (run, seed), source in zip(group_of(wildcards).members, group_sources(wildcards))
    ]
    return json.dumps(jobs)


rule check_lengths:
    """a check that the prompts of a split fit the limits of a run's engine"""
    input:
        tokens=lambda w: call(STUDY.run, w.run).data.tokens(w.split),
    output:
        lengths=paths.lengths_check("{run}", "{split}"),
    log:
        "logs/check_lengths/{run}/{split}.log",
    localrule: True
    params:
        code=code_digest("check_lengths"),
        limits=limits_of,
    shell:
        "python scripts/check_lengths.py --tokens {input.tokens} {params.limits} --output {output.lengths}"
        " 2>&1 | tee {log} >&2"


rule predict_shard:
    """the raw answers of an engine group to a shard of a split"""
    input:
        unpack(group_inputs),
    output:
        answers=GROUP.answers("{split}", "{shard}"),
        record=GROUP.record("{split}", "{shard}"),
    log:
        "logs/predict_shard/{group}/{split}/{shard}.log",
    wildcard_constraints:
        split="train|dev|test|select",
    threads: lambda w: group_decode(w).threads
    resources:
        gpu=lambda w: group_decode(w).gpus,
        gpu_model=lambda w: group_decode(w).gpu_model,
        mem_mb=lambda w, attempt: growing(group_decode(w).mem_mb, attempt),
        runtime=lambda w, attempt: growing(group_decode(w).runtime, attempt),
    params:
        code=code_digest("predict_shard"),
        python=lambda w: paths.python(group_decode(w).environment),
        jobs=group_jobs,
        decode=lambda w: json.dumps(group_decode(w).engine_settings()),
        # Labels are only needed to constrain answers to a format.
        labels=lambda w: option(
            "--labels", labels_of(group_of(w).first.dataset) if group_decode(w).structured else None
        ),
        what=lambda w: "select a checkpoint of" if w.split == SELECT else "predict",
        shard=lambda w: "--shard {} --shards {}".format(*w.shard.split("-of-")),
    shell:
        "{params.python} scripts/predict_shard.py --jobs {params.jobs:q} --decode {params.decode:q} {params.labels}"
        " {params.shard} --threads {threads} --log {log}"
        " --title 'stage 4 of 5, {params.what} {wildcards.group}, {wildcards.shard}' --record {output.record}"
        " --output {output.answers}"


rule read_answers:
    """predictions: the parsed answers, with mentions grounded in the sentence"""
    input:
        sentences=lambda w: paths.sentences(run_of(w).dataset.name, w.split),
        windows=lambda w: run_of(w).data.asked(w.split) if run_of(w).dataset.windows else [],
        answers=answers_of,
    output:
        predictions=RUN.predictions("{split}"),
    log:
        "logs/read_answers/{run}/{seed}/{split}.log",
    wildcard_constraints:
        run=one_of(WITH_MODEL),
    localrule: True
    params:
        code=code_digest("read_answers"),
        answer=lambda w: run_of(w).prompt.answer,
        windows=lambda w, input: option("--windows", input.windows),
    shell:
        "python scripts/read_answers.py --sentences {input.sentences} {params.windows} --answers {input.answers}"
        " --answer {params.answer} --run {wildcards.run} --seed {wildcards.seed} --output {output.predictions}"
        " 2>&1 | tee {log} >&2"


def votes_of(wildcards) -> list[str]:
    """Return the predictions of the voters."""
    voters = run_of(wildcards).voters
    return [voters.files(seed).predictions(wildcards.split) for seed in voters.seeds]


rule vote_predictions:
    """predictions by majority vote of the seeds of a run"""
    input:
        predictions=votes_of,
    output:
        predictions=RUN.predictions("{split}"),
    log:
        "logs/vote_predictions/{run}/{seed}/{split}.log",
    wildcard_constraints:
        run=one_of(VOTES),
    localrule: True
    params:
        code=code_digest("vote_predictions"),
    shell:
        "python scripts/vote_predictions.py --predictions {input.predictions} --output {output.predictions}"
        " 2>&1 | tee {log} >&2"
