"""Measure the time of training and prediction with a short and a long prompt, on CLUENER with the embedded model.

    python benchmarks/bench_prompt.py

Needs the finished runs of the table `prompt-length` of measure.py. Each prompt trains for a few steps and predicts the
dev split, alternately, so that the load of the machine affects both. Works in results/bench_prompt, and prints the
table of docs/gpu.md: the median over the rounds.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from pathlib import Path
from statistics import median

import yaml

sys.path.insert(0, "scripts")

from engine_runs import answers_and_seconds, output_of

from entitune.cli import run
from entitune.files import read_json

FOLDER = Path("results/bench_prompt")
SWEEP = "num_train_epochs=1+additional_target=lm_head"
RUNS = {
    "ner-zh-short-brackets": f"cluener-format-brackets+{SWEEP}",
    "ner-zh-brackets": f"cluener-tiny-long+{SWEEP}",
}
"""Prompt -> run."""


def seconds_per_step(name: str, steps: int) -> float:
    """Train for some steps and return the seconds of each, without the start of the engine."""
    config = yaml.safe_load(Path(f"results/{name}/seed-1/train.yaml").read_text(encoding="utf-8"))
    del config["num_train_epochs"]
    config |= {"max_steps": steps, "save_strategy": "no", "plot_loss": False, "output_dir": str(FOLDER / "checkpoints")}
    shutil.rmtree(FOLDER, ignore_errors=True)
    FOLDER.mkdir(parents=True)
    (FOLDER / "train.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
    output_of(".envs/train/bin/python", "scripts/run_llamafactory.py", FOLDER / "train.yaml")
    return float(read_json(FOLDER / "checkpoints" / "train_results.json")["train_runtime"]) / steps


def sentences_per_second(name: str, prompt: str) -> float:
    """Predict the dev split and return the speed, without the start of the engine."""
    tokens = f"results/datasets/cluener/{prompt}/entitune-tiny/dev.tokens.jsonl"
    job = {"run": name, "seed": 1, "tokens": tokens, "model": f"results/{name}/seed-1/merged", "adapter": None}
    decode = {"max_tokens": 320, "max_model_len": 1024, "max_num_seqs": 128, "dtype": "auto", "gpus": 0}
    words = ["--jobs", json.dumps([job | {"answer": None}]), "--decode", json.dumps(decode)]
    printed = output_of(
        ".envs/predict-cpu/bin/python", "scripts/predict_shard.py", *words, "--output", FOLDER / "answers.jsonl"
    )
    ((count, seconds),) = answers_and_seconds(printed)
    return count / seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3, help="measurements of each prompt (default: %(default)s)")
    parser.add_argument("--steps", type=int, default=60, help="training steps of each (default: %(default)s)")
    args = parser.parse_args()

    steps: dict[str, list[float]] = {prompt: [] for prompt in RUNS}
    speeds: dict[str, list[float]] = {prompt: [] for prompt in RUNS}
    for _ in range(args.rounds):
        for prompt, name in RUNS.items():
            steps[prompt].append(seconds_per_step(name, args.steps))
            speeds[prompt].append(sentences_per_second(name, prompt))

    print("| prompt | training, seconds per step | prediction, sentences/s |")
    print("|---|---|---|")
    for prompt in RUNS:
        print(f"| `{prompt}` | {median(steps[prompt]):.2f} | {median(speeds[prompt]):.0f} |")


if __name__ == "__main__":
    run(main)
