"""The report: one self-contained page with all figures.

snakemake report --cores all
snakemake report --report report.html
"""


report: "../report/workflow.rst"


TRAINED = [(run, seed) for run in STUDY.selected_runs if isinstance(run, TunedRun) for seed in run.seeds]
CONFIDENT = [run for run in STUDY.selected_runs if run.has_confidence]
CURVE = [run for run in STUDY.selected_runs if isinstance(run, TunedRun) and run.train_rows]
WITH_CANDIDATES = [(run, seed) for run, seed in TRAINED if run.selects]
FIGURES = [
    *(paths.figure(name) for name in ("runs.html", "scores.svg", "scores_by_label.html", "labels.svg")),
    *(paths.figure(name) for name in ("differences.svg", "error_categories.svg", "stages.svg")),
    *([paths.figure("confidence.svg")] if CONFIDENT else []),
    *([paths.figure("curves.svg")] if TRAINED else []),
    *([paths.figure("learning_curve.svg")] if CURVE else []),
    *([paths.figure("checkpoints.svg")] if WITH_CANDIDATES else []),
    *(paths.figure(f"audit/{dataset}.svg") for dataset in SELECTED_DATASETS),
    *of_selected(lambda files: paths.figure(f"confusion/{files.run}/seed-{files.seed}.svg")),
    *of_selected(lambda files: paths.figure(f"errors/{files.run}/seed-{files.seed}.html")),
]
if snakemake_internals.makes_report() and not all(map(os.path.exists, FIGURES)):
    raise WorkflowError("figures of the report are missing; make them first: snakemake report --cores all")


rule report:
    """all figures of the report; then: snakemake report --report report.html"""
    input:
        FIGURES,
    localrule: True


rule tabulate_runs:
    """the report's run table"""
    input:
        manifests=of_selected(lambda files: files.manifest),
        metrics=paths.METRICS,
    output:
        page=report(
            paths.figure("runs.html"), caption="../report/runs.rst", category="1 Runs", labels={"figure": "run table"}
        ),
    log:
        "logs/tabulate_runs.log",
    localrule: True
    params:
        code=code_digest("tabulate_runs"),
    shell:
        "python scripts/tabulate_runs.py --manifests {input.manifests} --metrics {input.metrics}"
        " --output {output.page} 2>&1 | tee {log} >&2"


rule plot_scores:
    """micro F1 of the runs next to published values"""
    input:
        metrics=paths.METRICS,
    output:
        figure=report(
            paths.figure("scores.svg"),
            caption="../report/scores.rst",
            category="2 Scores",
            labels={"figure": "1 micro F1"},
        ),
        pdf=paths.figure("scores.pdf"),
    log:
        "logs/plot_scores.log",
    localrule: True
    params:
        code=code_digest("plot_scores"),
    shell:
        "python scripts/plot_scores.py --metrics {input.metrics} --output {output.figure}"
        " --pdf {output.pdf} 2>&1 | tee {log} >&2"


rule plot_differences:
    """differences between runs"""
    input:
        comparison=paths.COMPARISON,
    output:
        figure=report(
            paths.figure("differences.svg"),
            caption="../report/differences.rst",
            category="2 Scores",
            labels={"figure": "4 differences between runs"},
        ),
        pdf=paths.figure("differences.pdf"),
    log:
        "logs/plot_differences.log",
    localrule: True
    params:
        code=code_digest("plot_differences"),
    shell:
        "python scripts/plot_differences.py --comparison {input.comparison} --output {output.figure} --pdf {output.pdf}"
        " 2>&1 | tee {log} >&2"


rule tabulate_labels:
    """precision, recall and F1 by label, as a page and as LaTeX tables"""
    input:
        metrics=paths.METRICS,
    output:
        page=report(
            paths.figure("scores_by_label.html"),
            caption="../report/scores_by_label.rst",
            category="2 Scores",
            labels={"figure": "2 scores by label"},
        ),
        latex=paths.figure("scores_by_label.tex"),
    log:
        "logs/tabulate_labels.log",
    localrule: True
    params:
        code=code_digest("tabulate_labels"),
    shell:
        "python scripts/tabulate_labels.py --metrics {input.metrics} --output {output.page}"
        " --latex {output.latex} 2>&1 | tee {log} >&2"


rule plot_labels:
    """F1 by label and run"""
    input:
        seeds=paths.SEEDS,
    output:
        figure=report(
            paths.figure("labels.svg"),
            caption="../report/labels.rst",
            category="2 Scores",
            labels={"figure": "3 F1 by label"},
        ),
        pdf=paths.figure("labels.pdf"),
    log:
        "logs/plot_labels.log",
    localrule: True
    params:
        code=code_digest("plot_labels"),
    shell:
        "python scripts/plot_labels.py --seeds {input.seeds} --output {output.figure}"
        " --pdf {output.pdf} 2>&1 | tee {log} >&2"


rule plot_confidence:
    """reliability of confidences"""
    input:
        predictions=[
            run.files(seed).predictions(split) for run in CONFIDENT for seed in run.seeds for split in STUDY.splits
        ],
    output:
        figure=report(
            paths.figure("confidence.svg"),
            caption="../report/confidence.rst",
            category="2 Scores",
            labels={"figure": "5 confidence"},
        ),
        pdf=paths.figure("confidence.pdf"),
    log:
        "logs/plot_confidence.log",
    localrule: True
    params:
        code=code_digest("plot_confidence"),
        predictions=" ".join(
            f"--predictions {run.name} {split} {run.files(seed).predictions(split)}"
            for run in CONFIDENT
            for seed in run.seeds
            for split in STUDY.splits
        ),
    shell:
        "python scripts/plot_confidence.py {params.predictions} --output {output.figure}"
        " --pdf {output.pdf} 2>&1 | tee {log} >&2"


rule plot_curves:
    """loss and learning rate"""
    input:
        logs=[run.files(seed).adapter("trainer_log.jsonl") for run, seed in TRAINED],
    output:
        figure=report(
            paths.figure("curves.svg"),
            caption="../report/curves.rst",
            category="3 Training",
            labels={"figure": "loss and learning rate"},
        ),
        pdf=paths.figure("curves.pdf"),
    log:
        "logs/plot_curves.log",
    localrule: True
    params:
        code=code_digest("plot_curves"),
        logs=lambda w, input: " ".join(
            f"--log {run.name} {seed} {log}" for (run, seed), log in zip(TRAINED, input.logs)
        ),
    shell:
        "python scripts/plot_curves.py {params.logs} --output {output.figure}"
        " --pdf {output.pdf} 2>&1 | tee {log} >&2"


rule plot_error_categories:
    """errors by category and run"""
    input:
        categories=of_selected(lambda files: files.errors(STUDY.splits[0], "categories.tsv")),
    output:
        figure=report(
            paths.figure("error_categories.svg"),
            caption="../report/error_categories.rst",
            category="4 Errors",
            labels={"figure": "categories", "run": "all", "seed": "mean"},
        ),
        pdf=paths.figure("error_categories.pdf"),
    log:
        "logs/plot_error_categories.log",
    localrule: True
    params:
        code=code_digest("plot_error_categories"),
        categories=lambda w, input: " ".join(
            f"--categories {name} {table}"
            for name, table in zip(of_selected(lambda files: files.run), input.categories)
        ),
        split=STUDY.splits[0],
    shell:
        "python scripts/plot_error_categories.py {params.categories} --title 'Errors on {params.split}'"
        " --output {output.figure} --pdf {output.pdf} 2>&1 | tee {log} >&2"


rule plot_confusion:
    """confusion of labels by a run"""
    input:
        confusion=RUN.errors(STUDY.splits[0], "confusion.tsv"),
    output:
        figure=report(
            paths.figure("confusion/{run}/seed-{seed}.svg"),
            caption="../report/confusion.rst",
            category="4 Errors",
            labels={"figure": "confusion of labels", "run": "{run}", "seed": "{seed}"},
        ),
        pdf=paths.figure("confusion/{run}/seed-{seed}.pdf"),
    log:
        "logs/plot_confusion/{run}/{seed}.log",
    localrule: True
    params:
        code=code_digest("plot_confusion"),
        split=STUDY.splits[0],
    shell:
        "python scripts/plot_confusion.py --confusion {input.confusion}"
        " --title '{wildcards.run}, seed {wildcards.seed}, {params.split}' --output {output.figure}"
        " --pdf {output.pdf} 2>&1 | tee {log} >&2"


rule show_errors:
    """a run's most instructive errors, highlighted"""
    input:
        examples=RUN.errors(STUDY.splits[0], "examples.jsonl"),
    output:
        page=report(
            paths.figure("errors/{run}/seed-{seed}.html"),
            caption="../report/errors.rst",
            category="4 Errors",
            labels={"figure": "examples", "run": "{run}", "seed": "{seed}"},
        ),
    log:
        "logs/show_errors/{run}/{seed}.log",
    localrule: True
    params:
        code=code_digest("show_errors"),
        split=STUDY.splits[0],
    shell:
        "python scripts/show_errors.py --examples {input.examples}"
        " --title 'Errors: {wildcards.run}, seed {wildcards.seed}, {params.split}' --output {output.page}"
        " 2>&1 | tee {log} >&2"


rule plot_audit:
    """the audit of a dataset"""
    input:
        audit=paths.audit("{dataset}"),
    output:
        figure=report(
            paths.figure("audit/{dataset}.svg"),
            caption="../report/audit.rst",
            category="5 Data",
            labels={"figure": "audit", "dataset": "{dataset}"},
        ),
        pdf=paths.figure("audit/{dataset}.pdf"),
    log:
        "logs/plot_audit/{dataset}.log",
    localrule: True
    params:
        code=code_digest("plot_audit"),
    shell:
        "python scripts/plot_audit.py --audit {input.audit} --output {output.figure}"
        " --pdf {output.pdf} 2>&1 | tee {log} >&2"


rule plot_stages:
    """time and memory by stage"""
    input:
        manifests=of_selected(lambda files: files.manifest),
    output:
        figure=report(
            paths.figure("stages.svg"),
            caption="../report/stages.rst",
            category="6 Cost",
            labels={"figure": "time and memory"},
        ),
        pdf=paths.figure("stages.pdf"),
    log:
        "logs/plot_stages.log",
    localrule: True
    params:
        code=code_digest("plot_stages"),
    shell:
        "python scripts/plot_stages.py --manifests {input.manifests} --output {output.figure}"
        " --pdf {output.pdf} 2>&1 | tee {log} >&2"


rule plot_learning_curve:
    """F1 against the number of training sentences"""
    input:
        metrics=paths.METRICS,
    output:
        figure=report(
            paths.figure("learning_curve.svg"),
            caption="../report/learning_curve.rst",
            category="3 Training",
            labels={"figure": "learning curve"},
        ),
        pdf=paths.figure("learning_curve.pdf"),
    log:
        "logs/plot_learning_curve.log",
    localrule: True
    params:
        code=code_digest("plot_learning_curve"),
        points=" ".join(f"--point {run.name} {run.curve} {run.train_rows}" for run in CURVE),
    shell:
        "python scripts/plot_learning_curve.py --metrics {input.metrics} {params.points} --output {output.figure}"
        " --pdf {output.pdf} 2>&1 | tee {log} >&2"


rule plot_checkpoints:
    """F1 of the checkpoints that adapters were chosen from"""
    input:
        scores=[run.files(seed).checkpoint_scores for run, seed in WITH_CANDIDATES],
    output:
        figure=report(
            paths.figure("checkpoints.svg"),
            caption="../report/checkpoints.rst",
            category="3 Training",
            labels={"figure": "choice of the checkpoint"},
        ),
        pdf=paths.figure("checkpoints.pdf"),
    log:
        "logs/plot_checkpoints.log",
    localrule: True
    params:
        code=code_digest("plot_checkpoints"),
        scores=lambda w, input: " ".join(
            f"--scores {run.name} {seed} {table}" for (run, seed), table in zip(WITH_CANDIDATES, input.scores)
        ),
    shell:
        "python scripts/plot_checkpoints.py {params.scores} --output {output.figure}"
        " --pdf {output.pdf} 2>&1 | tee {log} >&2"
