"""LLaMA-Factory's arguments: all are classified, and recipes are checked before anything runs."""

from __future__ import annotations

import json
from typing import Any

import pytest
import yaml
from helpers import ROOT, run_code

from entitune.engines.llamafactory_arguments import OWNED, RECIPE, REFUSED, RecipeArguments, check_recipe
from entitune.engines.vllm_settings import check_adapter_served

RECIPES = sorted((ROOT / "conf" / "train").glob("*.yaml"))
FIELDS = """
import dataclasses, enum, json
from llamafactory.hparams.parser import _TRAIN_ARGS

def plain(field):
    if field.default is dataclasses.MISSING:
        return None
    return field.default.value if isinstance(field.default, enum.Enum) else field.default

fields = [field for arguments in _TRAIN_ARGS for field in dataclasses.fields(arguments) if field.init]
print("FIELDS" + json.dumps({field.name: plain(field) for field in fields}))
"""


@pytest.fixture(scope="module")
def defaults() -> dict[str, Any]:
    """LLaMA-Factory's own arguments with their defaults, from the environment `train`."""
    fields: dict[str, Any] = json.loads(run_code("train", FIELDS).split("FIELDS")[1])
    return fields


@pytest.mark.engine
def test_every_argument_of_the_installed_release_is_classified_once(defaults: dict[str, Any]) -> None:
    known = [*RECIPE, *OWNED, *REFUSED]
    assert sorted(known) == sorted(set(known))
    assert set(defaults) - set(known) == set(), "classify these in entitune/engines/llamafactory_arguments.py"
    assert set(known) - set(defaults) == set(), "LLaMA-Factory no longer has these"


@pytest.mark.engine
def test_types_are_those_of_llamafactory(defaults: dict[str, Any]) -> None:
    """Defaults are allowed values, unless the pipeline needs another one."""
    needed = {"do_train", "overwrite_cache", "plot_loss", "disable_tqdm", "max_steps"}
    given = {key: value for key, value in defaults.items() if key in RECIPE - needed and value is not None}
    RecipeArguments.model_validate(given)


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_the_committed_recipes_are_valid(path: Any) -> None:
    assert check_recipe(yaml.safe_load(path.read_text(encoding="utf-8")), str(path)) == []


def problems(**arguments: object) -> list[str]:
    return check_recipe({"cutoff_len": 512, **arguments}, "conf/train/mine.yaml")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"lora_rnak": 8}, "lora_rnak: not an argument of LLaMA-Factory; did you mean lora_rank?"),
        ({"group_by_length": True}, "did you mean train_sampling_strategy: group_by_length?"),
        ({"epochs": 3}, "did you mean num_train_epochs?"),
        ({"batch_size": 3}, "did you mean per_device_train_batch_size?"),
        ({"tokenizd_path": "x"}, "did you mean tokenized_path?"),
        ({"zzz": 8}, "zzz: not an argument of LLaMA-Factory; remove it"),
        ({"default_system": "x"}, "default_system: the pipeline sets this argument: it comes from the run's prompt"),
        ({"enable_thinking": False}, "set `thinking` in conf/models.yaml; remove it"),
        ({"tokenized_path": "x"}, "tokenized_path: replaces the rows that the pipeline has checked; remove it"),
        ({"max_samples": 5}, "max_samples: silently leaves out rows"),
        ({"packing": True}, "packing: lets the rows of a batch see each other; use neat_packing"),
        ({"temperature": 0.5}, "conf/decode.yaml"),
        ({"stage": "dpo"}, "stage: 'dpo': input should be 'sft'"),
        ({"report_to": "wandb"}, "report_to: 'wandb': input should be 'none'"),
        ({"flash_attn": "fa2"}, "flash_attn: 'fa2': input should be 'auto', 'disabled' or 'sdpa'"),
        ({"lora_rank": "8"}, "lora_rank: YAML reads 8 as text"),
        ({"learning_rate": "1e-4"}, "learning_rate: YAML reads 1e-4 as text"),
        ({"lora_rank": 8.5}, "lora_rank: 8.5: input should be a valid integer"),
        ({"lora_rank": True}, "lora_rank: True: input should be a valid integer"),
        ({"lora_rank": 0}, "lora_rank: 0: input should be greater than or equal to 1"),
        ({"lora_dropout": 1}, "lora_dropout: 1: input should be less than 1"),
        ({"bf16": "yes"}, "bf16: 'yes': input should be a valid boolean"),
        ({"save_strategy": False}, "put the word in quotes"),
        ({"lora_target": ["q_proj"]}, "lora_target: ['q_proj']: input should be a valid string"),
        ({"cutoff_len": None}, "cutoff_len: missing"),
        ({"lora_target": "q_proj, all"}, "lora_target: next to other names, `all` is read as the name of a layer"),
        ({"learning_rate": float("inf")}, "learning_rate: inf: input should be a finite number"),
        ({"lr_scheduler_kwargs": {"a": {1, 2}}}, "lr_scheduler_kwargs: {'a': {1, 2}}: "),
        ({"num_train_epochs": 1.0, "max_steps": 40}, "max_steps: excludes num_train_epochs"),
        ({"fp16": True, "use_cpu": True}, "fp16: needs a GPU, but use_cpu is true"),
        ({"bf16": True, "fp16": True}, "fp16: excludes bf16"),
        ({"pissa_init": True}, "pissa_init: needs pissa_iter: -1"),
        ({"pissa_init": True, "pissa_iter": -1, "quantization_bit": 4}, "which quantization_bit replaces"),
        ({"quantization_bit": 8}, "quantization_bit: 8: input should be 4"),
        ({"optim": "paged_adamw_8bit", "use_cpu": True}, "optim: paged_adamw_8bit needs a GPU"),
        ({"eval_strategy": "epoch"}, "val_size: missing"),
        ({"val_size": 5}, "val_size: 5: input should be less than 1"),
        ({"eval_dataset": "mine"}, "the pipeline sets this argument: it comes from the training split"),
        ({"logging_steps": 2.5}, "logging_steps: must be a share below 1 or a whole number"),
        ({"train_sampling_strategy": "group_by_length"}, "save_strategy: must be epoch with group_by_length"),
        (
            {"val_size": 0.1, "eval_strategy": "epoch", "load_best_model_at_end": True},
            "load_best_model_at_end: needs eval_strategy and save_strategy to be equal",
        ),
    ],
)
def test_a_mistake_is_named_with_file_key_and_fix(arguments: dict[str, object], message: str) -> None:
    (problem,) = problems(**arguments)
    assert problem.startswith("conf/train/mine.yaml: ")
    assert message in problem


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"save_strategy": "no"}, "save_strategy: `no` leaves no checkpoints for `select`"),
        ({"val_size": 0.1}, "val_size: `select` already holds out rows"),
        ({"eval_strategy": "epoch", "save_strategy": "epoch", "load_best_model_at_end": True}, "by F1; remove one"),
    ],
)
def test_mistakes_in_a_recipe_with_select_are_named(arguments: dict[str, object], message: str) -> None:
    (problem,) = check_recipe({"cutoff_len": 512, **arguments}, "conf/train/mine.yaml", selects=True)
    assert problem.startswith("conf/train/mine.yaml: ")
    assert message in problem


def test_a_recipe_with_select_evaluates_on_its_held_out_rows() -> None:
    assert check_recipe({"cutoff_len": 512, "eval_strategy": "epoch", "save_total_limit": 1}, "x", selects=True) == []


def test_all_mistakes_are_named_at_once() -> None:
    assert len(problems(lora_rank="8", lora_rnak=1, seed=1)) == 3


def test_valid_arguments_of_llamafactory_are_accepted() -> None:
    assert problems(learning_rate=1, include_num_input_tokens_seen=True, neat_packing=True, logging_steps=0.1) == []
    assert (
        problems(val_size=0.1, eval_strategy="steps", eval_steps=50, save_steps=100, load_best_model_at_end=True) == []
    )


@pytest.mark.parametrize(
    "arguments",
    [
        {"use_dora": True},
        {"pissa_init": True},
        {"additional_target": "lm_head"},
        {"lora_rank": 513},
        {"lora_target": "q_proj, lm_head"},
    ],
)
def test_adapters_that_vllm_does_not_serve_are_named(arguments: dict[str, object]) -> None:
    (problem,) = check_adapter_served(arguments, "conf/runs.tsv: row 'x'")
    assert problem.startswith(f"conf/runs.tsv: row 'x': {next(iter(arguments))}: ")
    assert "`adapter: merged`" in problem


def test_adapters_that_vllm_serves() -> None:
    assert check_adapter_served({"lora_rank": 512, "use_rslora": True, "lora_target": "all"}, "x") == []
    assert check_adapter_served({"use_dora": False, "additional_target": None}, "x") == []
