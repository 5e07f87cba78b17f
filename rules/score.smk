"""Scores: predictions -> a table per run and seed -> results/metrics.tsv."""


localrules:
    score_predictions,
    combine_metrics,


rule score_predictions:
    """a run's table of scores"""
    input:
        predictions="results/{run}/seed-{seed}/predictions/{split}.jsonl",
        code=code_of("score_predictions"),
    output:
        scores="results/{run}/seed-{seed}/scores/{split}.tsv",
        table="results/{run}/seed-{seed}/scores/{split}.md",
    log:
        "logs/score_predictions/{run}/{seed}/{split}.log",
    params:
        dataset=lambda w: run_of(w).dataset,
        labels=lambda w: shlex.join(STUDY.datasets[run_of(w).dataset]["labels"]),
    shell:
        "python scripts/score_predictions.py --predictions {input.predictions} --labels {params.labels}"
        " --run {wildcards.run} --seed {wildcards.seed} --dataset {params.dataset} --split {wildcards.split}"
        " --output {output.scores} --table {output.table} 2>&1 | tee {log} >&2"


def of_selected(pattern: str) -> list[str]:
    """`pattern` for every run and seed that the table covers."""
    return [pattern.format(run=name, seed=seed) for name in STUDY.selected for seed in STUDY.runs[name].seeds]


rule combine_metrics:
    """results/metrics.tsv and results/seeds.tsv of the selected runs"""
    input:
        scores=of_selected("results/{run}/seed-{seed}/scores/dev.tsv"),
        # Not read: no table without the manifests that say from what its figures were made.
        manifests=of_selected("results/{run}/seed-{seed}/manifest.json"),
        code=code_of("combine_metrics"),
    output:
        metrics="results/metrics.tsv",
        seeds="results/seeds.tsv",
    log:
        "logs/combine_metrics.log",
    shell:
        "python scripts/combine_metrics.py --scores {input.scores} --output {output.metrics}"
        " --seeds-output {output.seeds} 2>&1 | tee {log} >&2"
