"""Training: a rendered LLaMA-Factory YAML -> LoRA adapter -> merged model (for predictions on a CPU)."""


localrules:
    render_config,


rule render_config:
    """LLaMA-Factory's YAML of a run"""
    input:
        train=lambda w: registered_of(run_of(w)),
        info=lambda w: registered_of(run_of(w)).replace("train.json", "dataset_info.json"),
        model=lambda w: manifest_of(run_of(w)),
        lock="envs/train.txt",
        code=code_of("render_config"),
    output:
        config="results/{run}/seed-{seed}/train.yaml",
    log:
        "logs/render_config/{run}/{seed}.log",
    params:
        # One JSON text: Snakemake keeps params as a set of values and would not see two that change places.
        arguments=lambda w: json.dumps(STUDY.train_arguments(run_of(w))),
        chat=lambda w: chat_settings(run_of(w).model),
        dataset=lambda w: f"{run_of(w).dataset}_train",
        processes=lambda w: max(1, recipe_of(w)["gpus"]),
        whole=lambda w: "--whole-accumulations" if recipe_of(w)["whole_accumulations"] else "",
    shell:
        "python scripts/render_config.py --arguments {params.arguments:q} --manifest {input.model} {params.chat}"
        " --processes {params.processes} {params.whole}"
        " --dataset {params.dataset} --train {input.train} --seed {wildcards.seed} --lock {input.lock}"
        " --checkpoints results/{wildcards.run}/seed-{wildcards.seed}/checkpoints --output {output.config}"
        " 2>&1 | tee {log} >&2"


rule check_training_rows:
    """whether the trainer itself sees the rows that were encoded, once for the seeds of a run"""
    input:
        config=lambda w: f"results/{w.run}/seed-{STUDY.run(w.run).seeds[0]}/train.yaml",
        train=lambda w: registered_of(STUDY.run(w.run)),
        tokens=lambda w: encoded_of(STUDY.run(w.run), "train"),
        model=lambda w: manifest_of(STUDY.run(w.run)),
        env=environment("train"),
        code=code_of("check_training_rows"),
    output:
        checked="results/{run}/training_rows.json",
    log:
        "logs/check_training_rows/{run}.log",
    resources:
        mem_mb=lambda w, attempt: growing(4000, attempt),
        runtime=lambda w, attempt: growing(30, attempt),
    shell:
        ".envs/train/bin/python scripts/check_training_rows.py --config {input.config} --tokens {input.tokens}"
        " --output {output.checked} > {log} 2>&1"


rule train_adapter:
    """a run's LoRA adapter"""
    input:
        config="results/{run}/seed-{seed}/train.yaml",
        rows="results/{run}/training_rows.json",
        parity=lambda w: encoded_of(run_of(w), "train", f"{predict_env_of(run_of(w))}.parity.json"),
        train=lambda w: registered_of(run_of(w)),
        model=lambda w: manifest_of(run_of(w)),
        env=environment("train"),
        code=code_of("train_adapter"),
    output:
        adapter="results/{run}/seed-{seed}/adapter/adapter_model.safetensors",
        config="results/{run}/seed-{seed}/adapter/adapter_config.json",
        log="results/{run}/seed-{seed}/adapter/trainer_log.jsonl",
        plot="results/{run}/seed-{seed}/adapter/training_loss.png",
    log:
        "logs/train_adapter/{run}/{seed}.log",
    benchmark:
        "results/{run}/seed-{seed}/benchmarks/train_adapter.tsv"
    threads: lambda w: recipe_of(w)["threads"]
    resources:
        gpu=lambda w: recipe_of(w)["gpus"],
        gpu_model=lambda w: recipe_of(w).get("gpu_model"),
        mem_mb=lambda w, attempt: growing(recipe_of(w)["mem_mb"], attempt),
        runtime=lambda w, attempt: growing(recipe_of(w)["runtime"], attempt),
    params:
        # Of the recipe: Snakemake lowers a resource silently to the limit of a profile.
        gpus=lambda w: recipe_of(w)["gpus"],
    shell:
        "python scripts/train_adapter.py --config {input.config} --llamafactory .envs/train/bin/llamafactory-cli"
        " --gpus {params.gpus} --threads {threads}"
        " --title 'stage 3 of 5, train {wildcards.run} seed {wildcards.seed}' --log {log} --output-dir $(dirname {output.adapter})"


rule merge_adapter:
    """base and adapter in one model, for predictions on a CPU"""
    input:
        adapter="results/{run}/seed-{seed}/adapter/adapter_model.safetensors",
        config="results/{run}/seed-{seed}/adapter/adapter_config.json",
        model=lambda w: manifest_of(run_of(w)),
        env=environment("train"),
        code=code_of("merge_adapter"),
    output:
        manifest="results/{run}/seed-{seed}/merged/manifest.json",
    log:
        "logs/merge_adapter/{run}/{seed}.log",
    benchmark:
        "results/{run}/seed-{seed}/benchmarks/merge_adapter.tsv"
    resources:
        mem_mb=lambda w, attempt: growing(recipe_of(w)["mem_mb"], attempt),
        runtime=lambda w, attempt: growing(30, attempt),
    shell:
        ".envs/train/bin/python scripts/merge_adapter.py --model $(dirname {input.model})"
        " --adapter $(dirname {input.adapter}) --output-dir $(dirname {output.manifest}) > {log} 2>&1"
