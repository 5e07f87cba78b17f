"""Finished runs: what a server loads and what a client must send, read from results/ and checked.

Needs PyYAML and jsonschema (any environment but train has them).
"""

from __future__ import annotations

import ipaddress
import json
import os
import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from entitune.cli import InputError
from entitune.files import sha256
from entitune.manifests import MANIFEST, verify
from entitune.prompting.prompt import Prompt
from entitune.study import ConfigError, Run, Study, load_study

KEY_VARIABLE = "ENTITUNE_API_KEY"


@dataclass(frozen=True)
class FinishedRun:
    """One run and seed whose files are all there and belong together."""

    name: str
    model: str
    """The base model's name; its folder is `base`."""
    labels: list[str]
    decode: dict[str, Any]
    prompt: Prompt
    base: Path
    adapter: Path | None
    """The adapter's folder; None where the run did not train."""
    merged: Path | None
    """The merged model's folder; None where the adapter is served as it is."""


def read_study() -> Study:
    """The study of conf/."""
    try:
        return load_study(yaml.safe_load(Path("conf/config.yaml").read_text(encoding="utf-8")))
    except ConfigError as error:
        raise InputError(str(error)) from error


def environment_name(decode: dict[str, Any]) -> str:
    """The environment that predicts and serves with these decode settings."""
    return "predict-cuda" if decode["gpus"] else "predict-cpu"


def require(files: Sequence[Path], what: str) -> None:
    """Raise InputError where files are missing, with the command that makes them."""
    if missing := [str(path) for path in files if not path.is_file()]:
        command = f"snakemake {shlex.join(missing)} --cores all"
        raise InputError(f"{what}; missing: {', '.join(missing)}; make them with\n    {command}")


def finished_run(study: Study, name: str, seed: int | None = None) -> FinishedRun:
    """The run of that name and seed (default: its first).

    Raises InputError where it is not finished, or where its files do not belong together.
    """
    try:
        run = study.run(name)
    except ConfigError as error:
        raise InputError(str(error)) from error
    if run.vote_of:
        raise InputError(f"run {name} is a vote over the answers of {run.vote_of}: that is the run with models")
    if seed is not None and seed not in run.seeds:
        raise InputError(f"run {name} has no seed {seed}; its seeds are {', '.join(map(str, run.seeds))}")
    seed = run.seeds[0] if seed is None else seed

    folder, base = Path("results", name, f"seed-{seed}"), Path("results/models", run.model)
    alpaca = Path("results/datasets", run.dataset, run.prompt, "dev.json")
    adapter = folder / "adapter" if run.recipe else None
    merged = folder / "merged" if adapter and study.decode[run.decode]["adapter"] == "merged" else None
    needed = [folder / MANIFEST, base / MANIFEST, alpaca]
    needed += [adapter / "adapter_model.safetensors", adapter / "adapter_config.json"] if adapter else []
    needed += [merged / MANIFEST] if merged else []
    require(needed, f"run {name}, seed {seed}, is not finished")
    for model in filter(None, (base, merged)):
        verify(model, deep=False)
    check_adapter(run, base, adapter)
    check_manifest(folder, [base / MANIFEST, alpaca, *([adapter / "adapter_model.safetensors"] if adapter else [])])
    return FinishedRun(
        name=name,
        model=run.model,
        labels=study.datasets[run.dataset]["labels"],
        decode=study.decode[run.decode],
        prompt=Prompt.from_row(json.loads(alpaca.read_text(encoding="utf-8"))[0]),
        base=base,
        adapter=adapter,
        merged=merged,
    )


def check_adapter(run: Run, base: Path, adapter: Path | None) -> None:
    """Raise InputError where an adapter was trained on another base model than the run's."""
    if adapter is None:
        return
    trained_on = json.loads((adapter / "adapter_config.json").read_text(encoding="utf-8"))["base_model_name_or_path"]
    if Path(trained_on) != base:
        raise InputError(f"{adapter}: an adapter of {trained_on}; run {run.name} is of {base}")


def check_manifest(folder: Path, files: Sequence[Path]) -> None:
    """Raise InputError where a file is not the one that the run's figures were made from."""
    recorded = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))["files"]
    for path in files:
        if recorded.get(str(path)) != sha256(path):
            raise InputError(
                f"{path} is not the one that {folder / MANIFEST} was made from (another base model, prompt or "
                f"adapter); bring the run up to date with\n    snakemake {folder / MANIFEST} --cores all"
            )


def read_key(file: Path | None) -> str | None:
    """The API key in a file, else the one in the environment. Never on a command line: every user can read those."""
    key = file.read_text(encoding="utf-8").strip() if file else os.environ.get(KEY_VARIABLE) or None
    if key is not None and not re.fullmatch(r"[!-~]+", key):
        raise InputError(f"{file or KEY_VARIABLE}: expected an API key: one word of ASCII characters")
    return key


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach a server on that address."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
