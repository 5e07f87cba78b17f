"""Engine groups: one process answers for several runs and seeds, one after the other."""

from __future__ import annotations

import gc
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path
from typing import Any

from entitune.cli import InputError
from entitune.engines.candidates import candidates_in
from entitune.prompting.answer_formats import AnswerFormat


@dataclass(frozen=True)
class Job:
    """Whose answers, to which prompts, with which model."""

    run: str
    seed: int
    tokens: str
    """File of prompts as token ids, from encode_split."""
    model: str
    """Folder of the base or merged model."""
    adapter: str | None
    """Folder of the LoRA adapter that is loaded on top of the model; None for the model as it is."""
    answer: AnswerFormat | None = None
    """The format that its answers are held to; None where they are free."""
    sentences: str | None = None
    """Canonical file of the prompts' sentences; needed where answers are held to a format."""
    candidates: bool = False
    """Whether the adapter's folder, or the model's where there is none, holds the checkpoints of a training: each
    answers."""
    step: int | None = None
    """The step of the checkpoint that answers."""


def parse_jobs(text: str) -> list[Job]:
    """Jobs from their JSON text, for argparse. Raises ValueError where it is not a list of jobs."""
    try:
        return [Job(**value) for value in json.loads(text)]
    except TypeError as error:
        raise ValueError(f"not a list of jobs: {error}") from error


def for_each_candidate(jobs: Sequence[Job]) -> Iterator[Job]:
    """The jobs in order, one that asks candidates as a job for each of their steps."""
    for job in jobs:
        if not job.candidates:
            yield job
            continue
        for step, folder in candidates_in(Path(job.adapter or job.model)).items():
            one = replace(job, candidates=False, step=step)
            yield replace(one, adapter=str(folder)) if job.adapter else replace(one, model=str(folder))


def by_model(jobs: Sequence[Job]) -> Iterator[tuple[str, list[Job]]]:
    """The jobs in order, those that follow each other with one model together."""
    for model, group in groupby(jobs, key=lambda job: job.model):
        yield model, list(group)


def adapters_of(jobs: Sequence[Job]) -> list[Path]:
    """The adapters' folders of jobs with one model. Raises InputError where only some of them have one."""
    adapters = [Path(job.adapter) for job in jobs if job.adapter]
    if adapters and len(adapters) < len(jobs):
        raise InputError(f"{jobs[0].model}: jobs with an adapter and jobs without cannot share an engine")
    return adapters


def release(engine: Any) -> None:
    """Free an engine's memory, so that the next model finds it free. The caller drops its own reference first."""
    engine.llm_engine.engine_core.shutdown()
    del engine
    gc.collect()
