"""Print the versions of the engines in each environment that is built, of CUDA and of the GPU's driver."""

from __future__ import annotations

import argparse
from pathlib import Path

from entitune.cli import run
from entitune.job_records import gpus
from entitune.provenance import cuda_of_torch, engine_versions


def main() -> None:
    argparse.ArgumentParser(description=__doc__).parse_args()
    for marker in sorted(Path(".envs").glob("*/.built")):
        environment = marker.parent
        versions = engine_versions(environment)
        if cuda := cuda_of_torch(environment):
            versions["cuda"] = cuda
        print(f"{environment.name}: " + ", ".join(f"{name} {version}" for name, version in versions.items()))
    print("GPU:", "\n".join(gpus()) or "none")


if __name__ == "__main__":
    run(main)
