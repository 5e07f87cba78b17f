"""Serve: a finished run behind vLLM's server, with requests as from users -> its answers and speed."""


def served_files(wildcards) -> dict[str, str]:
    """Return the files that serve_runs.py loads, and the manifest that it checks them against."""
    run, files = run_of(wildcards), run_of(wildcards).files(wildcards.seed)
    if not isinstance(run, BaseRun):
        raise WorkflowError(f"run {run.name!r} is of kind {run.kind}: it has no model to serve")
    served = {
        "manifest": files.manifest,
        "env": ancient(paths.environment(run.decode.environment)),
        "lock": paths.locks(run.decode.environment),
        "model": run.engine_model(wildcards.seed),
    }
    adapter = run.engine_adapter(wildcards.seed)
    return {**served, "adapter": adapter} if adapter else served


rule check_serving:
    """a check of a finished run's server: requests as from users, and a burst"""
    input:
        unpack(served_files),
        sentences=lambda w: run_of(w).data.asked("dev"),
    output:
        check=RUN.serving_check,
    log:
        check="logs/check_serving/{run}/{seed}.log",
        server="logs/check_serving/{run}/{seed}.server.log",
    threads: lambda w: run_of(w).decode.threads
    resources:
        gpu=lambda w: run_of(w).decode.gpus,
        gpu_model=lambda w: run_of(w).decode.gpu_model,
        mem_mb=lambda w, attempt: growing(run_of(w).decode.mem_mb, attempt),
        runtime=lambda w, attempt: growing(run_of(w).decode.runtime, attempt),
    params:
        code=code_digest("check_serving") + code_digest("serve_runs"),
        python=lambda w: paths.python(run_of(w).decode.environment),
    shell:
        "{params.python} scripts/check_serving.py --run {wildcards.run:q} --seed {wildcards.seed}"
        " --sentences {input.sentences} --server-log {log.server} --output {output.check} > {log.check} 2>&1"
