"""Print the versions of the engines in each environment that is built, of CUDA and of the GPU's driver."""

from __future__ import annotations

import argparse
import re
from pathlib import Path

from entitune.cli import run
from write_manifest import command, engine_versions


def cuda_of_torch(environment: Path) -> str | None:
    """The CUDA version that an environment's torch is built with; read, because importing torch takes seconds."""
    for path in environment.glob("lib/python*/site-packages/torch/version.py"):
        if found := re.search(r"^cuda[^=]*= '(.+)'", path.read_text(encoding="utf-8"), re.MULTILINE):
            return found[1]
    return None


def main() -> None:
    argparse.ArgumentParser(description=__doc__).parse_args()
    for marker in sorted(Path(".envs").glob("*/.built")):
        environment = marker.parent
        versions = engine_versions(environment)
        if cuda := cuda_of_torch(environment):
            versions["cuda"] = cuda
        print(f"{environment.name}: " + ", ".join(f"{name} {version}" for name, version in versions.items()))
    gpus = command("nvidia-smi", "--query-gpu=name,memory.total,driver_version", "--format=csv,noheader")
    print(f"GPU: {gpus or 'none'}")


if __name__ == "__main__":
    run(main)
