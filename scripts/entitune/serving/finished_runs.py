"""Read finished runs from results/ and check them: what a server loads and what a client sends.

Needs PyYAML and pydantic (every environment has them).
"""

from __future__ import annotations

import ipaddress
import os
import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from entitune import paths
from entitune.cli import InputError
from entitune.engines.vllm_settings import adapter_setting
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
    """One run and seed with all its files, which belong together."""

    name: str
    model: str
    """The name of the base model."""
    labels: list[str]
    decode: Decode
    answer_format: AnswerFormat
    windows: bool
    """Whether texts that are too long are asked in windows."""
    prompt: Prompt
    base: Path
    adapter: Path | None
    """The adapter's folder; None if the run has no training."""
    merged: Path | None
    """The merged model's folder; None if the adapter is served unmerged."""


def require(files: Sequence[str], what: str) -> None:
    """Raise InputError if files are missing, with the command that makes them."""
    if missing := [path for path in files if not Path(path).is_file()]:
        command = f"snakemake {shlex.join(missing)} --cores all"
        raise InputError(f"{what}; missing: {', '.join(missing)}; make them with\n    {command}")


def finished_run(study: Study, name: str, seed: int | None = None) -> FinishedRun:
    """Return the run with a name and seed (default: its first seed).

    Raises InputError if it is not finished, or if its files do not belong together.
    """
    run = study.run(name)
    if isinstance(run, VoteRun):
        raise InputError(f"run {name} is a vote without a model of its own; choose the run {run.voters.name} instead")
    if not isinstance(run, BaseRun):
        raise InputError(f"run {name} (kind {run.kind}) has no model to serve")
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
    """Raise InputError if an adapter was trained on another base model than the run's."""
    if adapter is None:
        return
    trained_on = adapter_setting(adapter, "base_model_name_or_path", str)
    if Path(trained_on) != base:
        raise InputError(f"{adapter}: trained on {trained_on}, but the base model of run {run} is {base}")


def check_manifest(manifest: str, files: Sequence[str]) -> None:
    """Raise InputError if a file differs from the one that the run's scores were made from."""
    if problems := changed_files(manifest, files):
        raise InputError(
            f"{problems[0]} (another base model, prompt or adapter); update the run with\n"
            f"    snakemake {manifest} --cores all"
        )


def read_key(file: Path | None) -> str | None:
    """Return the API key in a file, or in the environment. No option takes it: others can read command lines.

    Raises InputError if it is not a key.
    """
    key = file.read_text(encoding="utf-8").strip() if file else os.environ.get(KEY_VARIABLE) or None
    if key is not None and not re.fullmatch(r"[!-~]+", key):
        raise InputError(f"{file or KEY_VARIABLE}: expected an API key of printable ASCII characters without spaces")
    return key


def is_loopback(host: str) -> bool:
    """Return whether only this machine can reach a server that listens on `host`."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
