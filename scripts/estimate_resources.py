"""Print what each run needs of a GPU, memory and time, before it starts, and what was measured once it has run.

    scripts/estimate_resources.py                              # every run of the sheet that trains on a GPU
    scripts/estimate_resources.py --runs cluener-qwen2.5-7b --check

Reads conf/ and whatever is there already: the encoded training rows make it exact; before them (they need the model)
rows are measured by their characters, and before those by the prompt's. After a training it shows the measured
figures of trainer_log.jsonl (LLaMA-Factory writes memory into it when RECORD_VRAM=1 is set). Sources of the formulas:
scripts/entitune/engines/memory_estimate.py.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import yaml

from entitune.cli import InputError, run
from entitune.engines import memory_estimate
from entitune.engines.memory_estimate import GB, Recipe, Shape
from entitune.engines.schedule import plan
from entitune.files import read_jsonl
from entitune.study import ConfigError, Run, Study, load_study

REFERENCE_GPU = ("NVIDIA A100-PCIE-40GB", 40 * 2**30)

SENTENCE_AND_ANSWER = 200
"""Characters that a long sentence and its answer add to a prompt, while neither is there: CLUENER's have at most 50
characters and a few mentions."""


def read_shape(study: Study, model: str) -> Shape:
    """The shape of a model: from its config.json, or from the copy of it that is kept for models not yet fetched."""
    copy = Path("conf/shapes") / f"{model}.json"
    candidates = [Path("results/models") / model / "config.json", copy]
    if path := study.models[model].get("path"):
        candidates.append(Path(path) / "config.json")
    found = next((path for path in candidates if path.is_file()), None)
    if found is None:
        raise InputError(f"the shape of {model} is not known: fetch it, or put its config.json at {copy}")
    try:
        return Shape.from_config(json.loads(found.read_text(encoding="utf-8")))
    except KeyError as error:
        raise InputError(f"{found}: {error} is missing") from error


def detect_gpu() -> tuple[str, int] | None:
    """Name and memory in bytes of this machine's first GPU, as nvidia-smi prints them."""
    if shutil.which("nvidia-smi") is None:
        return None
    query = ["nvidia-smi", "--query-gpu=name,memory.total", "--format=csv,noheader,nounits"]
    result = subprocess.run(query, capture_output=True, text=True)
    if result.returncode or not result.stdout.strip():
        return None
    name, mebibytes = result.stdout.splitlines()[0].rsplit(",", 1)
    return name, int(mebibytes) * 2**20


@dataclass
class Rows:
    """How long the training rows of a run are in tokens, as far as it can be known yet."""

    longest: int
    how: str
    """What `longest` is, for a person."""
    lengths: list[int]
    """All of them; empty where the rows are not there yet."""


def read_rows(study: Study, job: Run, shape: Shape, cutoff: int) -> Rows:
    """The lengths of the encoded rows, else about those of the alpaca rows, else about what the prompt alone tells."""
    folder = Path("results/datasets") / job.dataset / job.prompt
    encoded, alpaca = folder / job.model / "train.tokens.jsonl", folder / "train.json"
    if encoded.is_file():
        lengths = [len(record["prompt_ids"]) + record["answer_tokens"] for record in read_jsonl(encoded)]
        how = "the longest row"
    elif alpaca.is_file():
        keys = ("system", "instruction", "input", "output")
        characters = [sum(len(row[key]) for key in keys) for row in json.loads(alpaca.read_text(encoding="utf-8"))]
        lengths = [memory_estimate.tokens_of(count, shape) for count in characters]
        how = "about the longest row, by its characters"
    else:
        prompt = study.prompts[job.prompt]
        texts = [Path("conf") / prompt[turn] for turn in ("system", "user") if turn in prompt]
        characters = sum(len(path.read_text(encoding="utf-8")) for path in texts) + SENTENCE_AND_ANSWER
        return Rows(min(memory_estimate.tokens_of(characters, shape), cutoff), "about a row, by the prompt", [])
    lengths = [length for length in lengths if length <= cutoff]
    return Rows(max(lengths, default=cutoff), how, lengths)


@dataclass
class Measured:
    """What a finished training reports of itself: the largest over its seeds."""

    bytes: float = 0.0
    seconds: float = 0.0


def measured(job: Run) -> Measured:
    """The figures in the trainer logs of a run's seeds; zeros where there are none."""
    result = Measured()
    for log in Path("results", job.name).glob("seed-*/adapter/trainer_log.jsonl"):
        for record in read_jsonl(log):
            result.bytes = max(result.bytes, record.get("vram_reserved", 0.0) * 2**30)
            hours, minutes, seconds = record["elapsed_time"].split(", ")[-1].split(":")
            days = int(record["elapsed_time"].split(" day")[0]) if "day" in record["elapsed_time"] else 0
            result.seconds = max(result.seconds, days * 86400 + int(hours) * 3600 + int(minutes) * 60 + int(seconds))
    return result


def duration(seconds: float) -> str:
    """Hours and minutes; at least a minute."""
    minutes = max(1, round(seconds / 60))
    return f"{minutes // 60} h {minutes % 60:02d} min"


def needed_bytes(study: Study, job: Run) -> float:
    """The memory that each GPU of a run must have: for training or predicting, whichever needs more. 0: no GPU."""
    if job.vote_of:
        return needed_bytes(study, study.runs[job.vote_of])
    decode, needs = study.decode[job.decode], [0.0]
    if job.recipe and study.recipes[job.recipe]["gpus"]:
        recipe, shape = Recipe.from_arguments(study.train_arguments(job)), read_shape(study, job.model)
        longest = read_rows(study, job, shape, recipe.cutoff).longest
        needs.append(sum(memory_estimate.training_memory(shape, recipe, longest).values()))
    if decode["gpus"]:
        # One sequence must fit, vLLM queues the others; tensor parallelism splits weights and cache.
        parts = memory_estimate.prediction_memory(read_shape(study, job.model), decode["max_model_len"], 1)
        needs.append(sum(parts.values()) / decode["gpus"])
    return max(needs)


def describe(study: Study, job: Run, gpu: tuple[str, int], mfu: float) -> str:
    """The estimate of one run as a table, with the measured figures beside it where there are some."""
    name, available = gpu
    shape, decode, real = read_shape(study, job.model), study.decode[job.decode], measured(job)
    lines = [f"{job.name}: {job.model}, {memory_estimate.parameters(shape):,} parameters"]

    def table(title: str, parts: dict[str, float], measured_bytes: float = 0.0) -> None:
        lines.append(f"  {title}")
        lines.extend(f"    {part:<42}{size / GB:>8.2f} GB" for part, size in parts.items())
        total = f"    {'together, on each GPU':<42}{sum(parts.values()) / GB:>8.2f} GB of {available / GB:.1f} GB"
        lines.append(total + (f"; measured: {measured_bytes / GB:.2f} GB" if measured_bytes else ""))

    if job.recipe:
        recipe, gpus = Recipe.from_arguments(study.train_arguments(job)), max(1, study.recipes[job.recipe]["gpus"])
        trainable = memory_estimate.lora_parameters(shape, recipe.rank, recipe.target)
        rows = read_rows(study, job, shape, recipe.cutoff)
        table(
            f"training {trainable:,} parameters, {recipe.batch} rows of {rows.longest:,} tokens ({rows.how})",
            memory_estimate.training_memory(shape, recipe, rows.longest),
            real.bytes,
        )
        if rows.lengths:
            whole = study.recipes[job.recipe].get("whole_accumulations", False)
            length = plan(study.train_arguments(job), len(rows.lengths), gpus, whole)
            mean = sum(rows.lengths) / len(rows.lengths)
            lines.append(
                f"    {length.examples:,} examples, {length.steps:,} optimisation steps, {mean:.0f} tokens a row"
            )
            if tflops := memory_estimate.peak_tflops(name):
                seen = length.examples * length.epochs
                seconds = memory_estimate.training_seconds(shape, recipe, mean, seen, tflops, gpus, mfu)
                lines.append(
                    f"    {duration(seconds)} on {gpus} x {name} at {mfu:.0%} of {tflops} TFLOPS"
                    + (f"; measured: {duration(real.seconds)}" if real.seconds else "")
                )
    sequences = decode["max_num_seqs"]
    parts = memory_estimate.prediction_memory(shape, decode["max_model_len"], sequences)
    table(f"predicting, {sequences} sequences of {decode['max_model_len']:,} tokens at once", parts)
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", help="runs of conf/runs.tsv, comma-separated (default: all that need a GPU)")
    parser.add_argument(
        "--mfu",
        type=float,
        default=memory_estimate.REFERENCE_MFU,
        help="share of the peak throughput that is reached, see gpu_check (default: %(default)s, the reference's)",
    )
    parser.add_argument("--check", action="store_true", help="end with exit code 1 where a run does not fit here")
    args = parser.parse_args()

    try:
        study = load_study(yaml.safe_load(Path("conf/config.yaml").read_text(encoding="utf-8")))
        jobs = [study.run(name) for name in args.runs.split(",")] if args.runs else list(study.runs.values())
    except ConfigError as error:
        raise InputError(str(error)) from error
    needs = {job.name: needed_bytes(study, job) for job in study.runs.values()}
    if not args.runs:
        jobs = [job for job in jobs if needs[job.name]]

    gpu = detect_gpu()
    print(f"GPU here: {gpu[0]}" if gpu else f"No GPU here; shown for the reference's, {REFERENCE_GPU[0]}")
    for job in jobs:
        print("\n" + describe(study, job, gpu or REFERENCE_GPU, args.mfu))

    available = gpu[1] if gpu else None
    fitting = [name for name, need in needs.items() if need <= (available or 0)]
    too_big = [job for job in jobs if job.name not in fitting]
    if args.check and too_big:
        raise InputError(
            "\n".join(memory_estimate.refusal(job.name, needs[job.name], available, fitting) for job in too_big)
        )


if __name__ == "__main__":
    run(main)
