"""Engine groups: one process predicts for several runs and seeds, one after the other."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path

from entitune.cli import InputError
from entitune.engines.candidates import candidates_in
from entitune.prompting.answer_formats import AnswerFormat


@dataclass(frozen=True)
class Job:
    """One prediction job: the run and seed, the prompts, and the model."""

    run: str
    seed: int
    tokens: str
    """File of prompts as token ids, from encode_split."""
    model: str
    """Folder of the base or merged model."""
    adapter: str | None
    """Folder of the LoRA adapter that is loaded on top of the model; None: no adapter."""
    answer: AnswerFormat | None = None
    """The format that answers are constrained to; None: they are not constrained."""
    sentences: str | None = None
    """Canonical file of the prompts' sentences; needed if answers are constrained."""
    candidates: bool = False
    """Whether the folder of the adapter, or else that of the model, has the checkpoints of a training. Then each
    checkpoint predicts."""
    step: int | None = None
    """The step of the checkpoint that predicts."""


def parse_jobs(text: str) -> list[Job]:
    """Read jobs from JSON text, for argparse. Raises ValueError if it is not a list of jobs."""
    try:
        return [Job(**value) for value in json.loads(text)]
    except TypeError as error:
        raise ValueError(f"not a list of jobs: {error}") from error


def for_each_candidate(jobs: Sequence[Job]) -> Iterator[Job]:
    """Yield the jobs in order. A job with candidates becomes one job per checkpoint."""
    for job in jobs:
        if not job.candidates:
            yield job
            continue
        for step, folder in candidates_in(Path(job.adapter or job.model)).items():
            one = replace(job, candidates=False, step=step)
            yield replace(one, adapter=str(folder)) if job.adapter else replace(one, model=str(folder))


def by_model(jobs: Sequence[Job]) -> Iterator[tuple[str, list[Job]]]:
    """Yield each model with its jobs, in order. Consecutive jobs with the same model stay together."""
    for model, group in groupby(jobs, key=lambda job: job.model):
        yield model, list(group)


def adapters_of(jobs: Sequence[Job]) -> list[Path]:
    """Return the adapter folders of jobs with one model. Raises InputError if only some of the jobs have an adapter."""
    adapters = [Path(job.adapter) for job in jobs if job.adapter]
    if adapters and len(adapters) < len(jobs):
        raise InputError(f"{jobs[0].model}: jobs with an adapter and jobs without cannot share an engine")
    return adapters
