"""Data: the publisher's files -> canonical JSON lines, every row checked."""


localrules:
    fetch_dataset,
    convert_dataset,


LOCAL_DATASETS = [name for name, dataset in STUDY.datasets.items() if "archive" not in dataset]


def source_file(wildcards) -> str:
    """The local file of a split. A split that the dataset does not have gets an answer that helps."""
    splits = dataset_of(wildcards)["splits"]
    if wildcards.split not in splits:
        raise WorkflowError(
            f"dataset {wildcards.dataset!r} has no split {wildcards.split!r}; it has: {', '.join(splits)}"
        )
    return splits[wildcards.split]


rule fetch_dataset:
    """a split as its publisher wrote it"""
    input:
        raw=source_file,
        code=code_of("fetch_dataset"),
    output:
        raw="results/datasets/{dataset}/raw/{split}",
    log:
        "logs/fetch_dataset/{dataset}/{split}.log",
    wildcard_constraints:
        dataset="|".join(map(re.escape, LOCAL_DATASETS)),
    params:
        entry=lambda w: json.dumps({"splits": {w.split: source_file(w)}}),
    shell:
        "python scripts/fetch_dataset.py --entry {params.entry:q} --output-dir $(dirname {output.raw})"
        " 2>&1 | tee {log} >&2"


# What fetch_dataset.py is told of each archive. An archive at hand has the checksum of the one that would be downloaded,
# so it is no reason to fetch again: the rule's params leave it out, and the shell command reads it from here.
ARCHIVES = {
    name: json.dumps(
        {"archive": STUDY.datasets[name]["archive"], "splits": STUDY.datasets[name]["splits"]}
        | ({"local_archive": STUDY.local_archive[name]} if name in STUDY.local_archive else {})
    )
    for name in STUDY.datasets
    if name not in LOCAL_DATASETS
}

# One rule an archive: it is fetched once and gives all its splits, whose names the rule must know.
for DATASET in ARCHIVES:

    rule:
        """all splits of an archive as their publisher wrote them"""
        name:
            f"fetch_dataset_{DATASET}"
        input:
            code=code_of("fetch_dataset"),
        output:
            raw=expand(
                "results/datasets/{dataset}/raw/{split}", dataset=DATASET, split=STUDY.datasets[DATASET]["splits"]
            ),
        log:
            f"logs/fetch_dataset/{DATASET}.log",
        localrule: True
        params:
            archive=STUDY.datasets[DATASET]["archive"],
            splits=STUDY.datasets[DATASET]["splits"],
        shell:
            "python scripts/fetch_dataset.py --entry {ARCHIVES[%s]:q} --output-dir results/datasets/%s/raw"
            " 2>&1 | tee {log} >&2" % (DATASET, DATASET)


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
