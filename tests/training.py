"""Inputs of a training for a few sentences, made in seconds by the scripts without the workflow."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from helpers import ROOT, must_run, python_of, run_code

from entitune.files import write_rows
from entitune.prompting.answer_formats.writing import write_answer
from entitune.prompting.prompt import Prompt
from entitune.records import Entity, Sentence

MODEL = ROOT / "data" / "models" / "entitune-tiny"
CHAT = json.dumps({"template": "qwen"})
SENTENCES = [Sentence(f"train-{i}", f"第{i}天高远去了北岭。", (Entity("name", "高远", 3, 5),)) for i in range(1, 8)]
RECIPE = {"cutoff_len": 512, "lora_rank": 8, "per_device_train_batch_size": 2, "use_cpu": True, "bf16": True}
SEVERAL = """
import importlib, json, sys
from entitune.cli import InputError
main, outcomes = importlib.import_module(sys.argv[1]).main, []
for arguments in json.loads(sys.argv[2]):
    sys.argv[1:] = arguments
    try:
        main()
        outcomes.append("")
    except InputError as error:
        outcomes.append(str(error))
print("OUTCOMES" + json.dumps(outcomes))
"""


def run_several(script: str, calls: Sequence[Sequence[object]], environment: str = "train") -> list[str]:
    """Run a script's main for each list of arguments in one process; return the error messages, or empty strings."""
    printed = run_code(environment, SEVERAL, script, json.dumps([list(map(str, call)) for call in calls]))
    outcomes: list[str] = json.loads(printed.split("OUTCOMES")[1])
    return outcomes


def write_alpaca(path: Path, prompt: Prompt, sentences: Sequence[Sentence] = SENTENCES) -> Path:
    """Write the alpaca rows of sentences with a prompt."""
    write_rows(path, (prompt.row(sentence, write_answer("json", sentence)) for sentence in sentences))
    return path


def prepare(
    folder: Path,
    prompts: dict[str, Prompt],
    sentences: Sequence[Sentence] = SENTENCES,
    model: Path = MODEL,
    chat: str = CHAT,
) -> None:
    """For each prompt, make a folder with train.json, its tokens, and the registered rows in cutoff/."""
    prepare_chats({folder: chat}, prompts, sentences, model)


def prepare_chats(
    chats: Mapping[Path, str],
    prompts: dict[str, Prompt],
    sentences: Sequence[Sentence] = SENTENCES,
    model: Path = MODEL,
) -> None:
    """Do the same in several folders with different chat settings; one process encodes all of them."""
    calls: list[list[object]] = []
    for folder, chat in chats.items():
        for name, prompt in prompts.items():
            path = folder / name
            path.mkdir(parents=True)
            alpaca = write_alpaca(path / "train.json", prompt, sentences)
            words = ["--model", model, "--chat", chat, "--alpaca", alpaca, "--output", path / "train.tokens.jsonl"]
            calls.append(words)
    assert set(run_several("encode_split", calls)) == {""}
    for folder in chats:
        (folder / "manifest.json").write_text("{}")
        for path in map(folder.joinpath, prompts):
            words = ["--alpaca", path / "train.json", "--tokens", path / "train.tokens.jsonl", "--cutoff-len", 512]
            must_run("register_dataset", *words, "--name", "mine_train", "--output-dir", path / "cutoff")


def render(folder: Path, recipe: dict[str, Any], chat: str = CHAT, **changes: Any) -> Path:
    """Render a recipe for the rows in `folder`, and set arguments that a recipe may not set."""
    options = ["--arguments", json.dumps(recipe), "--chat", chat, "--dataset", "mine_train", "--seed", 1]
    options += ["--train", folder / "cutoff" / "train.json", "--manifest", folder.parent / "manifest.json"]
    options += ["--eval-dataset", "held_out"] if "val_size" in recipe else []
    path = folder / f"{hashlib.sha256(repr([recipe, changes]).encode()).hexdigest()[:16]}.yaml"
    must_run("render_config", *options, "--locks", __file__, "--checkpoints", folder / "work", "--output", path)
    rendered = yaml.safe_load(path.read_text(encoding="utf-8"))
    path.write_text(yaml.safe_dump(rendered | {"model_name_or_path": str(MODEL)} | changes), encoding="utf-8")
    return path


def training_command(folder: Path, name: str, recipe: dict[str, Any], *options: str) -> list[str]:
    """Return the command of a training: checkpoints in work-{name}, log {name}.log, adapter in adapter-{name}."""
    config = render(folder, recipe, output_dir=str(folder / f"work-{name}" / "checkpoints" / "key"))
    command = [sys.executable, str(ROOT / "scripts" / "train_adapter.py"), "--config", str(config)]
    command += ["--llamafactory", str(python_of("train").with_name("llamafactory-cli")), "--title", name]
    return [*command, "--log", str(folder / f"{name}.log"), "--output-dir", str(folder / f"adapter-{name}"), *options]


def start_training(folder: Path, name: str, recipe: dict[str, Any], *options: str) -> subprocess.Popen[str]:
    """Start a training in the background."""
    return subprocess.Popen(training_command(folder, name, recipe, *options), stderr=subprocess.PIPE, text=True)
