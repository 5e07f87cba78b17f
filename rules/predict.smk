"""Prediction: prompts as token ids -> raw answers, in shards -> predictions with grounded entities."""


localrules:
    read_answers,
    vote_predictions,


def predict_inputs(wildcards) -> dict[str, str]:
    """What answers: the base model, the base with its adapter beside it, or both merged."""
    run, folder = run_of(wildcards), f"results/{wildcards.run}/seed-{wildcards.seed}"
    if run.recipe and STUDY.decode[run.decode]["adapter"] == "merged":
        files = {"model": f"{folder}/merged/manifest.json"}
    elif run.recipe:
        files = {"model": manifest_of(run), "adapter": f"{folder}/adapter/adapter_model.safetensors"}
    else:
        files = {"model": manifest_of(run)}
    env = predict_env_of(run)
    return files | {
        "env": environment(env),
        "tokens": encoded_of(run, wildcards.split),
        "parity": encoded_of(run, wildcards.split, f"{env}.parity.json"),
    }


def decode_settings(wildcards) -> str:
    """The settings that an answer depends on: what a job asks of a scheduler is left out."""
    settings = decode_of(wildcards)
    return json.dumps({key: settings[key] for key in ("max_tokens", "max_model_len", "max_num_seqs", "dtype", "gpus")})


def allowed_labels(wildcards) -> str:
    """The labels that an answer is held to, where the decode settings ask for it."""
    if not decode_of(wildcards)["structured"]:
        return ""
    return f"--labels {shlex.join(STUDY.datasets[run_of(wildcards).dataset]['labels'])}"


rule predict_shard:
    """the model's raw answers to a part of a split"""
    input:
        unpack(predict_inputs),
        code=code_of("predict_shard"),
    output:
        answers="results/{run}/seed-{seed}/answers/{split}/{shard}.jsonl",
    log:
        "logs/predict_shard/{run}/{seed}/{split}/{shard}.log",
    benchmark:
        "results/{run}/seed-{seed}/benchmarks/predict_shard.{split}.{shard}.tsv"
    threads: lambda w: decode_of(w)["threads"]
    resources:
        gpu=lambda w: decode_of(w)["gpus"],
        gpu_model=lambda w: decode_of(w).get("gpu_model"),
        mem_mb=lambda w, attempt: growing(decode_of(w)["mem_mb"], attempt),
        runtime=lambda w, attempt: growing(decode_of(w)["runtime"], attempt),
    params:
        decode=decode_settings,
        labels=allowed_labels,
        python=lambda w: f".envs/{predict_env_of(run_of(w))}/bin/python",
        adapter=lambda w, input: option("--adapter", os.path.dirname(input.get("adapter", ""))),
        shard=lambda w: "--shard {} --shards {}".format(*w.shard.split("-of-")),
    shell:
        "{params.python} scripts/predict_shard.py --tokens {input.tokens} --model $(dirname {input.model})"
        " {params.adapter} --decode {params.decode:q} {params.labels} {params.shard} --threads {threads} --log {log}"
        " --title 'stage 4 of 5, predict {wildcards.run} seed {wildcards.seed}, {wildcards.shard}' --output {output.answers}"


def shards_of(wildcards) -> list[str]:
    shards = decode_of(wildcards)["shards"]
    return [f"results/{{run}}/seed-{{seed}}/answers/{{split}}/{i}-of-{shards}.jsonl" for i in range(1, shards + 1)]


VOTES = "|".join(re.escape(run.name) for run in STUDY.runs.values() if run.vote_of)


rule read_answers:
    """predictions: the answers read, their entities found in the sentence"""
    input:
        sentences=lambda w: f"results/datasets/{run_of(w).dataset}/{w.split}.jsonl",
        answers=shards_of,
        code=code_of("read_answers"),
    output:
        predictions="results/{run}/seed-{seed}/predictions/{split}.jsonl",
    log:
        "logs/read_answers/{run}/{seed}/{split}.log",
    wildcard_constraints:
        run=f"(?!(?:{VOTES})/)[^/]+" if VOTES else "[^/]+",
    shell:
        "python scripts/read_answers.py --sentences {input.sentences} --answers {input.answers}"
        " --output {output.predictions} 2>&1 | tee {log} >&2"


rule vote_predictions:
    """predictions that most seeds of a run agree on"""
    input:
        predictions=lambda w: [
            f"results/{run_of(w).vote_of}/seed-{seed}/predictions/{w.split}.jsonl"
            for seed in STUDY.runs[run_of(w).vote_of].seeds
        ],
        code=code_of("vote_predictions"),
    output:
        predictions="results/{run}/seed-{seed}/predictions/{split}.jsonl",
    log:
        "logs/vote_predictions/{run}/{seed}/{split}.log",
    wildcard_constraints:
        run=VOTES or "(?!)",
    shell:
        "python scripts/vote_predictions.py --predictions {input.predictions} --output {output.predictions}"
        " 2>&1 | tee {log} >&2"
