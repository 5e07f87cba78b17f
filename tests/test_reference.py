"""The reference run without its training: its exact settings, number of examples and number of steps."""

from __future__ import annotations

import json
import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from helpers import ROOT, must_run, python_of, read_jsonl, run_code, run_script, snakemake, wait_for

from entitune.runs import TunedRun
from entitune.study import load_study

TRAIN_BIN = python_of("train").parent
CHAT = json.dumps({"template": "qwen"})
RECIPES = yaml.safe_load((ROOT / "conf" / "recipes.yaml").read_text(encoding="utf-8"))
REFERENCE = {
    "stage": "sft",
    "do_train": True,
    "finetuning_type": "lora",
    "flash_attn": "auto",
    "lora_rank": 8,
    "lora_target": "all",
    "cutoff_len": 1024,
    "overwrite_cache": True,
    "preprocessing_num_workers": 16,
    "dataloader_num_workers": 8,
    "logging_steps": 10,
    "save_steps": 500,
    "plot_loss": True,
    "save_only_model": False,
    "per_device_train_batch_size": 4,
    "gradient_accumulation_steps": 8,
    "learning_rate": 1.0e-4,
    "num_train_epochs": 3.0,
    "lr_scheduler_type": "cosine",
    "warmup_ratio": 0.1,
    "bf16": True,
    "ddp_timeout": 180000000,
    "val_size": 0.1,
    "per_device_eval_batch_size": 1,
    "eval_strategy": "steps",
    "eval_steps": 500,
}
PARSE = """
import json, sys, yaml
from llamafactory.hparams import get_train_args
# bfloat16 without a GPU is only taken with use_cpu; nothing else is changed.
outcomes = []
for config in sys.argv[2:]:
    arguments = yaml.safe_load(open(config)) | {"use_cpu": True, "output_dir": sys.argv[1]}
    model, data, training, finetuning, _ = get_train_args(arguments)
    parsed = {}
    for part in (finetuning, data, model, training):
        parsed |= {key: value for key, value in vars(part).items() if key in arguments}
    outcomes.append(parsed)
print("PARSED" + json.dumps(outcomes, default=str))
"""


def test_the_recipe_is_exactly_the_reference() -> None:
    study = load_study({"runs": ["cluener-qwen2.5-7b"]}, ROOT / "conf")
    run = study.run("cluener-qwen2.5-7b")
    assert isinstance(run, TunedRun)
    assert run.arguments == REFERENCE
    assert (run.model.name, run.dataset.name, run.prompt.name) == ("qwen2.5-7b-instruct", "cluener", "ner-zh")
    assert run.model.id == "Qwen/Qwen2.5-7B-Instruct"
    assert run.model.template == "qwen"


def test_the_fast_recipe_keeps_the_settings_that_affect_quality() -> None:
    study = load_study({"runs": ["cluener-qwen2.5-7b-fast"]}, ROOT / "conf")
    run = study.run("cluener-qwen2.5-7b-fast")
    assert isinstance(run, TunedRun)
    fast: dict[str, Any] = dict(run.arguments)
    keys = ("lora_rank", "lora_target", "learning_rate", "num_train_epochs", "warmup_ratio", "val_size")
    assert {key: fast[key] for key in keys} == {key: REFERENCE[key] for key in keys}
    assert RECIPES["reference-fast"]["whole_accumulations"] is RECIPES["reference"]["whole_accumulations"] is True
    assert fast["per_device_train_batch_size"] * fast["gradient_accumulation_steps"] == 4 * 8


def render(folder: Path, recipe: str, model: Path) -> dict[str, object]:
    """Render a recipe for CLUENER as the pipeline does, with the embedded base model."""
    arguments = yaml.safe_load((ROOT / "conf" / "train" / f"{recipe}.yaml").read_text())
    data = folder / "reference-rows/train.json"
    (folder / "manifest").mkdir(exist_ok=True)
    given = ["--arguments", json.dumps(arguments), "--chat", CHAT, "--manifest", model / "manifest.json"]
    given += ["--dataset", "cluener_train", "--train", data, "--seed", 1, "--locks", "envs/train.txt"]
    given += ["--checkpoints", "work", "--output", f"{recipe}.yaml"]
    given += ["--whole-accumulations"] if RECIPES[recipe].get("whole_accumulations") else []
    given += ["--eval-dataset", "held_out"] if "val_size" in arguments else []
    done = run_script("render_config", *given, cwd=folder)
    assert done.returncode == 0, done.stderr
    rendered: dict[str, object] = yaml.safe_load((folder / f"{recipe}.yaml").read_text())
    return rendered


@pytest.fixture(scope="module")
def cluener(demo: Path, cluener_archive: Path) -> Path:
    """The demo with CLUENER's training rows in the reference's prompt, a tenth of them held out."""
    option = f"local_archive={{cluener: {cluener_archive}}}"
    done = snakemake(demo, "results/datasets/cluener/ner-zh/train.json", "--cores", "all", "--config", option)
    assert done.returncode == 0, done.stdout
    folder, alpaca = demo / "reference-rows", demo / "results/datasets/cluener/ner-zh/train.json"
    folder.mkdir(exist_ok=True)
    chosen = {"train": folder / "kept.jsonl", "held_out": folder / "held_out.jsonl"}
    words = ["--sentences", demo / "results/datasets/cluener/train.jsonl", "--hold-out", 0.1, "--seed", 1]
    must_run("select_rows", *words, "--output", chosen["train"], "--held-out", chosen["held_out"])
    info = {}
    for name, path in chosen.items():
        ids = {row["id"] for row in read_jsonl(path)}
        rows = [row for row in json.loads(alpaca.read_text(encoding="utf-8")) if row["id"] in ids]
        (folder / f"{name}.json").write_text(json.dumps(rows), encoding="utf-8")
        columns = {"prompt": "instruction", "query": "input", "response": "output", "system": "system"}
        info[name] = {"file_name": f"{name}.json", "columns": {**columns, "history": "history"}}
    info["cluener_train"] = info.pop("train")
    (folder / "dataset_info.json").write_text(json.dumps(info))
    return demo


@pytest.mark.engine
def test_llamafactory_takes_every_value(cluener: Path, tmp_path: Path) -> None:
    recipes = ("reference", "reference-fast", "reference-r64", "smollm2")
    configs = {
        f"{recipe}.yaml": render(cluener, recipe, cluener / "results/models/entitune-tiny") for recipe in recipes
    }
    printed = run_code("train", PARSE, tmp_path, *configs, cwd=cluener)
    # The parser accepts all keys; it stores some values under another name or type.
    renamed = {"output_dir", "lora_target", "template", "dataset", "eval_dataset", "warmup_ratio", "report_to"}
    for rendered, parsed in zip(configs.values(), json.loads(printed.split("PARSED")[1]), strict=True):
        same = {key for key, value in rendered.items() if str(parsed.get(key)).lower() == str(value).lower()}
        assert set(rendered) - same <= renamed, {key: parsed.get(key) for key in set(rendered) - same - renamed}


@pytest.mark.engine
def test_examples_and_steps_are_those_of_the_reference(cluener: Path) -> None:
    """LLaMA-Factory itself counts them, with the embedded base model; it is stopped after that."""
    render(cluener, "reference", cluener / "results/models/entitune-tiny")
    environment = {**os.environ, "PATH": f"{TRAIN_BIN}:{os.environ['PATH']}", "HF_HUB_OFFLINE": "1"}
    log = cluener / "reference.log"
    with log.open("w") as stream:
        command = [str(TRAIN_BIN / "llamafactory-cli"), "train", "reference.yaml", "use_cpu=true"]
        process = subprocess.Popen(command, cwd=cluener, env=environment, stdout=stream, stderr=stream)

        def has_counted() -> bool:
            return process.poll() is not None or "Total optimization steps" in log.read_text(errors="replace")

        try:
            wait_for(has_counted, 600, "number of steps")
        finally:
            process.terminate()
            process.wait()
    text = log.read_text(errors="replace")
    counted = dict(re.findall(r"(Num examples|Total optimization steps) = ([\d,]+)", text))
    assert counted == {"Num examples": "9,673", "Total optimization steps": "906"}, text[-2000:]
