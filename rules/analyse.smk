"""Analysis beyond the table: audits of the data, comparisons of runs, errors, the benchmark's submission file."""


localrules:
    analysis,
    audit_dataset,
    compare_runs,
    analyse_errors,
    write_submission,


SELECTED_DATASETS = list(dict.fromkeys(STUDY.runs[name].dataset for name in STUDY.selected))


rule analysis:
    """the table, comparisons, error tables and data audits of the selected runs"""
    input:
        "results/metrics.tsv",
        "results/comparison.tsv",
        expand("results/audit/{dataset}.tsv", dataset=SELECTED_DATASETS),
        of_selected("results/{run}/seed-{seed}/errors/dev/categories.tsv"),


def labels_of(dataset: str) -> str:
    """A dataset's labels as words of a command, in one string: Snakemake would not see two that change places."""
    return shlex.join(STUDY.datasets[dataset]["labels"])


def encodings_of(dataset: str) -> list[tuple[str, str, str]]:
    """Name, cutoff_len and file of each encoding of the training split that a run of the table is trained on."""
    trained = [STUDY.runs[name] for name in STUDY.selected if STUDY.runs[name].dataset == dataset]
    encodings = [
        (f"{run.prompt}/{run.model}", str(STUDY.train_arguments(run)["cutoff_len"]), encoded_of(run, "train"))
        for run in trained
        if run.recipe
    ]
    return list(dict.fromkeys(encodings))


rule audit_dataset:
    """lengths, duplicates, leakage between splits and doubtful annotation of a dataset"""
    input:
        splits=lambda w: [f"results/datasets/{w.dataset}/{split}.jsonl" for split in dataset_of(w)["splits"]],
        tokens=lambda w: [file for _, _, file in encodings_of(w.dataset)],
        code=code_of("audit_dataset"),
    output:
        audit="results/audit/{dataset}.tsv",
    log:
        "logs/audit_dataset/{dataset}.log",
    params:
        labels=lambda w: labels_of(w.dataset),
        splits=lambda w, input: " ".join(
            f"--split {split} {path}" for split, path in zip(dataset_of(w)["splits"], input.splits)
        ),
        tokens=lambda w: " ".join(f"--tokens train {' '.join(encoding)}" for encoding in encodings_of(w.dataset)),
    shell:
        "python scripts/audit_dataset.py --dataset {wildcards.dataset} --labels {params.labels} {params.splits}"
        " {params.tokens}"
        " --output {output.audit} 2>&1 | tee {log} >&2"


def predictions_to_compare() -> str:
    """Run, seed, dataset, split and file of every run and seed that the table covers."""
    return " ".join(
        f"--predictions {name} {seed} {STUDY.runs[name].dataset} dev results/{name}/seed-{seed}/predictions/dev.jsonl"
        for name in STUDY.selected
        for seed in STUDY.runs[name].seeds
    )


rule compare_runs:
    """differences between the selected runs, with intervals and p-values"""
    input:
        predictions=of_selected("results/{run}/seed-{seed}/predictions/dev.jsonl"),
        code=code_of("compare_runs"),
    output:
        comparison="results/comparison.tsv",
    log:
        "logs/compare_runs.log",
    params:
        predictions=predictions_to_compare(),
        labels=" ".join(f"--labels {dataset} {labels_of(dataset)}" for dataset in SELECTED_DATASETS),
    shell:
        "python scripts/compare_runs.py {params.predictions} {params.labels} --output {output.comparison}"
        " 2>&1 | tee {log} >&2"


rule analyse_errors:
    """a run's errors by kind, confusion of labels, F1 by group, instructive examples"""
    input:
        predictions="results/{run}/seed-{seed}/predictions/dev.jsonl",
        train=lambda w: f"results/datasets/{run_of(w).dataset}/train.jsonl",
        code=code_of("analyse_errors"),
    output:
        tables=expand(
            "results/{{run}}/seed-{{seed}}/errors/dev/{table}",
            table=["answers.tsv", "categories.tsv", "confusion.tsv", "breakdown.tsv", "examples.jsonl"],
        ),
    log:
        "logs/analyse_errors/{run}/{seed}.log",
    params:
        labels=lambda w: labels_of(run_of(w).dataset),
    shell:
        "python scripts/analyse_errors.py --predictions {input.predictions} --train {input.train}"
        " --labels {params.labels} --output-dir results/{wildcards.run}/seed-{wildcards.seed}/errors/dev"
        " 2>&1 | tee {log} >&2"


rule write_submission:
    """the benchmark's submission file of a run"""
    input:
        predictions="results/{run}/seed-{seed}/predictions/test.jsonl",
        code=code_of("write_submission"),
    output:
        submission="results/{run}/seed-{seed}/cluener_predict.json",
    log:
        "logs/write_submission/{run}/{seed}.log",
    params:
        labels=lambda w: labels_of(run_of(w).dataset),
    shell:
        "python scripts/write_submission.py --predictions {input.predictions} --labels {params.labels}"
        " --output {output.submission} 2>&1 | tee {log} >&2"
