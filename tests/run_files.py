"""Small versions of the files of a finished run, for tests of the server, the client and the page."""

from __future__ import annotations

import json
from pathlib import Path

from run_manifests import write_run_manifest

from entitune import paths
from entitune.files import sha256
from entitune.manifests import ModelManifest
from entitune.prompting.prompt import Prompt
from entitune.records import Sentence
from entitune.runs import BaseRun, TunedRun
from entitune.serving.finished_runs import FinishedRun, finished_run
from entitune.study import Study

PROMPT = Prompt("找出实体", "系统", [["找出实体\n好", "[]"]])


def write_manifest(model: Path) -> None:
    """Write the manifest of a model's folder."""
    ModelManifest.of_folder(model, model=model.name, source="path", revision=None).write(model)


def finish(study: Study, name: str, rank: int = 8, base: str | None = None) -> FinishedRun:
    """Write the files of a run that are read before a server starts, in the current folder.

    Args:
        study: the study with the run.
        name: the run; it has a model.
        rank: the rank of its adapter.
        base: the model that its adapter names as its base; by default the run's.
    """
    run = study.run(name)
    assert isinstance(run, BaseRun)
    folder, model = Path(run.files(run.seeds[0]).folder), Path(paths.model(run.model.name)).parent
    alpaca = Path(run.data.alpaca("dev"))
    for path in (folder / "adapter", folder / "merged", model, alpaca.parent):
        path.mkdir(parents=True, exist_ok=True)
    for path in (model, folder / "merged"):
        (path / "model.safetensors").write_bytes(b"weights")
        write_manifest(path)
    alpaca.write_text(json.dumps([PROMPT.row(Sentence("dev-1", "好", ()))]), encoding="utf-8")
    files = [model / "manifest.json", alpaca]
    if isinstance(run, TunedRun):
        config = {"r": rank, "base_model_name_or_path": base or str(model)}
        (folder / "adapter/adapter_config.json").write_text(json.dumps(config), encoding="utf-8")
        (folder / "adapter/adapter_model.safetensors").write_bytes(b"adapter")
        files.append(folder / "adapter/adapter_model.safetensors")
    write_run_manifest(folder / "manifest.json", files={str(path): sha256(path) for path in files})
    return finished_run(study, name)
