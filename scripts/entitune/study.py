"""The study: read everything under conf/, check it, and combine it into runs.

There are five kinds of runs: tuned (an adapter is trained), base (the base model alone), vote (of the seeds of another
run), crf (the baseline) and imported (the predictions of another system).

Needs PyYAML and pydantic (every environment has both).
"""

from __future__ import annotations

import functools
import itertools
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypedDict, TypeVar

from pydantic import JsonValue

from entitune import paths
from entitune.cli import printable
from entitune.config_files import (
    ConfigError,
    parse_entry,
    parse_registry,
    read_scalar,
    read_sheet,
    read_text,
    read_yaml,
)
from entitune.corpus.rows import MARKUP, UNUSABLE
from entitune.engines.llamafactory_arguments import check_recipe
from entitune.engines.vllm_settings import check_adapter_served
from entitune.paths import RunFiles
from entitune.prompting.prompt import DEFINITIONS, LABELS
from entitune.registries import (
    MAX_RUN_NAME,
    Arguments,
    Dataset,
    Decode,
    Entry,
    ImportedPredictions,
    Model,
    PromptFiles,
    Recipe,
    Selection,
    SheetRow,
)
from entitune.runs import SELECT, BaseRun, CrfRun, Group, ImportedRun, Run, TunedRun, VoteRun, group_runs

CONF = Path("conf")
NO_TRAINING = "none"
VOTE = "vote:"
IMPORT = "import:"
CRF = "crf"


@dataclass(frozen=True)
class Study:
    """Everything under conf/, checked."""

    datasets: dict[str, Dataset]
    models: dict[str, Model]
    prompts: dict[str, PromptFiles]
    recipes: dict[str, Recipe]
    decode: dict[str, Decode]
    runs: dict[str, Run]
    selected: tuple[str, ...]
    """The runs that results/metrics.tsv covers."""
    splits: tuple[str, ...]
    """The labelled splits that results/metrics.tsv covers."""
    local_archive: dict[str, str]
    cuda: Literal["auto", 12, 13]
    """The CUDA version that the engines' environments are built for."""

    def run(self, name: str) -> Run:
        """Return the run of that name. Raises ConfigError if there is none."""
        if name not in self.runs:
            raise ConfigError(f"conf/runs.tsv has no run {name!r}; it has: {', '.join(self.runs)}")
        return self.runs[name]

    def run_with_seed(self, name: str, seed: int) -> Run:
        """Return the run of that name. Raises ConfigError if it does not have that seed."""
        run = self.run(name)
        if seed not in run.seeds:
            raise ConfigError(f"run {name!r} has no seed {seed}; its seeds are {', '.join(map(str, run.seeds))}")
        return run

    @property
    def selected_runs(self) -> list[Run]:
        """The runs that results/metrics.tsv covers."""
        return [self.runs[name] for name in self.selected]

    def selected_files(self) -> list[RunFiles]:
        """Return the paths of each run and seed that results/metrics.tsv covers."""
        return [run.files(seed) for run in self.selected_runs for seed in run.seeds]

    @functools.cached_property
    def groups(self) -> dict[str, Group]:
        """All engine groups by name."""
        return {group.name: group for group in group_runs(self.runs.values())}

    @functools.cached_property
    def _group_of(self) -> dict[tuple[str, int], Group]:
        return {(run.name, seed): group for group in self.groups.values() for run, seed in group.members}

    def group_of(self, run: str, seed: int | str) -> Group:
        """Return the engine group that predicts for a run and seed."""
        return self._group_of[run, int(seed)]

    def check_files(self) -> None:
        """Raise ConfigError if a selected run needs a local file or folder that does not exist."""
        check_root(Path.cwd())
        for run in self.selected_runs:
            for one in (run, run.voters) if isinstance(run, VoteRun) else (run,):
                _check_splits(one)
                if isinstance(one, BaseRun):
                    _check_model(one.model)
            if isinstance(run, ImportedRun):
                files = (file for split in self.splits for file in run.imported.files()[split])
                if missing := [file for file in files if not Path(file).exists()]:
                    raise ConfigError(f"conf/imports.yaml: {run.imported.name}: no such file: {', '.join(missing)}")
        for name, path in self.local_archive.items():
            if not Path(path).is_file():
                raise ConfigError(f"conf/config.yaml: local_archive: {name}: no such file: {path}")

    def made_from(self, run: Run, seed: int) -> list[str]:
        """Return all files that a run's scores of the covered splits are made from."""
        if isinstance(run, BaseRun):
            group = self.group_of(run.name, seed).files
            files = [file for split in self.splits for file in run.made_from(seed, split, group)]
        else:
            files = [file for split in self.splits for file in run.made_from(seed, split)]
        return list(dict.fromkeys(files))

    def shared_records(self, run: Run, seed: int) -> list[str]:
        """Return the records of the jobs of a run's engine group: of the covered splits, then of held-out rows."""
        if not isinstance(run, BaseRun):
            return []
        group, shards = self.group_of(run.name, seed).files, paths.shards(run.decode.shards)
        chooses = isinstance(run, TunedRun) and run.selects
        return [
            group.record(split, shard) for split in (*self.splits, *([SELECT] if chooses else [])) for shard in shards
        ]


def _check_splits(run: Run) -> None:
    """Raise ConfigError if a local split that a run needs does not exist."""
    if run.dataset.archive is None:
        for split in run.needed_splits:
            for path in map(Path, run.dataset.splits.files()[split]):
                where = f"conf/datasets.yaml: {run.dataset.name}: splits: {split}"
                if not path.exists():
                    raise ConfigError(f"{where}: no such file: {path}")
                if not path.is_file() and not run.dataset.may_be_folder:
                    raise ConfigError(f"{where}: {path} is not a file; format {run.dataset.format} needs a file")


def _check_model(model: Model) -> None:
    """Raise ConfigError if the folder or the lock file of a model does not exist."""
    if model.source == "path" and model.path and not Path(model.path).is_dir():
        raise ConfigError(f"conf/models.yaml: {model.name}: path: no such folder: {model.path}")
    if model.source == "package" and model.lock and not Path(model.lock).is_file():
        raise ConfigError(f"conf/models.yaml: {model.name}: lock: no such file: {model.lock}")


def check_root(folder: Path) -> None:
    """Raise ConfigError if programs would not find the files of a clone in `folder`.

    PATH is split at colons, and the library that reads LLaMA-Factory's data expands variables, patterns and chained
    file systems (`$HOME`, `[ab]`, `a::b`) in absolute paths.
    """
    if (found := re.search(r"[$:*?\[\]]", str(folder))) or not str(folder).isprintable():
        what = repr(found[0]) if found else "a control character"
        raise ConfigError(
            f"{printable(str(folder))}: the path of this folder contains {what}, which programs misinterpret; "
            "move the clone to a folder whose path has none of $ : * ? [ ]"
        )


Named = TypeVar("Named", bound=Entry)


def _look_up(registry: Mapping[str, Named], name: str, where: str, file: str, more: Iterable[str] = ()) -> Named:
    if name not in registry:
        raise ConfigError(f"{where}: no {name!r} in conf/{file}.yaml; there are: {', '.join([*registry, *more])}")
    return registry[name]


def _parse_sweep(text: str, where: str) -> list[dict[str, JsonValue]]:
    """Return the combinations of a sweep such as `lora_rank=8,16;learning_rate=1.0e-4`, each a dictionary, in order."""
    axes: dict[str, list[JsonValue]] = {}
    for axis in filter(None, text.split(";")):
        key, values = axis.split("=")
        if key in axes:
            raise ConfigError(f"{where}: sweep: {key} is given twice")
        axes[key] = [read_scalar(value) for value in values.split(",")]
        if len(set(map(str, axes[key]))) < len(axes[key]):
            raise ConfigError(f"{where}: sweep: {key} repeats a value: {values}")
    return [dict(zip(axes, combination, strict=True)) for combination in itertools.product(*axes.values())]


@dataclass(frozen=True)
class _Registries:
    datasets: dict[str, Dataset]
    models: dict[str, Model]
    prompts: dict[str, PromptFiles]
    recipes: dict[str, Recipe]
    decode: dict[str, Decode]
    imports: dict[str, ImportedPredictions]
    arguments: dict[str, Arguments]
    """Recipe -> its LLaMA-Factory arguments."""


class _Fields(TypedDict):
    """The fields of every kind of run."""

    row: str
    name: str
    dataset: Dataset
    seeds: tuple[int, ...]


class _ModelFields(_Fields):
    """The fields of a run that predicts with a model."""

    model: Model
    prompt: PromptFiles
    decode: Decode
    lengths_checked_by: str


def _expand(row: SheetRow, registries: _Registries, runs: Mapping[str, Run]) -> Iterator[Run]:
    """Yield the runs of a row of the sheet: one, or one per combination of its sweep."""
    where = f"conf/runs.tsv: row {row.run!r}"
    seeds = tuple(map(int, row.seeds.split(",")))
    if len(set(seeds)) < len(seeds):
        raise ConfigError(f"{where}: seeds: {row.seeds!r} repeats a seed")
    dataset = _look_up(registries.datasets, row.dataset, f"{where}: dataset", "datasets")
    if row.train == CRF or row.train.startswith((VOTE, IMPORT)):
        fields = _Fields(row=row.run, name=row.run, dataset=dataset, seeds=seeds)
        yield _without_model(row, fields, registries, runs, where)
        return
    others = (NO_TRAINING, CRF, f"{VOTE}RUN", f"{IMPORT}NAME")
    recipe = (
        None
        if row.train == NO_TRAINING
        else _look_up(registries.recipes, row.train, f"{where}: train", "recipes", others)
    )
    model = _look_up(registries.models, row.model, f"{where}: model", "models")
    decode = _look_up(registries.decode, row.decode, f"{where}: decode", "decode")
    first_with: dict[str, str] = {}
    for combination in _parse_sweep(row.sweep, where):
        overrides = dict(combination)
        prompt = str(overrides.pop("prompt", row.prompt))
        train_rows = overrides.pop("train_rows", None)
        if train_rows is not None and (type(train_rows) is not int or train_rows < 1):
            raise ConfigError(f"{where}: sweep: train_rows={train_rows}: expected a whole number of at least 1")
        name = row.run + "".join(f"+{key}={value}" for key, value in combination.items())
        if len(name) > MAX_RUN_NAME:
            raise ConfigError(
                f"{where}: sweep: the run name {name} has more than {MAX_RUN_NAME} characters, too many for "
                "file names; vary fewer keys in one row"
            )
        common = _ModelFields(
            row=row.run,
            name=name,
            dataset=dataset,
            seeds=seeds,
            model=model,
            prompt=_look_up(registries.prompts, prompt, f"{where}: prompt", "prompts"),
            decode=decode,
            lengths_checked_by=first_with.setdefault(prompt, name),
        )
        if recipe:
            arguments = {**registries.arguments[recipe.name], **overrides}
            if problems := check_recipe(arguments, f"{where}: sweep", selects=recipe.select is not None):
                raise ConfigError("\n".join(problems))
            if recipe.select:
                arguments.pop("save_total_limit", None)  # each checkpoint is a candidate
            # Of the numbers, only the cutoff changes the rows; a rank or a learning rate does not.
            decisive = {key: value for key, value in overrides.items() if not _is_number(value) or key == "cutoff_len"}
            yield TunedRun(
                **common,
                recipe=recipe,
                arguments=arguments,
                overrides=overrides,
                train_rows=train_rows,
                rows_checked_by=first_with.setdefault(f"{prompt} {train_rows} {decisive}", name),
            )
        elif overrides or train_rows:
            varied = [key for key in combination if key != "prompt"]
            raise ConfigError(f"{where}: sweep: {', '.join(varied)} cannot vary in a run that does not train")
        else:
            yield BaseRun(**common)


def _is_number(value: JsonValue) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _without_model(row: SheetRow, fields: _Fields, registries: _Registries, runs: Mapping[str, Run], where: str) -> Run:
    """Return the run of a row that uses no model: crf, vote or import."""
    if row.sweep:
        raise ConfigError(f"{where}: sweep: a run with train {row.train} cannot have a sweep; leave the field empty")
    if row.train == CRF:
        return CrfRun(**fields)
    if row.train.startswith(VOTE):
        voters = _voters(row.train.removeprefix(VOTE), fields, runs, where)
        return VoteRun(**fields, voters=voters)
    imported = _look_up(registries.imports, row.train.removeprefix(IMPORT), f"{where}: train", "imports")
    return ImportedRun(**fields, imported=imported)


def _voters(name: str, fields: _Fields, runs: Mapping[str, Run], where: str) -> BaseRun:
    """Return the run whose seeds vote. Raises ConfigError unless it has the same dataset and three seeds or more."""
    voters = runs.get(name)
    if not isinstance(voters, BaseRun):
        raise ConfigError(f"{where}: train: {VOTE}{name} does not name a run of the sheet that predicts with a model")
    if voters.dataset.name != fields["dataset"].name:
        raise ConfigError(f"{where}: dataset: {fields['dataset'].name!r}, but {name!r} is on {voters.dataset.name!r}")
    if len(voters.seeds) < 3 or len(fields["seeds"]) != 1:
        raise ConfigError(f"{where}: seeds: a vote needs a run with at least three seeds, and has one seed itself")
    return voters


def _check_run(run: Run, conf: Path) -> None:
    """Raise ConfigError if the parts of a run do not fit together."""
    where = f"conf/runs.tsv: row {run.row!r}"
    if run.dataset.splits.train is None and "train" in run.needed_splits:
        raise ConfigError(f"{where}: dataset {run.dataset.name!r} has no split train")
    if not isinstance(run, BaseRun):
        return
    if isinstance(run, TunedRun) and not run.merges and (problems := check_adapter_served(run.arguments, where)):
        raise ConfigError("\n".join(problems))
    if run.model.thinking and run.decode.structured:
        raise ConfigError(
            f"{where}: model {run.model.name!r} thinks before it answers, but decode {run.decode.name!r} allows only "
            "the answer; set structured: false or thinking: false"
        )
    bare = [label.name for label in run.dataset.labels if not label.description]
    if bare and shows_definitions(run.prompt, conf):
        raise ConfigError(
            f"{where}: prompt {run.prompt.name!r} shows {DEFINITIONS}, but dataset {run.dataset.name!r} has no "
            f"description of {', '.join(bare)}; write labels: {{{bare[0]}: description, ...}} in conf/datasets.yaml"
        )


def shows_definitions(prompt: PromptFiles, conf: Path = CONF) -> bool:
    """Return whether the prompt contains the descriptions of labels."""
    return any(DEFINITIONS in read_text(conf / path) for path in prompt.turns().values())


def _check_prompt(prompt: PromptFiles, conf: Path) -> None:
    files = [conf / path for path in prompt.turns().values()]
    if missing := [str(path) for path in files if not path.is_file()]:
        raise ConfigError(f"conf/prompts.yaml: {prompt.name}: no such file: {', '.join(missing)}")
    for path in files:
        if found := UNUSABLE.search(read_text(path)):
            raise ConfigError(f"{path}: remove the character U+{ord(found[0]):04X}, which a tokenizer may drop")
        if found := MARKUP.search(read_text(path)):
            raise ConfigError(f"{path}: {found[0]!r} is markup of chat templates and cannot be sent as text; remove it")
    if sum(read_text(path).count(placeholder) for path in files for placeholder in (LABELS, DEFINITIONS)) != 1:
        raise ConfigError(
            f"conf/prompts.yaml: {prompt.name}: write {LABELS} or {DEFINITIONS} exactly once in "
            f"{', '.join(map(str, files))}"
        )


def _read_arguments(recipe: Recipe, conf: Path) -> Arguments:
    """Return the checked arguments of a recipe's LLaMA-Factory file."""
    path = conf / recipe.config
    arguments: Arguments = read_yaml(path)
    if not isinstance(arguments, dict):
        raise ConfigError(f"{path}: expected LLaMA-Factory arguments as lines of `key: value`")
    if others := [key for key in arguments if not isinstance(key, str) or not key.isprintable()]:
        raise ConfigError(f"{path}: YAML reads the key {others[0]!r}, which is not the name of an argument; remove it")
    if problems := check_recipe(arguments, str(path), selects=recipe.select is not None):
        raise ConfigError("\n".join(problems))
    if recipe.gpus == 0 and not arguments.get("use_cpu"):
        raise ConfigError(f"conf/recipes.yaml: {recipe.name}: gpus: 0 needs use_cpu: true in {path}")
    return arguments


def _read_imports(conf: Path) -> dict[str, ImportedPredictions]:
    """Return the registry of imported predictions, which most studies do not have."""
    path = conf / "imports.yaml"
    content = read_yaml(path) if path.exists() else None
    return parse_registry(ImportedPredictions, content, "conf/imports.yaml") if content else {}


def _read_registries(conf: Path) -> _Registries:
    def read(model: type[Named], name: str) -> dict[str, Named]:
        return parse_registry(model, read_yaml(conf / f"{name}.yaml"), f"conf/{name}.yaml")

    prompts, recipes = read(PromptFiles, "prompts"), read(Recipe, "recipes")
    for prompt in prompts.values():
        _check_prompt(prompt, conf)
    if reserved := [name for name in (NO_TRAINING, CRF) if name in recipes]:
        raise ConfigError(f"conf/recipes.yaml: {reserved[0]!r} is reserved for runs that do not fine-tune")
    return _Registries(
        datasets=read(Dataset, "datasets"),
        models=read(Model, "models"),
        prompts=prompts,
        recipes=recipes,
        decode=read(Decode, "decode"),
        imports=_read_imports(conf),
        arguments={name: _read_arguments(recipe, conf) for name, recipe in recipes.items()},
    )


def _read_runs(registries: _Registries, conf: Path) -> dict[str, Run]:
    """Return all runs of the sheet by name. Votes are created last: their row may precede that of their voters."""
    rows = []
    for fields in read_sheet(conf / "runs.tsv", optional=["sweep"]):
        where = f"conf/runs.tsv: row {fields.get('run', '?')!r}"
        rows.append(parse_entry(SheetRow, fields, where))
    names = [row.run for row in rows]
    if repeated := [name for number, name in enumerate(names) if name in names[:number]]:
        raise ConfigError(f"conf/runs.tsv: two runs are named {repeated[0]!r}; names must be unique")
    by_row: dict[str, list[Run]] = {}
    made: dict[str, Run] = {}
    for row in sorted(rows, key=lambda row: row.train.startswith(VOTE)):
        by_row[row.run] = list(_expand(row, registries, made))
        made |= {run.name: run for run in by_row[row.run]}
    runs = {run.name: run for name in names for run in by_row[name]}
    for run in runs.values():
        _check_run(run, conf)
    return runs


def _select(selection: Selection, runs: Mapping[str, Run]) -> tuple[str, ...]:
    """Return the names of the selected runs. The name of a row selects all its runs."""
    selected: list[str] = []
    for name in selection.runs:
        chosen = [name] if name in runs else [run.name for run in runs.values() if run.row == name]
        if not chosen:
            rows = dict.fromkeys(run.row for run in runs.values())
            raise ConfigError(f"conf/config.yaml: runs: no {name!r} in conf/runs.tsv; there are: {', '.join(rows)}")
        selected += chosen
    return tuple(dict.fromkeys(selected))


def load_study(config: Mapping[str, object], conf: Path = CONF) -> Study:
    """Read and check everything under `conf`.

    `config` is the content of conf/config.yaml, with changes from the command line (`--config runs=a,b`).
    Raises ConfigError with one line per problem, each naming file, key and the fix.
    """
    selection = parse_entry(Selection, config, "conf/config.yaml")
    registries = _read_registries(conf)
    runs = _read_runs(registries, conf)
    selected = _select(selection, runs)
    for run in (runs[name] for name in selected):
        for split in selection.splits:
            if split not in run.dataset.splits.files():
                where = f"dataset {run.dataset.name!r} of run {run.name!r}"
                raise ConfigError(f"conf/config.yaml: splits: {where} has no split {split!r}")
            if isinstance(run, ImportedRun) and split not in run.imported.files():
                where = f"conf/imports.yaml: {run.imported.name}: test_predictions"
                raise ConfigError(f"{where}: missing; conf/config.yaml selects the test split (splits)")
    for name in selection.local_archive:
        if name not in registries.datasets or registries.datasets[name].archive is None:
            raise ConfigError(f"conf/config.yaml: local_archive: {name!r} is not a dataset with an archive")
    return Study(
        registries.datasets,
        registries.models,
        registries.prompts,
        registries.recipes,
        registries.decode,
        runs,
        selected,
        selection.splits,
        selection.local_archive,
        selection.cuda,
    )


def read_study(overrides: Mapping[str, object] | None = None, conf: Path = CONF) -> Study:
    """Return the study of conf/config.yaml. `overrides`, from the command line, replace its values."""
    config = read_yaml(conf / "config.yaml")
    if not isinstance(config, dict):
        raise ConfigError(f"{conf / 'config.yaml'}: expected keys and values")
    return load_study({**config, **(overrides or {})}, conf)
