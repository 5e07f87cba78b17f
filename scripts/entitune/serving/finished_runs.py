"""Finished runs: what a server loads and what a client must send, read from results/ and checked.

Needs PyYAML and pydantic (every environment has them).
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

from entitune import paths
from entitune.cli import InputError
from entitune.manifests import verify
from entitune.prompting.answer_formats import AnswerFormat
from entitune.prompting.prompt import Prompt
from entitune.prompting.rows import read_alpaca
from entitune.registries import Decode
from entitune.runs import BaseRun, TunedRun, VoteRun
from entitune.study import Study
from entitune.verification import changed_files

KEY_VARIABLE = "ENTITUNE_API_KEY"


@dataclass(frozen=True)
class FinishedRun:
    """One run and seed whose files are all there and belong together."""

    name: str
    model: str
    """The base model's name; its folder is `base`."""
    labels: list[str]
    decode: Decode
    answer_format: AnswerFormat
    windows: bool
    """Whether a text that is too long is asked in windows."""
    prompt: Prompt
    base: Path
    adapter: Path | None
    """The adapter's folder; None where the run did not train."""
    merged: Path | None
    """The merged model's folder; None where the adapter is served unmerged."""


def require(files: Sequence[str], what: str) -> None:
    """Raise InputError where files are missing, with the command that makes them."""
    if missing := [path for path in files if not Path(path).is_file()]:
        command = f"snakemake {shlex.join(missing)} --cores all"
        raise InputError(f"{what}; missing: {', '.join(missing)}; make them with\n    {command}")


def finished_run(study: Study, name: str, seed: int | None = None) -> FinishedRun:
    """The run of that name and seed (default: its first).

    Raises InputError where it is not finished, or where its files do not belong together.
    """
    run = study.run(name)
    if isinstance(run, VoteRun):
        raise InputError(f"run {name} is a vote over the answers of {run.voters.name}: that is the run with models")
    if not isinstance(run, BaseRun):
        raise InputError(f"run {name} is of kind {run.kind}: it has no model to serve")
    seed = run.seeds[0] if seed is None else seed
    study.run_with_seed(name, seed)

    files, base, alpaca = run.files(seed), paths.model(run.model.name), run.data.alpaca("dev")
    tuned = isinstance(run, TunedRun)
    made = [base, alpaca, *([files.adapter()] if tuned else [])]
    merged = run.engine_model(seed) if run.engine_model(seed) != base else None
    needed = [files.manifest, *made, *([files.adapter("adapter_config.json")] if tuned else [])]
    require([*needed, *([merged] if merged else [])], f"run {name}, seed {seed}, is not finished")
    adapter = Path(files.adapter()).parent if tuned else None
    for model in filter(None, (base, merged)):
        verify(Path(model).parent, deep=False)
    check_manifest(files.manifest, made)
    check_adapter(name, Path(base).parent, adapter)
    return FinishedRun(
        name=name,
        model=run.model.name,
        labels=run.dataset.label_names,
        decode=run.decode,
        answer_format=run.prompt.answer,
        windows=run.dataset.windows,
        prompt=Prompt.from_row(read_alpaca(alpaca)[0]),
        base=Path(base).parent,
        adapter=adapter,
        merged=Path(merged).parent if merged else None,
    )


def check_adapter(run: str, base: Path, adapter: Path | None) -> None:
    """Raise InputError where an adapter was trained on another base model than the run's."""
    if adapter is None:
        return
    trained_on = json.loads((adapter / "adapter_config.json").read_text(encoding="utf-8"))["base_model_name_or_path"]
    if Path(trained_on) != base:
        raise InputError(f"{adapter}: an adapter of {trained_on}; run {run} is of {base}")


def check_manifest(manifest: str, files: Sequence[str]) -> None:
    """Raise InputError where a file is not the one that the run's figures were made from."""
    if problems := changed_files(manifest, files):
        raise InputError(
            f"{problems[0]} (another base model, prompt or adapter); bring the run up to date with\n"
            f"    snakemake {manifest} --cores all"
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
