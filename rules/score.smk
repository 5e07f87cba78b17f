"""Score: predictions -> a table per run and seed -> results/metrics.tsv, and comparisons of runs."""


rule score_predictions:
    """a run's table of scores"""
    input:
        predictions=RUN.predictions("{split}"),
        summaries=lambda w: run_of(w).summaries(int(w.seed), [w.split]),
    output:
        scores=RUN.scores("{split}"),
        table=RUN.score_page("{split}"),
        seqeval=RUN.seqeval_report("{split}"),
    log:
        "logs/score_predictions/{run}/{seed}/{split}.log",
    localrule: True
    params:
        code=code_digest("score_predictions"),
        dataset=lambda w: run_of(w).dataset.name,
        labels=lambda w: labels_of(run_of(w).dataset),
    shell:
        "python scripts/score_predictions.py --predictions {input.predictions} --labels {params.labels:q}"
        " --run {wildcards.run} --seed {wildcards.seed} --dataset {params.dataset} --split {wildcards.split}"
        " --summaries {input.summaries} --output {output.scores} --table {output.table} --seqeval {output.seqeval}"
        " 2>&1 | tee {log} >&2"


rule combine_metrics:
    """results/metrics.tsv and results/seeds.tsv of the selected runs"""
    input:
        scores=of_selected_splits(lambda files, split: files.scores(split)),
        # Not read, but the table must not exist without the manifests of its runs.
        manifests=of_selected(lambda files: files.manifest),
    output:
        metrics=paths.METRICS,
        seeds=paths.SEEDS,
    log:
        "logs/combine_metrics.log",
    localrule: True
    params:
        code=code_digest("combine_metrics"),
    shell:
        "python scripts/combine_metrics.py --scores {input.scores} --output {output.metrics}"
        " --seeds-output {output.seeds} 2>&1 | tee {log} >&2"


def predictions_to_compare(wildcards) -> str:
    """Return options with run, seed, dataset, split and file of all predictions that the table covers."""
    return " ".join(
        f"--predictions {run.name} {seed} {run.dataset.name} {split} {run.files(seed).predictions(split)}"
        for run in STUDY.selected_runs
        for seed in run.seeds
        for split in STUDY.splits
    )


def labels_to_compare(wildcards) -> str:
    """Return options with the labels of each dataset that the table covers."""
    datasets = {run.dataset.name: run.dataset for run in STUDY.selected_runs}
    return " ".join(f"--labels {name} {shlex.quote(labels_of(dataset))}" for name, dataset in datasets.items())


rule compare_runs:
    """differences between the selected runs, with intervals and p-values"""
    input:
        predictions=of_selected_splits(lambda files, split: files.predictions(split)),
    output:
        comparison=paths.COMPARISON,
    log:
        "logs/compare_runs.log",
    localrule: True
    params:
        code=code_digest("compare_runs"),
        predictions=predictions_to_compare,
        labels=labels_to_compare,
    shell:
        "python scripts/compare_runs.py {params.predictions} {params.labels} --output {output.comparison}"
        " 2>&1 | tee {log} >&2"
