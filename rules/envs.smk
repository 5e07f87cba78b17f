"""Environments: envs/{env}.txt (hash-locked requirements) -> .envs/{env}, built on first need.

Snakemake's own environments need conda or apptainer; uv needs a package index alone.
"""


# The marker is what the lock was when the environment was built. It is kept until it is replaced (`update`), so that
# an environment that a lock file describes already is left alone: clones may share .envs/, and a fresh clone or another
# branch dates lock files anew. Of two workflows that want to build it, one waits for the other.
rule build_env:
    """an environment of an engine, from its lock file"""
    input:
        lock=paths.lock("{env}"),
    output:
        built=update(paths.environment("{env}")),
    log:
        "logs/build_env/{env}.log",
    localrule: True
    shell:
        """
        exec 9>.envs/.{wildcards.env}.lock
        flock 9
        if [ "$(sha256sum {input.lock})" = "$(cat {output.built} 2>{log})" ]; then exit 0; fi
        echo "Building .envs/{wildcards.env} from {input.lock}, once: up to 3 GB of download, 1 to 10 minutes" >&2
        uv venv --quiet --clear --python $(command -v python) .envs/{wildcards.env} >{log} 2>&1
        VIRTUAL_ENV=.envs/{wildcards.env} uv pip sync --require-hashes --compile-bytecode {input.lock} >>{log} 2>&1
        sha256sum {input.lock} >{output.built}
        """
