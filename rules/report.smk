"""The report: one page to send to a colleague.

snakemake report --cores all
snakemake report --report report.html
"""


report: "../report/workflow.rst"


localrules:
    report,
    tabulate_runs,
    plot_scores,
    plot_differences,
    plot_labels,
    plot_curves,
    plot_stages,
    plot_audit,
    plot_confusion,
    show_errors,


TRAINED = [(name, seed) for name in STUDY.selected if STUDY.runs[name].recipe for seed in STUDY.runs[name].seeds]


rule report:
    """all figures of the report; then: snakemake report --report report.html"""
    input:
        "results/report/runs.html",
        "results/report/scores.svg",
        "results/report/differences.svg",
        "results/report/labels.svg",
        ["results/report/curves.svg"] if TRAINED else [],
        "results/report/stages.svg",
        expand("results/report/audit/{dataset}.svg", dataset=SELECTED_DATASETS),
        of_selected("results/report/confusion/{run}/seed-{seed}.svg"),
        of_selected("results/report/errors/{run}/seed-{seed}.html"),


rule tabulate_runs:
    """the report's run table"""
    input:
        manifests=of_selected("results/{run}/seed-{seed}/manifest.json"),
        metrics="results/metrics.tsv",
        code=code_of("tabulate_runs"),
    output:
        page=report(
            "results/report/runs.html", caption="../report/runs.rst", category="1 Runs", labels={"figure": "run table"}
        ),
    log:
        "logs/tabulate_runs.log",
    shell:
        "python scripts/tabulate_runs.py --manifests {input.manifests} --metrics {input.metrics}"
        " --output {output.page} 2>&1 | tee {log} >&2"


rule plot_scores:
    """micro F1 of the runs beside published values"""
    input:
        metrics="results/metrics.tsv",
        code=code_of("plot_scores"),
    output:
        figure=report(
            "results/report/scores.svg",
            caption="../report/scores.rst",
            category="2 Scores",
            labels={"figure": "micro F1"},
        ),
    log:
        "logs/plot_scores.log",
    shell:
        "python scripts/plot_scores.py --metrics {input.metrics} --output {output.figure} 2>&1 | tee {log} >&2"


rule plot_differences:
    """differences between runs"""
    input:
        comparison="results/comparison.tsv",
        code=code_of("plot_differences"),
    output:
        figure=report(
            "results/report/differences.svg",
            caption="../report/differences.rst",
            category="2 Scores",
            labels={"figure": "differences between runs"},
        ),
    log:
        "logs/plot_differences.log",
    shell:
        "python scripts/plot_differences.py --comparison {input.comparison} --output {output.figure}"
        " 2>&1 | tee {log} >&2"


rule plot_labels:
    """F1 by label and run"""
    input:
        seeds="results/seeds.tsv",
        code=code_of("plot_labels"),
    output:
        figure=report(
            "results/report/labels.svg",
            caption="../report/labels.rst",
            category="2 Scores",
            labels={"figure": "F1 by label"},
        ),
    log:
        "logs/plot_labels.log",
    shell:
        "python scripts/plot_labels.py --seeds {input.seeds} --output {output.figure} 2>&1 | tee {log} >&2"


rule plot_curves:
    """loss and learning rate"""
    input:
        logs=[f"results/{name}/seed-{seed}/adapter/trainer_log.jsonl" for name, seed in TRAINED],
        code=code_of("plot_curves"),
    output:
        figure=report(
            "results/report/curves.svg",
            caption="../report/curves.rst",
            category="3 Training",
            labels={"figure": "loss and learning rate"},
        ),
    log:
        "logs/plot_curves.log",
    params:
        logs=" ".join(
            f"--log {name} {seed} results/{name}/seed-{seed}/adapter/trainer_log.jsonl" for name, seed in TRAINED
        ),
    shell:
        "python scripts/plot_curves.py {params.logs} --output {output.figure} 2>&1 | tee {log} >&2"


rule plot_confusion:
    """labels that a run takes for others"""
    input:
        confusion="results/{run}/seed-{seed}/errors/dev/confusion.tsv",
        code=code_of("plot_confusion"),
    output:
        figure=report(
            "results/report/confusion/{run}/seed-{seed}.svg",
            caption="../report/confusion.rst",
            category="4 Errors",
            labels={"figure": "confusion of labels", "run": "{run}", "seed": "{seed}"},
        ),
    log:
        "logs/plot_confusion/{run}/{seed}.log",
    shell:
        "python scripts/plot_confusion.py --confusion {input.confusion}"
        " --title '{wildcards.run}, seed {wildcards.seed}' --output {output.figure} 2>&1 | tee {log} >&2"


rule show_errors:
    """a run's most instructive errors, highlighted"""
    input:
        examples="results/{run}/seed-{seed}/errors/dev/examples.jsonl",
        code=code_of("show_errors"),
    output:
        page=report(
            "results/report/errors/{run}/seed-{seed}.html",
            caption="../report/errors.rst",
            category="4 Errors",
            labels={"figure": "examples", "run": "{run}", "seed": "{seed}"},
        ),
    log:
        "logs/show_errors/{run}/{seed}.log",
    shell:
        "python scripts/show_errors.py --examples {input.examples}"
        " --title 'Errors: {wildcards.run}, seed {wildcards.seed}' --output {output.page} 2>&1 | tee {log} >&2"


rule plot_audit:
    """the audit of a dataset"""
    input:
        audit="results/audit/{dataset}.tsv",
        code=code_of("plot_audit"),
    output:
        figure=report(
            "results/report/audit/{dataset}.svg",
            caption="../report/audit.rst",
            category="5 Data",
            labels={"figure": "audit", "dataset": "{dataset}"},
        ),
    log:
        "logs/plot_audit/{dataset}.log",
    shell:
        "python scripts/plot_audit.py --audit {input.audit} --output {output.figure} 2>&1 | tee {log} >&2"


rule plot_stages:
    """time and memory by stage"""
    input:
        manifests=of_selected("results/{run}/seed-{seed}/manifest.json"),
        code=code_of("plot_stages"),
    output:
        figure=report(
            "results/report/stages.svg",
            caption="../report/stages.rst",
            category="6 Cost",
            labels={"figure": "time and memory"},
        ),
    log:
        "logs/plot_stages.log",
    shell:
        "python scripts/plot_stages.py --manifests {input.manifests} --output {output.figure} 2>&1 | tee {log} >&2"
