"""Helpers of the rules: the study of conf/, looked up by wildcards. No rule stands here."""

import json
import os
import re
import shlex
import sys
from pathlib import Path

from snakemake.exceptions import WorkflowError
from snakemake.settings.enums import Quietness

sys.path.insert(0, os.path.join(workflow.basedir, "scripts"))

from entitune.code_inputs import code_of
from entitune.prompting.chat import ChatSettings
from entitune.study import ConfigError, Run, load_study
from entitune.progress import QUIET
from entitune.processes import put_first

try:
    STUDY = load_study(config)
except ConfigError as error:
    raise WorkflowError(str(error)) from None

# Shell commands find this environment's `python` and `uv` first, whether it is activated or not, and the libraries that
# scripts/setup.sh has put beside it where the system lacks them.
WORKFLOW_BIN = Path(sys.executable).parent
put_first("PATH", WORKFLOW_BIN)
put_first("LD_LIBRARY_PATH", WORKFLOW_BIN.parent.parent / "lib")

# What is quiet here is quiet in the jobs.
if {Quietness.ALL, Quietness.PROGRESS} & set(workflow.output_settings.quiet or ()):
    os.environ[QUIET] = "1"


wildcard_constraints:
    dataset="[^/]+",
    model="[^/]+",
    prompt="[^/]+",
    run="[^/]+",
    seed=r"\d+",
    split="train|dev|test",
    shard=r"\d+-of-\d+",
    cutoff=r"\d+",
    env="[^/]+",


def run_of(wildcards) -> Run:
    """The run that a job belongs to. A name that is not in the sheet gets an answer that helps."""
    try:
        run = STUDY.run(wildcards.run)
    except ConfigError as error:
        raise WorkflowError(str(error)) from None
    if int(wildcards.seed) not in run.seeds:
        raise WorkflowError(f"run {run.name!r} has no seed {wildcards.seed}; its seeds are {list(run.seeds)}")
    return run


def entry_of(registry: str, name: str) -> dict:
    """An entry of a registry of conf/. A name that is not there gets an answer that helps."""
    entries = getattr(STUDY, registry)
    if name not in entries:
        raise WorkflowError(f"conf/{registry}.yaml has no {name!r}; it has: {', '.join(entries)}")
    return entries[name]


def dataset_of(wildcards) -> dict:
    return entry_of("datasets", wildcards.dataset)


def recipe_of(wildcards) -> dict:
    return STUDY.recipes[run_of(wildcards).recipe]


def decode_of(wildcards) -> dict:
    return STUDY.decode[run_of(wildcards).decode]


def alpaca_of(run: Run, split: str) -> str:
    return f"results/datasets/{run.dataset}/{run.prompt}/{split}.json"


def encoded_of(run: Run, split: str, suffix: str = "tokens.jsonl") -> str:
    return f"results/datasets/{run.dataset}/{run.prompt}/{run.model}/{split}.{suffix}"


def registered_of(run: Run) -> str:
    cutoff = STUDY.train_arguments(run)["cutoff_len"]
    return f"results/datasets/{run.dataset}/{run.prompt}/{run.model}/cutoff-{cutoff}/train.json"


def chat_settings(model: str) -> str:
    """How a model is talked to, as an option of scripts."""
    entry = entry_of("models", model)
    return option("--chat", ChatSettings(entry["template"], entry["thinking"]).to_json())


def manifest_of(run: Run) -> str:
    return f"results/models/{run.model}/manifest.json"


def predict_env_of(run: Run) -> str:
    return "predict-cuda" if STUDY.decode[run.decode]["gpus"] else "predict-cpu"


def environment(name: str) -> str:
    """The marker of a finished environment; bin/ stands beside it."""
    return f".envs/{name}/.built"


def growing(value: int, attempt: int) -> int:
    """What a resource is on the n-th attempt: a job that failed for want of it gets more."""
    return value * attempt


def option(name: str, value) -> str:
    """A command-line option, or nothing where the value is absent."""
    return f"{name} {shlex.quote(str(value))}" if value else ""
