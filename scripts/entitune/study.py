"""The study: what conf/ says, read, checked and joined into runs.

Needs PyYAML and jsonschema (the workflow environment).
"""

from __future__ import annotations

import csv
import itertools
from collections.abc import Hashable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jsonschema
import yaml

from entitune.engines.llamafactory_arguments import check_recipe
from entitune.engines.vllm_settings import check_adapter_served

REGISTRIES = ("datasets", "models", "prompts", "recipes", "decode")
NO_TRAINING = "none"
VOTE = "vote:"


class ConfigError(Exception):
    """A mistake in conf/, with file, key and what would be right."""


@dataclass(frozen=True)
class Run:
    """One row of conf/runs.tsv, its names looked up. A row with a sweep gives one run a combination."""

    name: str
    dataset: str
    model: str
    prompt: str
    recipe: str | None
    """A name in `Study.recipes`; None where the base model predicts as it is (zero-shot, few-shot)."""
    decode: str
    seeds: tuple[int, ...]
    row: str
    """The name of its row in the sheet."""
    overrides: dict[str, Any] = field(default_factory=dict)
    """LLaMA-Factory arguments of a sweep, over those of the recipe."""
    vote_of: str | None = None
    """The run whose seeds vote; such a run neither trains nor predicts."""


@dataclass(frozen=True)
class Study:
    """Everything under conf/, checked. The registries are the YAML files' dictionaries with defaults filled in."""

    runs: dict[str, Run]
    selected: tuple[str, ...]
    """The runs that results/metrics.tsv covers."""
    datasets: dict[str, dict[str, Any]]
    models: dict[str, dict[str, Any]]
    prompts: dict[str, dict[str, Any]]
    recipes: dict[str, dict[str, Any]]
    decode: dict[str, dict[str, Any]]
    local_archive: dict[str, str]

    def run(self, name: str) -> Run:
        """The run of that name. Raises ConfigError naming the runs that there are."""
        if name not in self.runs:
            raise ConfigError(f"conf/runs.tsv has no run {name!r}; it has: {', '.join(self.runs)}")
        return self.runs[name]

    def train_arguments(self, run: Run) -> dict[str, Any]:
        """LLaMA-Factory's hyper-parameters of a run: its recipe's file under the run's overrides."""
        assert run.recipe is not None, f"{run.name} does not train"
        return {**self.recipes[run.recipe]["arguments"], **run.overrides}


class _UniqueKeyLoader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # the C parser is ten times faster
    """PyYAML keeps the last of two equal keys without a word; here the second is an error."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[Any] = set()
        for key_node, _ in node.value:
            if key_node.tag == "tag:yaml.org,2002:merge":  # <<: the keys of another entry, below this one's own
                continue
            key = self.construct_object(key_node, deep=True)
            if key in seen:
                line = key_node.start_mark.line + 1
                raise ConfigError(f"{node.start_mark.name}:{line}: {key!r} stands twice; names must be unique")
            seen.add(key)
        return super().construct_mapping(node, deep)


def read_yaml(path: Path) -> Any:
    """A YAML file's value. Raises ConfigError with file and line where it is not YAML or a key stands twice."""
    try:
        with path.open(encoding="utf-8") as stream:
            return yaml.load(stream, _UniqueKeyLoader)
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such file") from None
    except yaml.YAMLError as error:
        raise ConfigError(f"{path}: not YAML: {error}") from None


def read_sheet(path: Path) -> list[dict[str, str]]:
    """The rows of a tab-separated file with a header line; lines that are empty or begin with # are skipped."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such file") from None
    numbered = [(number, line) for number, line in enumerate(lines, 1) if line.strip() and not line.startswith("#")]
    rows = list(csv.reader((line for _, line in numbered), delimiter="\t"))
    if not rows:
        raise ConfigError(f"{path}: empty; expected a header line and one row a run")
    header, *body = rows
    for (number, _), row in zip(numbered[1:], body, strict=True):
        if len(row) != len(header):
            raise ConfigError(f"{path}:{number}: {len(row)} columns, the header has {len(header)} (tab-separated)")
    return [dict(zip(header, row, strict=True)) for row in body]


def _check(value: Any, schema: dict[str, Any], name: str, file: str) -> None:
    validator = jsonschema.Draft202012Validator({"$defs": schema["$defs"], **schema[name]})
    problems = sorted(validator.iter_errors(value), key=lambda error: list(map(str, error.absolute_path)))
    if problems:
        raise ConfigError("\n".join(_describe(problem, value, file) for problem in problems))


def _describe(error: jsonschema.ValidationError, value: Any, file: str) -> str:
    path = list(error.absolute_path)
    if file.endswith(".tsv") and path:
        path = [f"row {value[path[0]].get('run', path[0])!r}", *path[1:]]
    where = ": ".join([file, *map(str, path)])
    description = error.schema.get("description", "")
    if error.validator == "additionalProperties":
        unknown = [key for key in error.instance if key not in error.schema["properties"]]
        return f"{where}: unknown key {', '.join(map(repr, unknown))}; known: {', '.join(error.schema['properties'])}"
    if error.validator == "not":
        return f"{where}: {error.instance!r} is reserved or holds '..'; choose another name"
    if error.validator == "pattern":
        return (
            f"{where}: {error.instance!r} is not {description or 'of the right form'} (pattern {error.validator_value})"
        )
    if error.validator == "enum":
        return f"{where}: {error.instance!r} is not one of {', '.join(map(str, error.validator_value))}"
    return f"{where}: {error.message}" + (f" ({description})" if description else "")


def _fill_defaults(registry: dict[str, Any], schema: dict[str, Any]) -> dict[str, Any]:
    defaults = {
        key: rule["default"] for key, rule in schema["additionalProperties"]["properties"].items() if "default" in rule
    }
    return {name: {**defaults, **entry} for name, entry in registry.items()}


def _parse_sweep(text: str) -> list[dict[str, Any]]:
    """`lora_rank=8,16;learning_rate=1.0e-4` as one dictionary a combination, in the order given."""
    axes = []
    for axis in filter(None, text.split(";")):
        key, values = axis.split("=")
        axes.append([(key, yaml.safe_load(value)) for value in values.split(",")])
    return [dict(combination) for combination in itertools.product(*axes)]


def _expand(row: dict[str, str], registries: dict[str, dict[str, Any]]) -> Iterable[Run]:
    file = f"conf/runs.tsv: row {row['run']!r}"
    vote_of = row["train"].removeprefix(VOTE) if row["train"].startswith(VOTE) else None
    recipe = None if vote_of or row["train"] == NO_TRAINING else row["train"]
    sweep = row.get("sweep") or ""
    for combination in _parse_sweep(sweep):
        overrides = dict(combination)
        prompt = str(overrides.pop("prompt", row["prompt"]))
        names = [("dataset", "datasets", row["dataset"]), ("model", "models", row["model"])]
        names += [("prompt", "prompts", prompt), ("decode", "decode", row["decode"])]
        names += [("train", "recipes", recipe)] if recipe else []
        for column, registry, name in names:
            if name not in registries[registry]:
                known = ", ".join([*registries[registry], *([NO_TRAINING, f"{VOTE}RUN"] if column == "train" else [])])
                raise ConfigError(f"{file}: {column}: no {name!r} in conf/{registry}.yaml; there are: {known}")
        if overrides and not recipe:
            raise ConfigError(f"{file}: sweep: {', '.join(overrides)} cannot vary in a run that does not train")
        if unknown := [key for key in overrides if key not in registries["recipes"][recipe]["arguments"]]:
            raise ConfigError(
                f"{file}: sweep: {unknown[0]!r} is neither prompt nor a key of the recipe's "
                f"conf/{registries['recipes'][recipe]['config']}"
            )
        suffix = "".join(f"+{key}={value}" for key, value in combination.items())
        seeds = tuple(map(int, row["seeds"].split(",")))
        if len(set(seeds)) < len(seeds):
            raise ConfigError(f"{file}: seeds: {row['seeds']!r} names a seed twice")
        yield Run(
            name=row["run"] + suffix,
            dataset=row["dataset"],
            model=row["model"],
            prompt=prompt,
            recipe=recipe,
            decode=row["decode"],
            seeds=seeds,
            row=row["run"],
            overrides=overrides,
            vote_of=vote_of,
        )


def _check_vote(run: Run, runs: dict[str, Run]) -> None:
    """A vote needs a run of the same dataset with at least three seeds, and has itself one."""
    where = f"conf/runs.tsv: row {run.name!r}"
    voters = runs.get(str(run.vote_of))
    if voters is None or voters.vote_of:
        raise ConfigError(f"{where}: train: {VOTE}{run.vote_of} names no run of the sheet that predicts")
    if voters.dataset != run.dataset:
        raise ConfigError(f"{where}: dataset: {run.dataset!r}, but {voters.name!r} is on {voters.dataset!r}")
    if len(voters.seeds) < 3 or len(run.seeds) != 1:
        raise ConfigError(f"{where}: seeds: a vote takes a run of three seeds or more and has itself one")


def _check_recipe(name: str, recipe: dict[str, Any], conf: Path) -> dict[str, Any]:
    """The arguments of a recipe's LLaMA-Factory file, with the checks that no schema can make."""
    path = conf / recipe["config"]
    arguments: Any = read_yaml(path)
    if not isinstance(arguments, dict):
        raise ConfigError(f"{path}: expected LLaMA-Factory arguments as key: value lines")
    if problems := check_recipe(arguments, str(path)):
        raise ConfigError("\n".join(problems))
    if recipe["gpus"] == 0 and not arguments.get("use_cpu"):
        raise ConfigError(f"conf/recipes.yaml: {name}: gpus: 0 needs use_cpu: true in {path}")
    return arguments


def load_study(config: dict[str, Any], conf: Path = Path("conf")) -> Study:
    """Read and check everything under `conf`.

    `config` is the content of conf/config.yaml, possibly changed on the command line (`--config runs=a,b`).
    Raises ConfigError with one line a problem, each naming file, key and what would be right.
    """
    schema = read_yaml(conf / "schemas" / "study.schema.yaml")
    config = dict(config)
    if isinstance(config.get("runs"), str):  # --config runs=a,b arrives as text
        config["runs"] = [name.strip() for name in config["runs"].split(",")]
    _check(config, schema, "config", "conf/config.yaml")

    registries = {}
    for name in REGISTRIES:
        registries[name] = read_yaml(conf / f"{name}.yaml")
        _check(registries[name], schema, name, f"conf/{name}.yaml")
        registries[name] = _fill_defaults(registries[name], schema[name])

    for name, prompt in registries["prompts"].items():
        texts = [(conf / prompt[turn]) for turn in ("system", "user") if turn in prompt]
        if missing := [str(path) for path in texts if not path.is_file()]:
            raise ConfigError(f"conf/prompts.yaml: {name}: no such file: {', '.join(missing)}")
        if sum(path.read_text(encoding="utf-8").count("{labels}") for path in texts) != 1:
            raise ConfigError(f"conf/prompts.yaml: {name}: {{labels}} must stand once in {', '.join(map(str, texts))}")
    for name, recipe in registries["recipes"].items():
        registries["recipes"][name] = {**recipe, "arguments": _check_recipe(name, recipe, conf)}

    rows = read_sheet(conf / "runs.tsv")
    _check(rows, schema, "runs", "conf/runs.tsv")
    runs: dict[str, Run] = {}
    groups: dict[str, list[str]] = {}
    for row in rows:
        if row["run"] in groups:
            raise ConfigError(f"conf/runs.tsv: two runs are named {row['run']!r}; names must be unique")
        for run in _expand(row, registries):
            if run.recipe and "train" not in registries["datasets"][run.dataset]["splits"]:
                raise ConfigError(f"conf/runs.tsv: row {row['run']!r}: dataset {run.dataset!r} has no split train")
            if run.recipe:
                where = f"conf/runs.tsv: row {row['run']!r}: sweep"
                arguments = {**registries["recipes"][run.recipe]["arguments"], **run.overrides}
                found = check_recipe(arguments, where)
                if registries["decode"][run.decode]["adapter"] != "merged":
                    found += check_adapter_served(arguments, f"conf/runs.tsv: row {row['run']!r}")
                if found:
                    raise ConfigError("\n".join(found))
            runs[run.name] = run
            groups.setdefault(row["run"], []).append(run.name)

    for run in runs.values():
        if run.vote_of:
            _check_vote(run, runs)

    selected: list[str] = []
    for name in config["runs"]:
        if name not in runs and name not in groups:
            raise ConfigError(f"conf/config.yaml: runs: no {name!r} in conf/runs.tsv; there are: {', '.join(groups)}")
        selected += [name] if name in runs else groups[name]
    local_archive = config.get("local_archive") or {}
    for name in local_archive:
        if "archive" not in registries["datasets"].get(name, {}):
            raise ConfigError(f"conf/config.yaml: local_archive: {name!r} is no dataset with an archive")
    return Study(runs, tuple(dict.fromkeys(selected)), **registries, local_archive=local_archive)
