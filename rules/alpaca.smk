"""Instruction data: canonical sentences and a prompt -> alpaca JSON."""


localrules:
    build_alpaca,


def prompt_files(wildcards) -> dict[str, str]:
    """The prompt's text files, and the training split where the prompt shows examples of it."""
    prompt = entry_of("prompts", wildcards.prompt)
    files = {turn: f"conf/{prompt[turn]}" for turn in ("user", "system") if turn in prompt}
    if prompt["shots"]:
        files["examples"] = f"results/datasets/{wildcards.dataset}/train.jsonl"
    return files


def prompt_options(wildcards) -> str:
    prompt = entry_of("prompts", wildcards.prompt)
    options = [option(f"--{name}", file) for name, file in prompt_files(wildcards).items()]
    if prompt["shots"]:
        options.append(f"--shots {prompt['shots']} --shots-seed {prompt['shots_seed']}")
    return " ".join(options)


rule build_alpaca:
    """instruction data of a split under a prompt"""
    input:
        unpack(prompt_files),
        sentences="results/datasets/{dataset}/{split}.jsonl",
        code=code_of("build_alpaca"),
    output:
        alpaca="results/datasets/{dataset}/{prompt}/{split}.json",
    log:
        "logs/build_alpaca/{dataset}/{prompt}/{split}.log",
    params:
        labels=lambda w: ",".join(dataset_of(w)["labels"]),
        options=prompt_options,
    shell:
        "python scripts/build_alpaca.py --sentences {input.sentences} --labels {params.labels:q} {params.options}"
        " --output {output.alpaca} 2>&1 | tee {log} >&2"
