"""Data: the publisher's files -> canonical JSON lines, every row checked."""


localrules:
    fetch_dataset,
    convert_dataset,


def source_files(wildcards) -> list[str]:
    """The local files of a dataset that is not downloaded."""
    dataset = dataset_of(wildcards)
    if wildcards.split not in dataset["splits"]:
        raise WorkflowError(f"conf/datasets.yaml: {wildcards.dataset} has no split {wildcards.split!r}")
    return [] if "archive" in dataset else [dataset["splits"][wildcards.split]]


def fetch_entry(wildcards) -> str:
    """What the fetched file depends on. A local archive does not count: its checksum is the archive's own."""
    dataset = dataset_of(wildcards)
    return json.dumps({key: dataset[key] for key in ("archive", "splits") if key in dataset})


LOCAL_ARCHIVE = STUDY.local_archive


rule fetch_dataset:
    input:
        source_files,
        code=code_of("fetch_dataset"),
    output:
        raw="results/datasets/{dataset}/raw/{split}",
    params:
        entry=fetch_entry,
    log:
        "logs/fetch_dataset/{dataset}/{split}.log",
    shell:
        "{PYTHON} scripts/fetch_dataset.py --help"


rule convert_dataset:
    input:
        raw="results/datasets/{dataset}/raw/{split}",
        code=code_of("convert_dataset"),
    output:
        sentences="results/datasets/{dataset}/{split}.jsonl",
        dropped="results/datasets/{dataset}/{split}.dropped.jsonl",
    params:
        format=lambda w: dataset_of(w)["format"],
        labels=lambda w: ",".join(dataset_of(w)["labels"]),
        on_invalid=lambda w: dataset_of(w)["on_invalid"],
    log:
        "logs/convert_dataset/{dataset}/{split}.log",
    benchmark:
        "results/datasets/{dataset}/benchmarks/convert_dataset.{split}.tsv"
    shell:
        "{PYTHON} scripts/convert_dataset.py --raw {input.raw} --format {params.format} --labels {params.labels:q}"
        " --split {wildcards.split} --on-invalid {params.on_invalid} --output {output.sentences}"
        " --dropped {output.dropped} 2>&1 | tee {log} >&2"
