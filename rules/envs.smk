"""Environments: envs/{env}.txt (hash-locked requirements) -> .envs/{env}, built when first needed.

Environments of engines have a second lock file for drivers that are too old for CUDA 13. `cuda` in conf/config.yaml, or
the driver of this machine, decides which of the two is used.

Snakemake's own environments need conda or apptainer; uv needs only a package index. Clones may share .envs/. The marker
has the checksum of the lock file; an environment whose marker has another checksum is rebuilt (see
entitune.snakemake_internals). Steps depend on the lock file. The marker only has to exist (`ancient`), so building an
environment again from the same lock file reruns nothing.
"""

from entitune.engines.gpu import cuda_generation


def lock_of(wildcards):
    """Return the lock file that an environment is built from on this machine."""
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
        # If two workflows need the environment, one of them waits and then does not build it again. The folder is
        # emptied first, because an environment without a marker is not finished. One without its Python is rebuilt.
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
