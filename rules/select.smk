"""Select: the checkpoints of a training -> their answers to held-out rows of the training split -> the best adapter.

This is for recipes with `select` in conf/recipes.yaml. predict_shard makes the answers, with `select` instead of the
name of a split: one engine predicts for all checkpoints of all members of an engine group. The dev split is not used.
"""


rule register_held_out:
    """the held-out rows that choose a run's checkpoint, as sentences and as token ids"""
    input:
        held_out=lambda w: run_of(w).data.held_out(run_of(w).selection(w.seed)),
        tokens=lambda w: run_of(w).data.tokens("train"),
        windows=lambda w: run_of(w).data.asked("train") if run_of(w).dataset.windows else [],
    output:
        sentences=RUN.held_out,
        tokens=RUN.held_out_tokens,
    log:
        "logs/register_held_out/{run}/{seed}.log",
    wildcard_constraints:
        run=one_of(SELECTING),
    localrule: True
    params:
        code=code_digest("register_held_out"),
        limits=limits_of,
        windows=lambda w, input: option("--windows", input.windows),
    shell:
        "python scripts/register_held_out.py --held-out {input.held_out} --tokens {input.tokens} {params.limits}"
        " {params.windows}"
        " --sentences {output.sentences} --output {output.tokens} 2>&1 | tee {log} >&2"


use rule train_adapter as train_candidates with:
    output:
        candidates=RUN.candidates,
        record=RUN.record("train_adapter"),
    wildcard_constraints:
        run=one_of(SELECTING),
    params:
        candidates="--candidates",
        output_dir=os.path.dirname(RUN.candidates),


use rule merge_adapter as merge_candidates with:
    input:
        adapter=RUN.candidates,
        model=lambda w: paths.model(run_of(w).model.name),
        env=ancient(paths.environment("train")),
        lock=paths.locks("train"),
    output:
        manifest=RUN.merged_candidates,
        record=RUN.record("merge_candidates"),
    log:
        "logs/merge_candidates/{run}/{seed}.log",
    params:
        candidates="--candidates",


rule select_checkpoint:
    """the adapter of the checkpoint with the highest F1 on held-out rows"""
    input:
        candidates=RUN.candidates,
        sentences=RUN.held_out,
        answers=lambda w: answers_of(w, SELECT),
    output:
        adapter=RUN.adapter(),
        config=RUN.adapter("adapter_config.json"),
        log=RUN.adapter("trainer_log.jsonl"),
        plot=RUN.adapter("training_loss.png"),
        scores=RUN.checkpoint_scores,
    log:
        "logs/select_checkpoint/{run}/{seed}.log",
    wildcard_constraints:
        run=one_of(SELECTING),
    localrule: True
    params:
        code=code_digest("select_checkpoint"),
        labels=lambda w: labels_of(run_of(w).dataset),
        answer=lambda w: run_of(w).prompt.answer,
    shell:
        "python scripts/select_checkpoint.py --candidates $(dirname {input.candidates}) --sentences {input.sentences}"
        " --answers {input.answers} --answer {params.answer} --labels {params.labels:q} --run {wildcards.run}"
        " --seed {wildcards.seed} --scores {output.scores} --output-dir $(dirname {output.adapter})"
        " 2>&1 | tee {log} >&2"
