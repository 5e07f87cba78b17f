"""Print the versions of EntiTune, of the engines and CUDA in each built environment, and of the GPU driver."""

from __future__ import annotations

import argparse
from pathlib import Path

from entitune.cli import run
from entitune.job_records import gpus
from entitune.provenance import code_version, cuda_of_torch, engine_versions


def main() -> None:
    argparse.ArgumentParser(description=__doc__).parse_args()
    code = code_version()
    commit = f"commit {code.commit}{', modified' if code.modified else ''}" if code.commit else "no commit"
    print(f"entitune: {code.version} ({commit})")
    for marker in sorted(Path(".envs").glob("*/.built")):
        environment = marker.parent
        versions = engine_versions(environment)
        if cuda := cuda_of_torch(environment):
            versions["cuda"] = cuda
        print(f"{environment.name}: " + ", ".join(f"{name} {version}" for name, version in versions.items()))
    print("GPU:", "\n".join(gpus()) or "none")


if __name__ == "__main__":
    run(main)
