"""Environments: envs/{env}.txt (hash-locked requirements) -> .envs/{env}, built on first need.

Snakemake's own environments need conda or apptainer; uv needs a package index alone.
"""


localrules:
    build_env,


rule build_env:
    input:
        lock="envs/{env}.txt",
    output:
        built=".envs/{env}/.built",
    log:
        "logs/build_env/{env}.log",
    shell:
        """
        echo "Building .envs/{wildcards.env} from {input.lock}, once: up to 3 GB of download, 1 to 10 minutes" >&2
        uv venv --quiet --clear --python $(command -v python) .envs/{wildcards.env} >{log} 2>&1
        VIRTUAL_ENV=.envs/{wildcards.env} uv pip sync --require-hashes --compile-bytecode {input.lock} >>{log} 2>&1
        sha256sum {input.lock} >{output.built}
        """
