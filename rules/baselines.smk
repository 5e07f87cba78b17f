"""Baselines: a CRF, and the predictions of other systems -> predictions that are scored like those of a model."""

CRFS = [run.name for run in STUDY.runs.values() if isinstance(run, CrfRun)]
IMPORTS = [run.name for run in STUDY.runs.values() if isinstance(run, ImportedRun)]


rule train_crf:
    """the CRF baseline's model"""
    input:
        sentences=lambda w: paths.sentences(run_of(w).dataset.name, "train"),
        env=ancient(paths.environment("crf")),
        lock=paths.lock("crf"),
    output:
        model=RUN.crf,
        record=RUN.record("train_crf"),
    log:
        "logs/train_crf/{run}/{seed}.log",
    wildcard_constraints:
        run=one_of(CRFS),
    resources:
        mem_mb=lambda w, attempt: growing(4000, attempt),
        runtime=lambda w, attempt: growing(60, attempt),
    params:
        code=code_digest("train_crf"),
        python=paths.python("crf"),
    shell:
        "{params.python} scripts/train_crf.py --sentences {input.sentences} --record {output.record}"
        " --output {output.model} > {log} 2>&1"


rule predict_crf:
    """the predictions of the CRF baseline"""
    input:
        sentences=lambda w: paths.sentences(run_of(w).dataset.name, w.split),
        model=RUN.crf,
        env=ancient(paths.environment("crf")),
        lock=paths.lock("crf"),
    output:
        predictions=RUN.predictions("{split}"),
    log:
        "logs/predict_crf/{run}/{seed}/{split}.log",
    wildcard_constraints:
        run=one_of(CRFS),
    localrule: True
    params:
        code=code_digest("predict_crf"),
        python=paths.python("crf"),
    shell:
        "{params.python} scripts/predict_crf.py --sentences {input.sentences} --model {input.model}"
        " --output {output.predictions} > {log} 2>&1"


def imported_of(wildcards) -> list[str]:
    """Return the files or the folder of another system's predictions for a split."""
    imported = run_of(wildcards).imported
    if wildcards.split not in imported.files():
        raise WorkflowError(f"conf/imports.yaml: {imported.name} has no predictions for split {wildcards.split!r}")
    return list(imported.files()[wildcards.split])


rule import_predictions:
    """the predictions of another system, matched to the sentences of a split"""
    input:
        sentences=lambda w: paths.sentences(run_of(w).dataset.name, w.split),
        imported=lambda w: files_below(imported_of(w)),
    output:
        predictions=RUN.predictions("{split}"),
    log:
        "logs/import_predictions/{run}/{seed}/{split}.log",
    wildcard_constraints:
        run=one_of(IMPORTS),
    localrule: True
    params:
        code=code_digest("import_predictions"),
        source=lambda w: imported_of(w),
        format=lambda w: run_of(w).imported.format,
        options=lambda w: run_of(w).imported.options.model_dump_json(exclude_unset=True),
    shell:
        "python scripts/import_predictions.py --predictions {params.source:q} --format {params.format}"
        " --options {params.options:q} --sentences {input.sentences} --output {output.predictions}"
        " 2>&1 | tee {log} >&2"
