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

from entitune import paths
from entitune.cli import InputError, run
from entitune.engines import memory_estimate
from entitune.engines.memory_estimate import GB, Recipe, Shape
from entitune.engines.schedule import plan
from entitune.files import read_json, read_jsonl
from entitune.records import read_tokens
from entitune.registries import Model
from entitune.runs import BaseRun, Run, TunedRun, VoteRun
from entitune.study import CONF, read_study

REFERENCE_GPU = ("NVIDIA A100-PCIE-40GB", 40 * 2**30)

SENTENCE_AND_ANSWER = 200
"""Characters that a long sentence and its answer add to a prompt, while neither is there: CLUENER's have at most 50
characters and a few mentions."""


def read_shape(model: Model) -> Shape:
    """The shape of a model: from its config.json, or from the copy of it that is kept for models not yet fetched."""
    copy = Path("conf/shapes") / f"{model.name}.json"
    candidates = [Path(paths.model(model.name)).with_name("config.json"), copy]
    if model.path:
        candidates.append(Path(model.path) / "config.json")
    found = next((path for path in candidates if path.is_file()), None)
    if found is None:
        raise InputError(f"the shape of {model.name} is not known: fetch it, or put its config.json at {copy}")
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


def read_rows(job: TunedRun, shape: Shape) -> Rows:
    """The lengths of the encoded rows, else about those of the alpaca rows, else about what the prompt alone tells."""
    data, cutoff = job.data("train"), job.cutoff
    encoded, alpaca = Path(data.tokens("train")), Path(data.alpaca("train"))
    if encoded.is_file():
        lengths = [row.length for row in read_tokens(encoded)]
        how = "the longest row"
    elif alpaca.is_file():
        keys = ("system", "instruction", "input", "output")
        characters = [sum(len(row[key]) for key in keys) for row in read_json(alpaca)]
        lengths = [memory_estimate.tokens_of(count, shape) for count in characters]
        how = "about the longest row, by its characters"
    else:
        texts = [CONF / path for path in job.prompt.turns().values()]
        count = sum(len(path.read_text(encoding="utf-8")) for path in texts) + SENTENCE_AND_ANSWER
        return Rows(min(memory_estimate.tokens_of(count, shape), cutoff), "about a row, by the prompt", [])
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
    logs = [Path(job.files(seed).adapter("trainer_log.jsonl")) for seed in job.seeds]
    for log in filter(Path.is_file, logs):
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


def needed_bytes(job: Run) -> float:
    """The memory that each GPU of a run must have: for training or predicting, whichever needs more. 0: no GPU."""
    if isinstance(job, VoteRun):
        return needed_bytes(job.voters)
    if not isinstance(job, BaseRun):
        return 0.0
    needs = [0.0]
    if isinstance(job, TunedRun) and job.recipe.gpus:
        recipe, shape = Recipe.from_arguments(job.arguments), read_shape(job.model)
        needs.append(sum(memory_estimate.training_memory(shape, recipe, read_rows(job, shape).longest).values()))
    if job.decode.gpus:
        # One sequence must fit, vLLM queues the others; tensor parallelism splits weights and cache.
        parts = memory_estimate.prediction_memory(read_shape(job.model), job.decode.max_model_len, 1)
        needs.append(sum(parts.values()) / job.decode.gpus)
    return max(needs)


def describe(job: Run, gpu: tuple[str, int], mfu: float) -> str:
    """The estimate of one run as a table, with the measured figures beside it where there are some."""
    if not isinstance(job, BaseRun):
        return f"{job.name}: a run of kind {job.kind}, which needs no GPU of its own"
    name, available = gpu
    shape, decode, real = read_shape(job.model), job.decode, measured(job)
    lines = [f"{job.name}: {job.model.name}, {memory_estimate.parameters(shape):,} parameters"]

    def table(title: str, parts: dict[str, float], measured_bytes: float = 0.0) -> None:
        lines.append(f"  {title}")
        lines.extend(f"    {part:<42}{size / GB:>8.2f} GB" for part, size in parts.items())
        total = f"    {'together, on each GPU':<42}{sum(parts.values()) / GB:>8.2f} GB of {available / GB:.1f} GB"
        lines.append(total + (f"; measured: {measured_bytes / GB:.2f} GB" if measured_bytes else ""))

    if isinstance(job, TunedRun):
        recipe, gpus = Recipe.from_arguments(job.arguments), max(1, job.recipe.gpus)
        trainable = memory_estimate.lora_parameters(shape, recipe.rank, recipe.target)
        rows = read_rows(job, shape)
        table(
            f"training {trainable:,} parameters, {recipe.batch} rows of {rows.longest:,} tokens ({rows.how})",
            memory_estimate.training_memory(shape, recipe, rows.longest),
            real.bytes,
        )
        if rows.lengths:
            length = plan(job.arguments, len(rows.lengths), gpus, job.recipe.whole_accumulations)
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
    sequences = decode.max_num_seqs
    parts = memory_estimate.prediction_memory(shape, decode.max_model_len, sequences)
    table(f"predicting, {sequences} sequences of {decode.max_model_len:,} tokens at once", parts)
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

    study = read_study()
    jobs = [study.run(name) for name in args.runs.split(",")] if args.runs else list(study.runs.values())
    needs = {job.name: needed_bytes(job) for job in study.runs.values()}
    if not args.runs:
        jobs = [job for job in jobs if needs[job.name]]

    gpu = detect_gpu()
    print(f"GPU here: {gpu[0]}" if gpu else f"No GPU here; shown for the reference's, {REFERENCE_GPU[0]}")
    for job in jobs:
        print("\n" + describe(job, gpu or REFERENCE_GPU, args.mfu))

    available = gpu[1] if gpu else None
    fitting = [name for name, need in needs.items() if need <= (available or 0)]
    too_big = [job for job in jobs if job.name not in fitting]
    if args.check and too_big:
        raise InputError(
            "\n".join(memory_estimate.refusal(job.name, needs[job.name], available, fitting) for job in too_big)
        )


if __name__ == "__main__":
    run(main)
