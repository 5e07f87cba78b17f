"""Code that all rule files share: the study of conf/, the paths of files, and functions for look-ups. No rules."""

import atexit
import json
import os
import re
import shlex
import shutil
import sys
from pathlib import Path

from snakemake.exceptions import WorkflowError

sys.path.insert(0, os.path.join(workflow.basedir, "scripts"))

from entitune import endings, paths, snakemake_internals
from entitune.cli import InputError
from entitune.code_inputs import code_digest
from entitune.config_files import ConfigError
from entitune.manifests import engine_files
from entitune.processes import put_first
from entitune.progress import QUIET
from entitune.runs import SELECT, BaseRun, CrfRun, EngineSource, ImportedRun, TunedRun, VoteRun, files_below
from entitune.study import read_study

try:
    STUDY = read_study(config)
    if snakemake_internals.is_main(workflow):
        STUDY.check_files()
except ConfigError as error:
    raise WorkflowError(str(error)) from None

if snakemake_internals.is_main(workflow) and snakemake_internals.submits_to_slurm() and not shutil.which("sbatch"):
    raise WorkflowError(
        "this machine has no sbatch: run the command where the cluster accepts jobs (docs/cluster.md), or omit "
        "--workflow-profile to run on this machine"
    )

snakemake_internals.correct_plans()

# Shell commands use this environment's `python` and `uv`, whether it is activated or not, and the libraries that
# scripts/setup.sh has unpacked because the system lacks them.
WORKFLOW_BIN = Path(sys.executable).parent
put_first("PATH", WORKFLOW_BIN)
put_first("LD_LIBRARY_PATH", WORKFLOW_BIN.parent.parent / "lib")

# With --quiet, the jobs print no progress either.
if snakemake_internals.is_quiet(workflow):
    os.environ[QUIET] = "1"

# The runs whose adapter is the best of several checkpoints, and the datasets that the table covers.
SELECTING = [run.name for run in STUDY.runs.values() if isinstance(run, TunedRun) and run.selects]
SELECTED_DATASETS = list(dict.fromkeys(run.dataset.name for run in STUDY.selected_runs))

# The paths of a run, of a dataset under a prompt and of an engine group, as patterns with wildcards.
RUN = paths.RunFiles("{run}", "{seed}")
DATA = paths.PromptData("{dataset}", "{prompt}", "{model}", "{windows}")
GROUP = paths.GroupFiles("{group}")


wildcard_constraints:
    dataset="[^/]+",
    model="[^/]+",
    prompt="[^/]+",
    run="[^/]+",
    group="[^/]+",
    seed=r"\d+",
    split="train|dev|test",
    shard=r"\d+-of-\d+",
    cutoff=r"\d+",
    windows=r"(?:/windows-\d+(?:-\d+)?)?",
    limits=r"\d+(?:-\d+)?",
    selection=r"(?:(?:\.held_out-[\d.e-]+)?(?:\.rows-\d+)?\.seed-\d+)?",
    rows=r"\d+",
    env="[^/]+",


def one_of(names) -> str:
    """Return a wildcard constraint: one of these names. Without names, it matches nothing."""
    return "|".join(map(re.escape, names)) or "(?!)"


def none_of(names) -> str:
    """Return a wildcard constraint: any name but these."""
    return f"(?!(?:{one_of(names)})/)[^/]+"


def call(function, *arguments):
    """Call a function and return its result. Raises its InputError as WorkflowError, which Snakemake prints."""
    try:
        return function(*arguments)
    except InputError as error:
        raise WorkflowError(str(error)) from None


def run_of(wildcards):
    """Return the run that a job belongs to."""
    return call(STUDY.run_with_seed, wildcards.run, int(wildcards.seed))


def group_of(wildcards):
    """Return the engine group that a job belongs to."""
    if wildcards.group not in STUDY.groups:
        raise WorkflowError(f"no engine group {wildcards.group!r}; there are: {', '.join(STUDY.groups)}")
    return STUDY.groups[wildcards.group]


def limits_of(wildcards) -> str:
    """Return the options with the limits of a run's engine."""
    decode = STUDY.run(wildcards.run).decode
    return f"--max-tokens {decode.max_tokens} --max-model-len {decode.max_model_len}"


def answers_of(wildcards, split: str | None = None) -> list[str]:
    """Return the raw answers to all shards of a split, of the group that a run and seed belong to."""
    shards = paths.shards(run_of(wildcards).decode.shards)
    group = STUDY.group_of(wildcards.run, wildcards.seed).files
    return [group.answers(split or wildcards.split, shard) for shard in shards]


def entry_of(registry: str, name: str):
    """Return an entry of a registry of conf/."""
    entries = getattr(STUDY, registry)
    if name not in entries:
        raise WorkflowError(f"conf/{registry}.yaml has no {name!r}; it has: {', '.join(entries)}")
    return entries[name]


def dataset_of(wildcards):
    """Return the dataset that a job belongs to."""
    return entry_of("datasets", wildcards.dataset)


def labels_of(dataset) -> str:
    """Return a dataset's labels for command lines."""
    return ",".join(dataset.label_names)


def of_selected(file) -> list[str]:
    """Return `file(files)` for the files of each run and seed that the table covers."""
    return [file(files) for files in STUDY.selected_files()]


def of_selected_splits(file) -> list[str]:
    """Return `file(files, split)` for each run, seed and split that the table covers."""
    return [file(files, split) for files in STUDY.selected_files() for split in STUDY.splits]


def judged_splits(wildcards) -> list[str]:
    """Return the sentences of a dataset's splits that runs are scored on."""
    return [paths.sentences(wildcards.dataset, split) for split in dataset_of(wildcards).judged_splits]


def chat_option(model) -> str:
    """Return the settings of a model's chats as an option of scripts."""
    return option("--chat", model.chat.to_json())


def growing(value: int, attempt: int) -> int:
    """Return a resource for the n-th attempt: a job that failed for lack of it gets more."""
    return value * attempt


def option(name: str, value) -> str:
    """Return a command-line option, or an empty text if there is no value."""
    return f"{name} {shlex.quote(str(value))}" if value else ""
