"""Serving: a finished run behind vLLM's server, asked as its users will -> what it answered and how fast."""


def served_files(wildcards) -> dict[str, str]:
    """What serve_runs.py loads; the manifest stands for all that it was made from."""
    run, folder = run_of(wildcards), f"results/{wildcards.run}/seed-{wildcards.seed}"
    if run.vote_of:
        raise WorkflowError(f"run {run.name!r} is a vote: it has no model to serve; {run.vote_of!r} has")
    files = {"manifest": f"{folder}/manifest.json", "env": environment(predict_env_of(run))}
    if run.recipe and STUDY.decode[run.decode]["adapter"] == "merged":
        files["model"] = f"{folder}/merged/manifest.json"
    elif run.recipe:
        files["model"] = f"{folder}/adapter/adapter_model.safetensors"
    return files


rule check_serving:
    """a finished run served, asked as its users will, and measured under a burst"""
    input:
        unpack(served_files),
        sentences=lambda w: f"results/datasets/{run_of(w).dataset}/dev.jsonl",
        code=sorted({*code_of("check_serving"), *code_of("serve_runs")}),
    output:
        check="results/{run}/seed-{seed}/serving_check.json",
    log:
        check="logs/check_serving/{run}/{seed}.log",
        server="logs/check_serving/{run}/{seed}.server.log",
    threads: lambda w: decode_of(w)["threads"]
    resources:
        gpu=lambda w: decode_of(w)["gpus"],
        gpu_model=lambda w: decode_of(w).get("gpu_model"),
        mem_mb=lambda w, attempt: growing(decode_of(w)["mem_mb"], attempt),
        runtime=lambda w, attempt: growing(decode_of(w)["runtime"], attempt),
    params:
        python=lambda w: f".envs/{predict_env_of(run_of(w))}/bin/python",
    shell:
        "{params.python} scripts/check_serving.py --run {wildcards.run:q} --seed {wildcards.seed}"
        " --sentences {input.sentences} --server-log {log.server} --output {output.check} > {log.check} 2>&1"
