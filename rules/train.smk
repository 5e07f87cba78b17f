"""Train: a rendered LLaMA-Factory YAML -> LoRA adapter -> merged model (if the decode settings need one).

A recipe with `select` produces candidates instead of an adapter: rules/select.smk.
"""


def tuned_run(name: str):
    """Return the run of that name. Raises WorkflowError if it does not train."""
    run = call(STUDY.run, name)
    if not isinstance(run, TunedRun):
        raise WorkflowError(f"run {name!r} does not train")
    return run


def recipe_of(wildcards):
    """Return the recipe of a job."""
    return run_of(wildcards).recipe


rule render_config:
    """LLaMA-Factory's YAML of a run"""
    input:
        train=lambda w: run_of(w).training_rows(w.seed),
        info=lambda w: run_of(w).training_rows(w.seed, "dataset_info.json"),
        model=lambda w: paths.model(run_of(w).model.name),
        lock=paths.locks("train"),
    output:
        config=RUN.config,
    log:
        "logs/render_config/{run}/{seed}.log",
    localrule: True
    params:
        code=code_digest("render_config"),
        # One JSON text, because Snakemake compares params as a set of values and would not notice swapped values.
        arguments=lambda w: json.dumps(run_of(w).arguments),
        chat=lambda w: chat_option(run_of(w).model),
        dataset=lambda w: f"{run_of(w).dataset.name}_train",
        evaluation=lambda w: option("--eval-dataset", run_of(w).eval_dataset),
        checkpoints=RUN.checkpoints,
        processes=lambda w: max(1, recipe_of(w).gpus),
        whole=lambda w: "--whole-accumulations" if recipe_of(w).whole_accumulations else "",
    shell:
        "python scripts/render_config.py --arguments {params.arguments:q} --manifest {input.model} {params.chat}"
        " --processes {params.processes} {params.whole}"
        " --dataset {params.dataset} {params.evaluation} --train {input.train} --seed {wildcards.seed}"
        " --locks {input.lock}"
        " --checkpoints {params.checkpoints} --output {output.config} 2>&1 | tee {log} >&2"


rule check_training_rows:
    """a check that the trainer sees the encoded rows, once for all seeds of a run"""
    input:
        config=lambda w: tuned_run(w.run).files(tuned_run(w.run).seeds[0]).config,
        train=lambda w: tuned_run(w.run).training_rows(tuned_run(w.run).seeds[0]),
        tokens=lambda w: tuned_run(w.run).training_data.tokens("train"),
        model=lambda w: paths.model(tuned_run(w.run).model.name),
        env=ancient(paths.environment("train")),
        lock=paths.locks("train"),
    output:
        checked=paths.training_rows_check("{run}"),
    log:
        "logs/check_training_rows/{run}.log",
    resources:
        mem_mb=lambda w, attempt: growing(4000, attempt),
        runtime=lambda w, attempt: growing(30, attempt),
    params:
        code=code_digest("check_training_rows"),
        python=paths.python("train"),
    shell:
        "{params.python} scripts/check_training_rows.py --config {input.config} --tokens {input.tokens}"
        " --output {output.checked} > {log} 2>&1"


rule train_adapter:
    """a run's LoRA adapter"""
    input:
        config=RUN.config,
        # Not read, but training needs the checks that the trainer and a server see the encoded rows, and that the
        # prompts fit the engine. Running a check again does not rerun the training (`ancient`).
        rows=lambda w: ancient(paths.training_rows_check(run_of(w).rows_checked_by)),
        parity=lambda w: ancient(run_of(w).training_data.parity("train", run_of(w).decode.environment)),
        lengths=lambda w: [ancient(paths.lengths_check(run_of(w).lengths_checked_by, split)) for split in STUDY.splits],
        held_out=lambda w: ancient(run_of(w).files(w.seed).held_out_tokens) if run_of(w).selects else [],
        train=lambda w: run_of(w).training_rows(w.seed),
        model=lambda w: paths.model(run_of(w).model.name),
        env=ancient(paths.environment("train")),
        lock=paths.locks("train"),
    output:
        adapter=RUN.adapter(),
        config=RUN.adapter("adapter_config.json"),
        log=RUN.adapter("trainer_log.jsonl"),
        plot=RUN.adapter("training_loss.png"),
        record=RUN.record("train_adapter"),
    log:
        "logs/train_adapter/{run}/{seed}.log",
    wildcard_constraints:
        run=none_of(SELECTING),
    # The longest jobs first. Otherwise the last training may start after the predictions of the others, and end alone.
    priority: 1
    threads: lambda w: recipe_of(w).threads
    resources:
        gpu=lambda w: recipe_of(w).gpus,
        gpu_model=lambda w: recipe_of(w).gpu_model,
        mem_mb=lambda w, attempt: growing(recipe_of(w).mem_mb, attempt),
        runtime=lambda w, attempt: growing(recipe_of(w).runtime, attempt),
    params:
        code=code_digest("train_adapter"),
        # From the recipe, because Snakemake silently lowers a resource to the limit of a profile.
        gpus=lambda w: recipe_of(w).gpus,
        candidates="",
        output_dir=os.path.dirname(RUN.adapter()),
        llamafactory=os.path.join(os.path.dirname(paths.python("train")), "llamafactory-cli"),
    shell:
        "python scripts/train_adapter.py --config {input.config} --llamafactory {params.llamafactory}"
        " --gpus {params.gpus} --threads {threads}"
        " --title 'stage 3 of 5, train {wildcards.run} seed {wildcards.seed}' --log {log}"
        " --record {output.record} {params.candidates} --output-dir {params.output_dir}"


rule merge_adapter:
    """base model and adapter merged into one model"""
    input:
        adapter=RUN.adapter(),
        config=RUN.adapter("adapter_config.json"),
        model=lambda w: paths.model(run_of(w).model.name),
        env=ancient(paths.environment("train")),
        lock=paths.locks("train"),
    output:
        manifest=RUN.merged,
        record=RUN.record("merge_adapter"),
    log:
        "logs/merge_adapter/{run}/{seed}.log",
    resources:
        mem_mb=lambda w, attempt: growing(recipe_of(w).mem_mb, attempt),
        runtime=lambda w, attempt: growing(30, attempt),
    params:
        code=code_digest("merge_adapter"),
        python=paths.python("train"),
        candidates="",
    shell:
        "{params.python} scripts/merge_adapter.py --model $(dirname {input.model})"
        " --adapter $(dirname {input.adapter}) {params.candidates} --record {output.record}"
        " --output-dir $(dirname {output.manifest}) > {log} 2>&1"
