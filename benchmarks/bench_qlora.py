"""Measure the F1 of the demo when the base model is in 4 bits in training and in 16 or 4 bits in prediction.

    python benchmarks/bench_qlora.py

Needs the finished run `demo`. For each seed, trains it again with `quantization_bit: 4`. Then predicts with the adapter
merged into the base model in 16 bits (vLLM), and with the adapter on the base model in 4 bits (transformers and peft).
Works in results/bench_qlora, and prints the table of docs/gpu.md.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from statistics import mean, stdev

import yaml

sys.path.insert(0, "scripts")

from engine_runs import output_of

from entitune.cli import run
from entitune.files import read_jsonl, write_jsonl
from entitune.tsv import METRICS_COLUMNS, read_tsv

FOLDER = Path("results/bench_qlora")
MODEL = Path("results/models/entitune-tiny")
TOKENS = Path("results/datasets/demo/ner-zh-short-brackets/entitune-tiny/dev.tokens.jsonl")
QUANTISED = {"quantization_bit": 4, "quantization_method": "bnb", "quantization_type": "nf4"}
DECODE = {"max_tokens": 200, "max_model_len": 512, "max_num_seqs": 128, "dtype": "auto", "gpus": 0}
GENERATE = """
import json, sys, torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer, BitsAndBytesConfig

model, adapter, tokens, output, longest = sys.argv[1:]
config = BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=torch.bfloat16,
    bnb_4bit_quant_storage=torch.bfloat16, bnb_4bit_use_double_quant=True)
base = AutoModelForCausalLM.from_pretrained(model, dtype=torch.bfloat16, device_map={"": "cpu"},
    quantization_config=config)
tuned, tokenizer = PeftModel.from_pretrained(base, adapter), AutoTokenizer.from_pretrained(model)
answers = []
for line in open(tokens, encoding="utf-8"):
    row = json.loads(line)
    ids = torch.tensor([row["prompt_ids"]])
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        whole = tuned.generate(ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=int(longest),
            eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id)
    made = whole[0, ids.shape[1]:].tolist()
    ended = tokenizer.eos_token_id in made
    answers.append({"id": row["id"], "raw": tokenizer.decode(made, skip_special_tokens=True),
        "finish_reason": "stop" if ended else "length"})
json.dump(answers, open(output, "w", encoding="utf-8"), ensure_ascii=False)
"""


def train(seed: int) -> Path:
    """Train the demo in 4 bits, unless that has been done, and return the adapter's folder."""
    folder = FOLDER / f"seed-{seed}"
    if not (folder / "adapter").is_dir():
        config = yaml.safe_load(Path(f"results/demo/seed-{seed}/train.yaml").read_text(encoding="utf-8"))
        config |= {**QUANTISED, "output_dir": str(folder / "checkpoints" / "key")}
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "train.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
        words = ["--config", folder / "train.yaml", "--llamafactory", ".envs/train/bin/llamafactory-cli"]
        output_of(
            sys.executable,
            "scripts/train_adapter.py",
            *words,
            "--log",
            folder / "log",
            "--output-dir",
            folder / "adapter",
        )
    return folder / "adapter"


def answers_of(kind: str, seed: int) -> Path:
    """Predict the dev split and return the file of answers, in the form of predict_shard."""
    adapter = Path(f"results/demo/seed-{seed}/adapter") if kind == "LoRA" else train(seed)
    folder = FOLDER / f"seed-{seed}"
    output = folder / f"{kind.replace(' ', '-').replace(',', '')}.jsonl"
    if kind.endswith("4 bits"):
        output_of(
            ".envs/train/bin/python", "-c", GENERATE, MODEL, adapter, TOKENS, folder / "raw.json", DECODE["max_tokens"]
        )
        answers = json.loads((folder / "raw.json").read_text(encoding="utf-8"))
        write_jsonl(output, ({"run": kind, "seed": seed, **answer, "output_tokens": 0} for answer in answers))
        return output
    merged = folder / f"merged-{output.stem}"
    words = ["--model", MODEL, "--adapter", adapter, "--output-dir", merged]
    output_of(".envs/train/bin/python", "scripts/merge_adapter.py", *words)
    job = {"run": kind, "seed": seed, "tokens": str(TOKENS), "model": str(merged), "adapter": None, "answer": None}
    words = ["--jobs", json.dumps([job]), "--decode", json.dumps(DECODE), "--output", output]
    output_of(".envs/predict-cpu/bin/python", "scripts/predict_shard.py", *words)
    return output


def scores_of(kind: str, seed: int) -> tuple[dict[str, float], list[str]]:
    """Return the micro F1 of each scoring, and the raw answers."""
    answers = answers_of(kind, seed)
    predictions, scores = answers.with_suffix(".predictions"), answers.with_suffix(".tsv")
    words = ["--sentences", "results/datasets/demo/dev.jsonl", "--answers", answers, "--run", kind, "--seed", seed]
    words += ["--answer", "brackets"]
    output_of(sys.executable, "scripts/read_answers.py", *words, "--output", predictions)
    labels = sorted({entity["label"] for record in read_jsonl(predictions) for entity in record["gold"]})
    words = ["--predictions", predictions, "--run", "x", "--seed", seed, "--dataset", "demo", "--split", "dev"]
    output_of(sys.executable, "scripts/score_predictions.py", *words, "--labels", ",".join(labels), "--output", scores)
    micro = {row["scoring"]: float(row["f1"]) for row in read_tsv(scores, METRICS_COLUMNS) if row["label"] == "micro"}
    return micro, [record["raw"] for record in read_jsonl(predictions)]


def spread(values: list[float]) -> str:
    """Return the mean, and the standard deviation if there are several values."""
    return f"{mean(values):.3f}" + (f" ± {stdev(values):.3f}" if len(values) > 1 else "")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--seeds", default="1,2,3", help="seeds of the run demo, comma-separated (default: %(default)s)"
    )
    seeds = [int(seed) for seed in parser.parse_args().seeds.split(",")]

    print("| training, prediction | seeds | F1 (`spans`) | F1 (`pairs`) | answers that differ from the line above |")
    print("|---|---|---|---|---|")
    before: list[list[str]] | None = None
    for kind in ("LoRA", "QLoRA, 16 bits", "QLoRA, 4 bits"):
        found = [scores_of(kind, seed) for seed in seeds]
        spans, pairs = (spread([micro[scoring] for micro, _ in found]) for scoring in ("spans", "pairs"))
        answers = [raw for _, raw in found]
        differ = "–"
        if before is not None:
            compared = [
                a != b for one, other in zip(answers, before, strict=True) for a, b in zip(one, other, strict=True)
            ]
            differ = f"{sum(compared)} of {len(compared)}"
        print(f"| {kind} | {len(seeds)} | {spans} | {pairs} | {differ} |", flush=True)
        before = answers


if __name__ == "__main__":
    run(main)
