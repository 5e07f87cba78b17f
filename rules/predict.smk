"""Prediction: prompts as token ids -> raw answers, in shards -> predictions with grounded entities."""


localrules:
    read_answers,
    vote_predictions,


# The runs and seeds whose adapters one engine answers for (`adapter: shared`), by the name of that pass. A pass is a part of
# a row of the sheet: a larger one would lose more when it fails, and make a command too long for a shell.
PASS_SIZE = 50
PASSES: dict[str, list[tuple[Run, int]]] = {}
for RUN in STUDY.runs.values():
    if RUN.recipe and STUDY.decode[RUN.decode]["adapter"] == "shared":
        for SEED in RUN.seeds:
            PARTS = [name for name in PASSES if PASSES[name][0][0].row == RUN.row]
            if not PARTS or len(PASSES[PARTS[-1]]) == PASS_SIZE:
                PARTS.append(f"{RUN.row}-{len(PARTS) + 1}")
            PASSES.setdefault(PARTS[-1], []).append((RUN, SEED))
PASS_OF = {(run.name, seed): name for name, members in PASSES.items() for run, seed in members}
PASS_ROWS = "|".join(re.escape(row) for row in {members[0][0].row for members in PASSES.values()})


def pass_of(run: Run, seed) -> str | None:
    """The name of the pass that predicts for a run and seed, or None where a job of its own does."""
    return PASS_OF.get((run.name, int(seed)))


def inputs_of(run: Run, seeds: list[tuple[Run, int]], split: str) -> dict:
    """What answers for runs and seeds that share base model and decode settings: the base model, base and adapters, or both merged."""
    adapter = STUDY.decode[run.decode]["adapter"] if run.recipe else None
    env = predict_env_of(run)
    files = {
        "env": environment(env),
        "tokens": [encoded_of(one, split) for one, _ in seeds],
        "parity": [encoded_of(one, split, f"{env}.parity.json") for one, _ in seeds],
        "model": manifest_of(run),
    }
    folders = [f"results/{one.name}/seed-{seed}" for one, seed in seeds]
    if adapter == "merged":
        files["model"] = f"{folders[0]}/merged/manifest.json"
    elif adapter:
        files["adapters"] = [f"{folder}/adapter/adapter_model.safetensors" for folder in folders]
    return files


def settings_of(run: Run) -> dict[str, str]:
    """Parts of the command: the settings that an answer depends on (what a job asks of a scheduler is left out), the
    labels that an answer is held to where the settings ask for it, and the python that runs the engine."""
    decode = STUDY.decode[run.decode]
    settings = {key: decode[key] for key in ("max_tokens", "max_model_len", "max_num_seqs", "dtype", "gpus")}
    labels = f"--labels {shlex.join(STUDY.datasets[run.dataset]['labels'])}" if decode["structured"] else ""
    return {
        "decode": f"--decode {shlex.quote(json.dumps(settings))} {labels}",
        "python": f".envs/{predict_env_of(run)}/bin/python",
    }


def adapters_of(input) -> str:
    """The option that names the adapters' folders, or nothing."""
    folders = [os.path.dirname(path) for path in input.get("adapters", [])]
    return f"--adapter {shlex.join(folders)}" if folders else ""


PREDICT = (
    "{params.python} scripts/predict_shard.py --tokens {input.tokens} --model $(dirname {input.model}) {params.adapters}"
    " {params.decode} {params.shard} --threads {threads} --log {log}"
    " --title 'stage 4 of 5, predict {params.title}, {wildcards.shard}' --record {output.record} --output {output.answers}"
)


rule predict_shard:
    """the model's raw answers to a part of a split"""
    input:
        unpack(lambda w: inputs_of(run_of(w), [(run_of(w), w.seed)], w.split)),
        code=code_of("predict_shard"),
    output:
        answers="results/{run}/seed-{seed}/answers/{split}/{shard}.jsonl",
        record="results/{run}/seed-{seed}/jobs/predict_shard.{split}.{shard}.json",
    log:
        "logs/predict_shard/{run}/{seed}/{split}/{shard}.log",
    wildcard_constraints:
        run=rf"(?!(?:{PASS_ROWS})[/+])[^/]+" if PASSES else "[^/]+",
    threads: lambda w: decode_of(w)["threads"]
    resources:
        gpu=lambda w: decode_of(w)["gpus"],
        gpu_model=lambda w: decode_of(w).get("gpu_model"),
        mem_mb=lambda w, attempt: growing(decode_of(w)["mem_mb"], attempt),
        runtime=lambda w, attempt: growing(decode_of(w)["runtime"], attempt),
    params:
        decode=lambda w: settings_of(run_of(w))["decode"],
        python=lambda w: settings_of(run_of(w))["python"],
        adapters=lambda w, input: adapters_of(input),
        shard=lambda w: "--shard {} --shards {}".format(*w.shard.split("-of-")),
        title=lambda w: f"{w.run} seed {w.seed}",
    shell:
        PREDICT


# A row whose adapters share an engine has rules of its own, one a pass: their outputs are the answers of all its members.
for PASS, MEMBERS in PASSES.items():
    LEADER = MEMBERS[0][0]
    DECODE = STUDY.decode[LEADER.decode]

    rule:
        """the raw answers of a pass: one engine and several adapters"""
        name:
            f"predict_shard_{PASS}"
        input:
            unpack(lambda w, leader=LEADER, members=MEMBERS: inputs_of(leader, members, w.split)),
            code=code_of("predict_shard"),
        output:
            answers=[f"results/{run.name}/seed-{seed}/answers/{{split}}/{{shard}}.jsonl" for run, seed in MEMBERS],
            record=f"results/passes/{PASS}/predict_shard.{{split}}.{{shard}}.json",
        log:
            f"logs/predict_shard/{PASS}/{{split}}/{{shard}}.log",
        threads: DECODE["threads"]
        resources:
            gpu=DECODE["gpus"],
            gpu_model=DECODE.get("gpu_model"),
            mem_mb=lambda w, attempt, base=DECODE["mem_mb"]: growing(base, attempt),
            runtime=lambda w, attempt, base=DECODE["runtime"]: growing(base, attempt),
        params:
            **settings_of(LEADER),
            adapters=lambda w, input: adapters_of(input),
            shard=lambda w: "--shard {} --shards {}".format(*w.shard.split("-of-")),
            title=PASS,
        shell:
            PREDICT


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
