"""Token ids: alpaca rows as the trainer sees them, what fits, and whether serving would send the same."""


localrules:
    register_dataset,


rule encode_split:
    """a split's prompts as token ids, by LLaMA-Factory's template"""
    input:
        alpaca="results/datasets/{dataset}/{prompt}/{split}.json",
        model="results/models/{model}/manifest.json",
        env=environment("train"),
        code=code_of("encode_split"),
    output:
        tokens="results/datasets/{dataset}/{prompt}/{model}/{split}.tokens.jsonl",
    log:
        "logs/encode_split/{dataset}/{prompt}/{model}/{split}.log",
    resources:
        mem_mb=lambda w, attempt: growing(4000, attempt),
        runtime=lambda w, attempt: growing(30, attempt),
    params:
        chat=lambda w: chat_settings(w.model),
        # A sentence that is scored is never dropped.
        on_invalid=lambda w: dataset_of(w)["on_invalid"] if w.split == "train" else "fail",
    shell:
        ".envs/train/bin/python scripts/encode_split.py --alpaca {input.alpaca} --model results/models/{wildcards.model}"
        " {params.chat} --on-invalid {params.on_invalid} --output {output.tokens} > {log} 2>&1"


rule register_dataset:
    """the training rows that fit in cutoff_len, and dataset_info.json"""
    input:
        alpaca="results/datasets/{dataset}/{prompt}/train.json",
        tokens="results/datasets/{dataset}/{prompt}/{model}/train.tokens.jsonl",
        code=code_of("register_dataset"),
    output:
        train="results/datasets/{dataset}/{prompt}/{model}/cutoff-{cutoff}/train.json",
        info="results/datasets/{dataset}/{prompt}/{model}/cutoff-{cutoff}/dataset_info.json",
        too_long="results/datasets/{dataset}/{prompt}/{model}/cutoff-{cutoff}/too_long.jsonl",
    log:
        "logs/register_dataset/{dataset}/{prompt}/{model}/{cutoff}.log",
    params:
        on_invalid=lambda w: dataset_of(w)["on_invalid"],
    shell:
        "python scripts/register_dataset.py --alpaca {input.alpaca} --tokens {input.tokens}"
        " --cutoff-len {wildcards.cutoff} --on-invalid {params.on_invalid} --name {wildcards.dataset}_train"
        " --output-dir $(dirname {output.train}) 2>&1 | tee {log} >&2"


rule check_parity:
    """whether serving would send the prompts that training saw"""
    input:
        alpaca="results/datasets/{dataset}/{prompt}/{split}.json",
        tokens="results/datasets/{dataset}/{prompt}/{model}/{split}.tokens.jsonl",
        model="results/models/{model}/manifest.json",
        env=environment("{env}"),
        code=code_of("check_parity"),
    output:
        parity="results/datasets/{dataset}/{prompt}/{model}/{split}.{env}.parity.json",
    log:
        "logs/check_parity/{dataset}/{prompt}/{model}/{split}.{env}.log",
    resources:
        mem_mb=lambda w, attempt: growing(4000, attempt),
        runtime=lambda w, attempt: growing(30, attempt),
    params:
        chat=lambda w: chat_settings(w.model),
    shell:
        ".envs/{wildcards.env}/bin/python scripts/check_parity.py --alpaca {input.alpaca} --tokens {input.tokens}"
        " --model results/models/{wildcards.model} {params.chat} --output {output.parity} > {log} 2>&1"
