"""The pipeline's assumptions about the engines, checked with the real engines."""

from __future__ import annotations

import json
import signal
import subprocess
from pathlib import Path

import pytest
import yaml
from helpers import (
    Result,
    edit_yaml,
    losses,
    python_of,
    read_jsonl,
    read_tsv,
    run_code,
    run_script,
    snakemake,
    train_command,
    wait_for,
)

from entitune.prompting.confidence import Token, TokenProbabilities

pytestmark = pytest.mark.engine

TRAINED_ON = """
import json, sys, yaml
from llamafactory.data import get_dataset, get_template_and_fix_tokenizer
from llamafactory.hparams import get_train_args
from llamafactory.model import load_tokenizer

arguments = yaml.safe_load(open(sys.argv[1]))
model_args, data_args, training_args, _, _ = get_train_args(arguments | {"output_dir": sys.argv[2]})
tokenizer_module = load_tokenizer(model_args)
template = get_template_and_fix_tokenizer(tokenizer_module["tokenizer"], data_args)
data = get_dataset(template, model_args, data_args, training_args, stage="sft", **tokenizer_module)
rows = [[row["input_ids"], row["labels"]] for row in data["train_dataset"]]
json.dump(rows, open(sys.argv[2] + ".json", "w"))
"""
EPOCH = 80
"""Optimisation steps of one epoch of the demo."""
SAVED = 30
"""A checkpoint is written every so many steps."""
IN_FLOAT32 = """
import sys, torch
from transformers import AutoModelForCausalLM, AutoTokenizer

AutoModelForCausalLM.from_pretrained(sys.argv[1], dtype=torch.float32).save_pretrained(sys.argv[2])
AutoTokenizer.from_pretrained(sys.argv[1]).save_pretrained(sys.argv[2])
"""


def run_engine(environment: str, folder: Path, script: str, *arguments: object) -> Result:
    """Run a script in an engine's environment, without network."""
    return run_script(script, *arguments, python=python_of(environment), cwd=folder, env={"HF_HUB_OFFLINE": "1"})


def test_prompts_equal_those_of_llamafactory(demo: Path, tmp_path: Path) -> None:
    """Compare LLaMA-Factory's own data code, from the rendered YAML to input_ids, with tokens.jsonl, row by row."""
    config = demo / "results/demo/seed-1/train.yaml"
    run_code("train", TRAINED_ON, config, tmp_path / "out", cwd=demo)
    trained = json.loads((tmp_path / "out.json").read_text())
    encoded = read_jsonl(demo / "results/datasets/demo/ner-zh-short-brackets/entitune-tiny/train.tokens.jsonl")
    assert len(trained) == len(encoded)
    for (input_ids, labels), record in zip(trained, encoded, strict=True):
        prompt = [token for token, label in zip(input_ids, labels, strict=True) if label == -100]
        assert prompt == record["prompt_ids"]
        assert len(input_ids) - len(prompt) == record["answer_tokens"]


def test_prompts_equal_those_of_the_chat_template(demo: Path) -> None:
    folder = demo / "results/datasets/demo/ner-zh-short-brackets/entitune-tiny"
    sentences = len(read_jsonl(demo / "results/datasets/demo/dev.jsonl"))
    assert json.loads((folder / "dev.predict-cpu.parity.json").read_text()) == {
        "sentences": sentences,
        "equal": sentences,
    }


def test_another_template_stops_the_run(demo: Path, tmp_path: Path) -> None:
    """Template `chatml` equals `qwen`, except for the default system turn."""
    common = [
        "--alpaca",
        "results/datasets/demo/ner-zh-short-brackets/dev.json",
        "--model",
        "results/models/entitune-tiny",
    ]
    tokens = tmp_path / "tokens.jsonl"
    chat = ["--chat", json.dumps({"template": "chatml"})]
    done = run_engine("train", demo, "encode_split", *common, *chat, "--output", tokens)
    assert done.returncode == 0, done.stderr
    parity = tmp_path / "parity.json"
    done = run_engine("predict-cpu", demo, "check_parity", *common, "--tokens", tokens, "--output", parity)
    assert done.returncode == 1
    assert "the prompt served differs from the prompt trained on" in done.stderr
    assert not parity.exists()


@pytest.fixture(scope="module")
def longer(demo: Path) -> Path:
    """A config of more than one epoch, and the adapter of its uninterrupted training."""
    config = yaml.safe_load((demo / "results/demo/seed-1/train.yaml").read_text())
    config |= {"max_steps": EPOCH + 20, "save_strategy": "steps", "save_steps": SAVED}
    config |= {"logging_steps": 1, "output_dir": "work/straight/key"}
    (demo / "straight.yaml").write_text(yaml.safe_dump(config))
    (demo / "killed.yaml").write_text(yaml.safe_dump(config | {"output_dir": "work/killed/key"}))
    done = train(demo, "straight")
    assert done.wait() == 0, done.stderr.read() if done.stderr else ""
    return demo


def processes_of(config: str) -> str:
    """Return the ids of processes with this file's name in their commands."""
    return subprocess.run(["pgrep", "-f", config], capture_output=True, text=True, check=False).stdout


def train(folder: Path, name: str) -> subprocess.Popen[str]:
    return subprocess.Popen(train_command(name), cwd=folder, stderr=subprocess.PIPE, text=True)


def test_a_killed_training_is_resumed_from_its_last_checkpoint(longer: Path) -> None:
    """The training is killed twice, each time in a different way."""
    for step, kill in ((SAVED, signal.SIGKILL), (2 * SAVED, signal.SIGTERM)):
        process = train(longer, "killed")
        checkpoint = longer / f"work/killed/key/checkpoint-{step}/trainer_state.json"
        wait_for(checkpoint.exists, 600, "checkpoint")
        process.send_signal(kill)
        assert process.wait() != 0
        wait_for(lambda: not processes_of("killed.yaml"), 600, "end of the trainer: it outlives its script")
        assert not (longer / "adapters/killed").exists()

    resumed = train(longer, "killed")
    _, errors = resumed.communicate()
    assert resumed.returncode == 0, errors
    assert "resuming from work/killed/key" in errors
    assert "from checkpoint" in (longer / "logs/killed.log").read_text(encoding="utf-8").lower()
    # With the same data order, optimiser state and random numbers, the adapter is the same to the last bit.
    name = "adapter_model.safetensors"
    assert (longer / "adapters/killed" / name).read_bytes() == (longer / "adapters/straight" / name).read_bytes()
    assert losses(longer / "adapters/killed") == losses(longer / "adapters/straight")
    assert not (longer / "work/killed").exists()


def test_a_failed_training_shows_the_error(demo: Path) -> None:
    config = yaml.safe_load((demo / "results/demo/seed-1/train.yaml").read_text())
    (demo / "wrong.yaml").write_text(yaml.safe_dump(config | {"lora_rnak": 8, "output_dir": "work/wrong/key"}))
    process = train(demo, "wrong")
    _, errors = process.communicate()
    assert process.returncode == 1
    assert "lora_rnak" in errors
    assert "Traceback" not in errors.split("the end of")[0]


def test_a_served_adapter_answers_like_the_merged_model(demo: Path, tmp_path: Path) -> None:
    """The adapter as a LoRA module, as on a GPU.

    In float32, because bfloat16 rounds the two paths differently, which matters if two tokens are about equally likely.
    """
    base, adapter = tmp_path / "base", demo / "results/demo/seed-2/adapter"
    run_code("train", IN_FLOAT32, demo / "results/models/entitune-tiny", base)
    merge = ["--model", base, "--adapter", adapter, "--output-dir", tmp_path / "merged"]
    done = run_engine("train", demo, "merge_adapter", *merge)
    assert done.returncode == 0, done.stderr
    settings = {"max_tokens": 200, "max_model_len": 512, "max_num_seqs": 64, "dtype": "float32", "gpus": 0}
    tokens = tmp_path / "tokens.jsonl"
    encoded = demo / "results/datasets/demo/ner-zh-short-brackets/entitune-tiny/dev.tokens.jsonl"
    tokens.write_text("\n".join(encoded.read_text().splitlines()[:40]) + "\n")
    models = {"base": (base, None), "merged": (tmp_path / "merged", None), "served": (base, str(adapter))}
    jobs = [
        {"run": name, "seed": 1, "tokens": str(tokens), "model": str(model), "adapter": served}
        for name, (model, served) in models.items()
    ]
    command = ["--jobs", json.dumps(jobs), "--decode", json.dumps(settings), "--output", tmp_path / "answers.jsonl"]
    done = run_engine("predict-cpu", demo, "predict_shard", *command)
    assert done.returncode == 0, done.stderr
    records = read_jsonl(tmp_path / "answers.jsonl")
    answers = {name: [record["raw"] for record in records if record["run"] == name] for name in models}
    assert {name: len(raw) for name, raw in answers.items()} == dict.fromkeys(models, 40)
    assert answers["served"] == answers["merged"]
    # If neither path applied the adapter, the comparison would pass without this check.
    assert sum(a == b for a, b in zip(answers["served"], answers["base"], strict=True)) < 30


def test_a_shared_engine_gives_the_answers_of_separate_engines(demo: Path, tmp_path: Path) -> None:
    """The demo's three seeds in one engine group, merged and as LoRA modules (first shard of ten); some also alone."""
    decode, kept = demo / "conf" / "decode.yaml", (demo / "conf" / "decode.yaml").read_text(encoding="utf-8")
    answers = "results/groups/demo@part-1/answers/dev/1-of-10.jsonl"
    tokens = "results/datasets/demo/ner-zh-short-brackets/entitune-tiny/dev.tokens.jsonl"
    settings = {"max_tokens": 200, "max_model_len": 512, "max_num_seqs": 128, "dtype": "auto", "gpus": 0}
    settings["confidence"] = True  # recording probabilities changes no answer
    for adapter, alone_as_well in (("merged", (1, 3)), ("lora", (2,))):
        try:
            edit_yaml(decode, "cpu", adapter=adapter, share_engine=True, shards=10)
            done = snakemake(demo, answers, "--cores", "all")
        finally:
            decode.write_text(kept, encoding="utf-8")
        assert done.returncode == 0, done.stdout
        together = read_jsonl(demo / answers)
        by_seed = {seed: [one for one in together if one["seed"] == seed] for seed in (1, 2, 3)}
        assert len({json.dumps([one["raw"] for one in group]) for group in by_seed.values()}) == 3
        for seed in alone_as_well:
            folder = f"results/demo/seed-{seed}"
            model = f"{folder}/merged" if adapter == "merged" else "results/models/entitune-tiny"
            job = {"run": "demo", "seed": seed, "tokens": tokens, "model": model}
            job["adapter"] = f"{folder}/adapter" if adapter == "lora" else None
            command = ["--jobs", json.dumps([job]), "--decode", json.dumps(settings), "--shards", 10]
            alone = tmp_path / f"{adapter}-{seed}.jsonl"
            done = run_engine("predict-cpu", demo, "predict_shard", *command, "--output", alone)
            assert done.returncode == 0, done.stderr
            found = read_jsonl(alone)
            for one in found:
                recorded = one.pop("tokens")
                assert len(recorded) == one["output_tokens"]
                whole = TokenProbabilities(one["raw"], [Token(*token) for token in recorded])
                assert whole.confidence([(0, len(one["raw"]))]) is not None, "the tokens joined are the answer"
                assert all(logprob <= 0 for _, logprob in recorded)
            assert found == by_seed[seed]
    (demo / answers).unlink()


def test_real_cluener_counts(cluener_archive: Path, demo: Path) -> None:
    """The workflow's own rules give the counts of the published corpus."""
    targets = [f"results/datasets/cluener/{split}.jsonl" for split in ("train", "dev", "test")]
    done = snakemake(demo, *targets, "--cores", "all", "--config", f"local_archive={{cluener: {cluener_archive}}}")
    assert done.returncode == 0, done.stdout
    train_split, dev, test = (read_jsonl(demo / target) for target in targets)
    assert (len(train_split), len(dev), len(test)) == (10748, 1343, 1345)
    assert sum(len(record["entities"]) for record in dev) == 3072
    assert sum(len({(e["label"], e["text"]) for e in record["entities"]}) for record in dev) == 2982
    assert "entities" not in test[0]


def test_micro_f1_is_at_most_that_of_seqeval(demo: Path) -> None:
    """On the demo's predictions, where tags cannot represent all mentions.

    tests/test_scoring.py checks that both are equal where tags can represent all mentions.
    """
    from seqeval.metrics import f1_score
    from seqeval.scheme import IOB2

    gold_tags, pred_tags = [], []
    for record in read_jsonl(demo / "results/demo/seed-1/predictions/dev.jsonl"):
        rows = []
        for entities in (record["gold"], record["pred"]):
            tags = ["O"] * len(record["text"])
            for entity in entities:
                if entity["start"] is not None:
                    tags[entity["start"]] = f"B-{entity['label']}"
                    tags[entity["start"] + 1 : entity["end"]] = [f"I-{entity['label']}"] * (len(entity["text"]) - 1)
            rows.append(tags)
        gold_tags.append(rows[0])
        pred_tags.append(rows[1])
    scores = [row for row in read_tsv(demo / "results/demo/seed-1/scores/dev.tsv") if row["scoring"] == "spans"]
    micro = next(float(row["f1"]) for row in scores if row["label"] == "micro")
    # Mentions without offsets have no tag, and of overlapping mentions only the last keeps its tags. So seqeval counts
    # fewer false positives.
    assert micro <= f1_score(gold_tags, pred_tags, mode="strict", scheme=IOB2) + 5e-7
