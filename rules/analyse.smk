"""Analyse: audits of the data, error analysis of runs, the benchmark's submission file."""


rule analysis:
    """the table, comparisons, error tables and data audits of the selected runs"""
    input:
        paths.METRICS,
        paths.COMPARISON,
        [paths.audit(dataset) for dataset in SELECTED_DATASETS],
        of_selected_splits(lambda files, split: files.errors(split, "categories.tsv")),
    localrule: True


def encodings_of(dataset: str) -> list[tuple[str, str, str]]:
    """Return name, cutoff_len and file of each encoding of the training split that a selected run is trained on."""
    trained = [run for run in STUDY.selected_runs if isinstance(run, TunedRun) and run.dataset.name == dataset]
    encodings = [
        (f"{run.prompt.name}/{run.model.name}", str(run.cutoff), run.training_data.tokens("train")) for run in trained
    ]
    return list(dict.fromkeys(encodings))


rule audit_dataset:
    """lengths, duplicates, leakage between splits and doubtful annotations of a dataset"""
    input:
        splits=lambda w: [paths.sentences(w.dataset, split) for split in dataset_of(w).splits.files()],
        tokens=lambda w: [file for _, _, file in encodings_of(w.dataset)],
    output:
        audit=paths.audit("{dataset}"),
    log:
        "logs/audit_dataset/{dataset}.log",
    localrule: True
    params:
        code=code_digest("audit_dataset"),
        labels=lambda w: labels_of(dataset_of(w)),
        splits=lambda w, input: " ".join(
            f"--split {split} {path}" for split, path in zip(dataset_of(w).splits.files(), input.splits)
        ),
        tokens=lambda w: " ".join(f"--tokens train {' '.join(encoding)}" for encoding in encodings_of(w.dataset)),
    shell:
        "python scripts/audit_dataset.py --dataset {wildcards.dataset} --labels {params.labels:q} {params.splits}"
        " {params.tokens} --output {output.audit} 2>&1 | tee {log} >&2"


rule analyse_errors:
    """a run's errors by category, confusion of labels, F1 by group, instructive examples"""
    input:
        predictions=RUN.predictions("{split}"),
        train=lambda w: paths.sentences(run_of(w).dataset.name, "train"),
    output:
        tables=[RUN.errors("{split}", table) for table in paths.ERROR_TABLES],
    log:
        "logs/analyse_errors/{run}/{seed}/{split}.log",
    localrule: True
    params:
        code=code_digest("analyse_errors"),
        labels=lambda w: labels_of(run_of(w).dataset),
    shell:
        "python scripts/analyse_errors.py --predictions {input.predictions} --train {input.train}"
        " --labels {params.labels:q} --output-dir $(dirname {output.tables[0]}) 2>&1 | tee {log} >&2"


rule write_submission:
    """the benchmark's submission file of a run"""
    input:
        predictions=RUN.predictions("test"),
    output:
        submission=RUN.submission,
    log:
        "logs/write_submission/{run}/{seed}.log",
    localrule: True
    params:
        code=code_digest("write_submission"),
        labels=lambda w: labels_of(run_of(w).dataset),
    shell:
        "python scripts/write_submission.py --predictions {input.predictions} --labels {params.labels:q}"
        " --output {output.submission} 2>&1 | tee {log} >&2"
