"""Environments: envs/{env}.txt (hash-locked requirements) -> .envs/{env}, built on first need.

An environment with engines has a second lock for drivers that are too old for CUDA 13. `cuda` in conf/config.yaml, or
the driver of this machine, decides from which of the two it is built.

Snakemake's own environments need conda or apptainer; uv needs a package index alone. Clones may share .envs/. The
marker holds the checksum of the lock; an environment whose marker says another one is rebuilt (see
entitune.snakemake_internals). Steps depend on the lock file; the marker only has to be there (`ancient`), so that an
environment that is built again from the same lock reruns nothing.
"""

from entitune.engines.gpu import cuda_generation


def lock_of(wildcards):
    """The lock file from which an environment is built on this machine."""
    return ancient(paths.lock(wildcards.env, cuda_generation(STUDY.cuda)))


rule build_env:
    """an environment of an engine, from its lock file"""
    input:
        lock=lock_of,
    output:
        built=paths.environment("{env}"),
    log:
        "logs/build_env/{env}.log",
    localrule: True
    shell:
        # Of two workflows that want to build it, one waits; what it then finds built is not built again. The folder is
        # emptied first: an environment without a marker is not finished. One whose Python is gone is no environment.
        """
        exec 9>.envs/.{wildcards.env}.lock
        flock 9
        checksum=$(sha256sum <{input.lock} | cut -d ' ' -f 1)
        if [ "$checksum" != "$(cat .envs/{wildcards.env}/lock.sha256 2>/dev/null)" ] \
            || ! .envs/{wildcards.env}/bin/python -c "" 2>/dev/null; then
            echo "Building .envs/{wildcards.env} from {input.lock}, once: up to 3 GB of download, 1 to 10 minutes" >&2
            uv venv --quiet --clear --python $(command -v python) .envs/{wildcards.env} >{log} 2>&1
            VIRTUAL_ENV=.envs/{wildcards.env} uv pip sync --require-hashes --compile-bytecode {input.lock} >>{log} 2>&1
            echo "$checksum" >.envs/{wildcards.env}/lock.sha256
        fi
        echo "$checksum  {input.lock}" >{output.built}
        """
