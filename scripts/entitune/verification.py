"""Compare the files and models of a finished run with its manifest.

Needs pydantic (every environment has it).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from entitune import paths
from entitune.cli import InputError
from entitune.files import sha256
from entitune.manifests import verify
from entitune.run_manifest import RunManifest
from entitune.runs import SELECT, BaseRun, Run, TunedRun
from entitune.study import Study


def changed_files(manifest: str, files: Sequence[str] | None = None) -> list[str]:
    """Compare files with their checksums in a run's manifest.

    Args:
        manifest: The path of the run's manifest.
        files: The files to compare. None: all files that the manifest lists.

    Returns:
        A line for each file that is missing, differs or is not in the manifest.
    """
    recorded = RunManifest.read(manifest).files
    problems = []
    for path in recorded if files is None else files:
        if path not in recorded:
            problems.append(f"{path} is not in {manifest}")
        elif not Path(path).is_file():
            problems.append(f"{path} is missing")
        elif sha256(path) != recorded[path]:
            problems.append(f"{path} has changed since {manifest} was written")
    return problems


def run_problems(study: Study, run: Run, seed: int) -> list[str]:
    """Check everything that a run's scores were made from: data, all files of the models, adapter, predictions, scores.

    Returns:
        A line for each problem; empty if there are none.
    """
    manifest = run.files(seed).manifest
    if not Path(manifest).is_file():
        return [f"{manifest} is missing: run {run.name}, seed {seed}, is not finished"]
    problems = changed_files(manifest)
    recorded = RunManifest.read(manifest).files
    made_from = study.made_from(run, seed)
    problems += [f"{path} is not in {manifest}" for path in made_from if path not in recorded]
    models = [paths.model(run.model.name), run.engine_model(seed)] if isinstance(run, BaseRun) else []
    if isinstance(run, TunedRun) and run.selects:
        models += [run.files(seed).candidates, run.engine_source(seed, SELECT).model]
    for model in dict.fromkeys(models):
        try:
            verify(Path(model).parent, deep=True)
        except (InputError, OSError) as error:
            problems.append(str(error))
    return problems
