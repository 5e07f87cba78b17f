"""Corpus: the publisher's archive or local files -> raw splits -> checked canonical JSON lines."""


def split_of(wildcards) -> list[str]:
    """Return the local files or folder of a split, or its member of the archive."""
    splits = dataset_of(wildcards).splits.files()
    if wildcards.split not in splits:
        raise WorkflowError(
            f"dataset {wildcards.dataset!r} has no split {wildcards.split!r}; it has: {', '.join(splits)}"
        )
    return list(splits[wildcards.split])


def archived(wildcards) -> bool:
    """Return whether a dataset's splits are in an archive."""
    return dataset_of(wildcards).archive is not None


rule fetch_archive:
    """a dataset's archive as its publisher packed it"""
    output:
        archive=paths.archive("{dataset}"),
    log:
        "logs/fetch_archive/{dataset}.log",
    localrule: True
    resources:
        # The path of a local copy is a resource, because a change of resources reruns nothing.
        local_archive=lambda w: STUDY.local_archive.get(w.dataset, ""),
    params:
        code=code_digest("fetch_archive"),
        urls=lambda w: list(dataset_of(w).archive.urls),
        sha256=lambda w: dataset_of(w).archive.sha256,
    shell:
        "python scripts/fetch_archive.py --urls {params.urls:q} --sha256 {params.sha256}"
        " --local-archive {resources.local_archive:q} --output {output.archive} 2>&1 | tee {log} >&2"


rule extract_split:
    """a split as its publisher wrote it"""
    input:
        files=lambda w: paths.archive(w.dataset) if archived(w) else files_below(split_of(w)),
    output:
        raw=paths.raw("{dataset}", "{split}"),
    log:
        "logs/extract_split/{dataset}/{split}.log",
    localrule: True
    params:
        code=code_digest("extract_split"),
        source=lambda w: paths.archive(w.dataset) if archived(w) else split_of(w),
        member=lambda w: shlex.quote(f"--member={split_of(w)[0]}") if archived(w) else "",
        pack=lambda w: "--pack" if dataset_of(w).may_be_folder and not archived(w) else "",
    shell:
        "python scripts/extract_split.py --source {params.source:q} {params.member} {params.pack}"
        " --output {output.raw} 2>&1 | tee {log} >&2"


rule convert_dataset:
    """a split as checked canonical JSON lines"""
    input:
        raw=paths.raw("{dataset}", "{split}"),
    output:
        sentences=paths.sentences("{dataset}", "{split}"),
        dropped=paths.dropped("{dataset}", "{split}"),
        summary=paths.conversion("{dataset}", "{split}"),
    log:
        "logs/convert_dataset/{dataset}/{split}.log",
    benchmark:
        paths.conversion_benchmark("{dataset}", "{split}")
    localrule: True
    params:
        code=code_digest("convert_dataset"),
        format=lambda w: dataset_of(w).format,
        labels=lambda w: labels_of(dataset_of(w)),
        options=lambda w: dataset_of(w).options.model_dump_json(exclude_unset=True),
        on_invalid=lambda w: dataset_of(w).on_invalid,
        source=split_of,
        require_labels=lambda w: "--require-labels" if w.split in ("train", *STUDY.splits) else "",
    shell:
        "python scripts/convert_dataset.py --raw {input.raw} --source {params.source:q} --format {params.format}"
        " --options {params.options:q} --labels {params.labels:q} --split {wildcards.split} {params.require_labels}"
        " --on-invalid {params.on_invalid} --output {output.sentences} --dropped {output.dropped}"
        " --summary {output.summary} 2>&1 | tee {log} >&2"


rule select_rows:
    """a number of sentences of a training split, without sentences of the splits that runs are scored on"""
    input:
        sentences=paths.sentences("{dataset}", "train"),
        judged=judged_splits,
    output:
        selected=paths.selected_rows("{dataset}", "{rows}", "{seed}"),
    log:
        "logs/select_rows/{dataset}/{rows}.{seed}.log",
    localrule: True
    params:
        code=code_digest("select_rows"),
    shell:
        "python scripts/select_rows.py --sentences {input.sentences} --exclude {input.judged} --rows {wildcards.rows}"
        " --seed {wildcards.seed} --output {output.selected} 2>&1 | tee {log} >&2"
