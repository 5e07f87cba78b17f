"""The embedded base model, made from nothing: `snakemake base_model --cores 2` (about 45 minutes). No default target.

The files are made under results/ and copied over data/models/ at the end. That copy is no declared output: the model in
the repository is an input of the pipeline, and a changed lexicon must not set off a pre-training inside a demo run.
"""

BASE_MODEL = "data/models/entitune-tiny"
BASE_WORK = "results/base/entitune-tiny"
TOKENIZER_FILES = ["tokenizer.json", "tokenizer_config.json"]
WEIGHT_FILES = ["config.json", "generation_config.json", "model.safetensors", "training.json", "loss.svg"]
GENERATOR = [f"scripts/base/{name}" for name in ("lexicon.py", "lexicon.txt", "rows.py", "sentences.py", "words.tsv")]


localrules:
    base_model,


rule train_tokenizer:
    input:
        GENERATOR,
        script="scripts/base/train_tokenizer.py",
        env=".envs/train/.built",
    output:
        expand("{folder}/{name}", folder=BASE_WORK, name=TOKENIZER_FILES),
    log:
        "logs/train_tokenizer.log",
    shell:
        ".envs/train/bin/python {input.script} {BASE_WORK} > {log} 2>&1"


rule pretrain:
    input:
        GENERATOR,
        rules.train_tokenizer.output,
        script="scripts/base/pretrain.py",
        env=".envs/train/.built",
    output:
        expand("{folder}/{name}", folder=BASE_WORK, name=WEIGHT_FILES),
    log:
        "logs/pretrain.log",
    benchmark:
        "results/base/benchmarks/pretrain.tsv"
    threads: 2
    resources:
        mem_mb=6000,
        runtime=120,
    shell:
        "OMP_NUM_THREADS=1 MALLOC_TRIM_THRESHOLD_=-1 MALLOC_MMAP_MAX_=0"
        " .envs/train/bin/python {input.script} {BASE_WORK} 2>&1 | tee {log} >&2"


rule base_model:
    input:
        rules.train_tokenizer.output,
        rules.pretrain.output,
    log:
        "logs/base_model.log",
    shell:
        "cp {input} {BASE_MODEL}/ 2> {log} && echo 'The model card in {BASE_MODEL}/README.md is written by hand.' >&2"
