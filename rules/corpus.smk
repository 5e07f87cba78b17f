"""Data: the publisher's files -> canonical JSON lines, every row checked."""


localrules:
    fetch_archive,
    extract_split,
    convert_dataset,


def archive_of(wildcards) -> dict:
    """The archive of a dataset. A dataset without one gets an answer that helps."""
    dataset = dataset_of(wildcards)
    if "archive" not in dataset:
        raise WorkflowError(f"conf/datasets.yaml: {wildcards.dataset} has no archive; its splits are local files")
    return dataset["archive"]


def source_of(wildcards) -> str:
    """Where a split is: its name in the archive, or the local file. An unknown split gets an answer that helps."""
    splits = dataset_of(wildcards)["splits"]
    if wildcards.split not in splits:
        raise WorkflowError(
            f"dataset {wildcards.dataset!r} has no split {wildcards.split!r}; it has: {', '.join(splits)}"
        )
    return splits[wildcards.split]


def has_archive(wildcards) -> bool:
    return "archive" in dataset_of(wildcards)


rule fetch_archive:
    """a dataset's archive as its publisher packed it"""
    input:
        code=code_of("fetch_archive"),
    output:
        archive="results/datasets/{dataset}/raw/archive",
    log:
        "logs/fetch_archive/{dataset}.log",
    resources:
        # No param: a local copy has the checksum of the archive that would be downloaded, so naming one is no reason
        # to fetch again.
        local_archive=lambda w: STUDY.local_archive.get(w.dataset, ""),
    params:
        urls=lambda w: archive_of(w)["urls"],
        sha256=lambda w: archive_of(w)["sha256"],
    shell:
        "python scripts/fetch_archive.py --urls {params.urls:q} --sha256 {params.sha256}"
        " --local-archive={resources.local_archive:q} --output {output.archive} 2>&1 | tee {log} >&2"


rule extract_split:
    """a split as its publisher wrote it"""
    input:
        source=lambda w: "results/datasets/{dataset}/raw/archive" if has_archive(w) else source_of(w),
        code=code_of("extract_split"),
    output:
        raw="results/datasets/{dataset}/raw/{split}",
    log:
        "logs/extract_split/{dataset}/{split}.log",
    params:
        member=lambda w: f"--member={shlex.quote(source_of(w))}" if has_archive(w) else "",
        option=lambda w: "--archive" if has_archive(w) else "--file",
    shell:
        "python scripts/extract_split.py {params.option} {input.source:q} {params.member} --output {output.raw}"
        " 2>&1 | tee {log} >&2"


rule convert_dataset:
    """a split as canonical JSON lines, every row checked"""
    input:
        raw="results/datasets/{dataset}/raw/{split}",
        code=code_of("convert_dataset"),
    output:
        sentences="results/datasets/{dataset}/{split}.jsonl",
        dropped="results/datasets/{dataset}/{split}.dropped.jsonl",
    log:
        "logs/convert_dataset/{dataset}/{split}.log",
    benchmark:
        "results/datasets/{dataset}/benchmarks/convert_dataset.{split}.tsv"
    params:
        format=lambda w: dataset_of(w)["format"],
        labels=lambda w: ",".join(dataset_of(w)["labels"]),
        on_invalid=lambda w: dataset_of(w)["on_invalid"],
    shell:
        "python scripts/convert_dataset.py --raw {input.raw} --format {params.format} --labels {params.labels:q}"
        " --split {wildcards.split} --on-invalid {params.on_invalid} --output {output.sentences}"
        " --dropped {output.dropped} 2>&1 | tee {log} >&2"
