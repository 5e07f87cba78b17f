"""Estimate the GPU memory and time of each run before it starts, and show the measured figures after it has run.

    scripts/estimate_resources.py                              # all runs of the sheet that need a GPU
    scripts/estimate_resources.py --runs cluener-qwen2.5-7b --check
    scripts/estimate_resources.py --sizes                      # a table: which model fits which card

The length of rows is exact if the encoded training rows exist (they need the model). Otherwise it is estimated from the
characters of the rows, or, before these exist, from those of the prompt. After training, the output includes the
measured figures of trainer_log.jsonl (LLaMA-Factory records memory there if RECORD_VRAM=1 is set). Sources of the
formulas: scripts/entitune/engines/memory_estimate.py.
"""

from __future__ import annotations

import argparse
import itertools
import json
from dataclasses import dataclass
from pathlib import Path

from entitune import paths
from entitune.cli import InputError, run
from entitune.config_files import read_yaml
from entitune.engines import memory_estimate
from entitune.engines.gpu import check_driver, cuda_generation
from entitune.engines.memory_estimate import GB, LoraTraining, Shape
from entitune.engines.schedule import plan
from entitune.files import read_jsonl
from entitune.processes import nvidia_smi
from entitune.prompting.prompt import AlpacaRow
from entitune.prompting.rows import read_alpaca
from entitune.records import read_tokens
from entitune.registries import Decode, Model, PromptFiles
from entitune.runs import BaseRun, Run, TunedRun, VoteRun
from entitune.study import CONF, Study, read_study

REFERENCE_GPU = ("NVIDIA A100-PCIE-40GB", 40 * 2**30)

SENTENCE_AND_ANSWER = 200
"""The assumed characters of a long sentence and its answer, before any row exists: sentences of CLUENER have at most 50
characters and a few mentions."""

CARDS = (8, 12, 16, 24, 32, 40, 48, 80, 96, 141)
"""Memory of available GPUs in GB. A card sold with N GB has N x 1e9 bytes or a little more."""
SIZED_PROMPT, SIZED_RECIPES, SIZED_DECODE, SIZED_SENTENCES = "ner-zh", ("lora-r16", "qlora-r16"), "gpu", 10_000
"""The settings of the table of sizes: entries of conf/, and a number of training sentences."""


def read_shape(model: Model) -> Shape:
    """Return the shape of a model from its config.json, or from the copy under conf/shapes if it is not fetched yet."""
    copy = Path("conf/shapes") / f"{model.name}.json"
    candidates = [Path(paths.model(model.name)).with_name("config.json"), copy]
    if model.path:
        candidates.append(Path(model.path) / "config.json")
    found = next((path for path in candidates if path.is_file()), None)
    if found is None:
        raise InputError(f"the shape of {model.name} is unknown: fetch the model, or save its config.json as {copy}")
    try:
        return Shape.from_config(json.loads(found.read_text(encoding="utf-8")))
    except KeyError as error:
        raise InputError(f"{found}: {error} is missing") from error


def detect_gpu() -> tuple[str, int] | None:
    """Return name and memory in bytes of this machine's first GPU according to nvidia-smi; None without a GPU."""
    if not (lines := nvidia_smi("name,memory.total")):
        return None
    name, mebibytes = lines[0].rsplit(",", 1)
    return name, int(mebibytes) * 2**20


@dataclass
class Rows:
    """The lengths of a run's training rows in tokens, exact or estimated."""

    longest: int
    how: str
    """What `longest` is, for the output."""
    lengths: list[int]
    """The lengths of all rows; empty if the rows do not exist yet."""
    fixed: int = 0
    """The tokens that all rows share: those of the prompt, without the sentence and the answer."""


def read_rows(job: TunedRun, shape: Shape) -> Rows:
    """Return the lengths of the encoded rows, or an estimate from the alpaca rows or else from the prompt."""
    data, cutoff = job.training_data, job.cutoff
    encoded, alpaca = Path(data.tokens("train")), Path(data.alpaca("train"))
    if encoded.is_file():
        rows = list(read_tokens(encoded))
        lengths, fixed = [row.length for row in rows], shared_tokens([row.prompt_ids for row in rows if row.prompt_ids])
        how = "the longest row"
    elif alpaca.is_file():
        found = read_alpaca(alpaca)
        texts = [prompt_characters(row) + len(row["input"]) + len(row["output"]) for row in found]
        lengths = [memory_estimate.tokens_of(characters, shape) for characters in texts]
        fixed = memory_estimate.tokens_of(prompt_characters(found[0]), shape)
        how = "about the longest row, by its characters"
    else:
        row, fixed = guess_row(job.prompt, shape)
        return Rows(min(row, cutoff), "about a row, by the prompt", [], fixed)
    lengths = [length for length in lengths if length <= cutoff]
    return Rows(max(lengths, default=cutoff), how, lengths, fixed)


def prompt_characters(row: AlpacaRow) -> int:
    """Return the number of characters of an alpaca row without its sentence and its answer."""
    return sum(map(len, (row["system"], row["instruction"], *itertools.chain.from_iterable(row["history"]))))


def guess_row(prompt: PromptFiles, shape: Shape) -> tuple[int, int]:
    """Estimate the tokens of a row, and those of its prompt, before any row exists."""
    fixed = sum(len((CONF / path).read_text(encoding="utf-8")) for path in prompt.turns().values())
    tokens = memory_estimate.tokens_of
    return tokens(fixed + SENTENCE_AND_ANSWER, shape), tokens(fixed, shape)


def shared_tokens(prompts: list[list[int]]) -> int:
    """Return the number of tokens that all prompts share at their start and at their end."""

    def at_start(rows: list[list[int]]) -> int:
        first, last = min(rows), max(rows)  # tokens that these two share are shared by all
        return next((at for at, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), len(first))

    return at_start(prompts) + at_start([prompt[::-1] for prompt in prompts]) if len(prompts) > 1 else 0


@dataclass
class Measured:
    """The memory that PyTorch allocated, and the time, of a finished training: the maximum over its seeds."""

    bytes: float = 0.0
    seconds: float = 0.0


def measured(job: Run) -> Measured:
    """Return the figures in the trainer logs of a run's seeds; zeros if there are no logs."""
    result = Measured()
    logs = [Path(job.files(seed).adapter("trainer_log.jsonl")) for seed in job.seeds]
    for log in filter(Path.is_file, logs):
        for record in read_jsonl(log):
            result.bytes = max(result.bytes, record.get("vram_allocated", 0.0) * 2**30)
            hours, minutes, seconds = record["elapsed_time"].split(", ")[-1].split(":")
            days = int(record["elapsed_time"].split(" day")[0]) if "day" in record["elapsed_time"] else 0
            result.seconds = max(result.seconds, days * 86400 + int(hours) * 3600 + int(minutes) * 60 + int(seconds))
    return result


def duration(seconds: float) -> str:
    """Return a duration in hours and minutes; at least one minute."""
    minutes = max(1, round(seconds / 60))
    return f"{minutes // 60} h {minutes % 60:02d} min"


def needed_bytes(job: Run) -> float:
    """Return the memory that each GPU of a run needs for training or prediction, whichever is larger. 0: no GPU."""
    if isinstance(job, VoteRun):
        return needed_bytes(job.voters)
    if not isinstance(job, BaseRun):
        return 0.0
    needs = [0.0]
    if isinstance(job, TunedRun) and job.recipe.gpus:
        training, shape = LoraTraining.from_arguments(job.arguments), read_shape(job.model)
        needs.append(sum(memory_estimate.training_memory(shape, training, read_rows(job, shape).longest).values()))
    if job.decode.gpus:
        # Tensor parallelism splits weights and cache.
        needs.append(prediction_bytes(read_shape(job.model), job.decode) / job.decode.gpus)
    return max(needs)


def prediction_bytes(shape: Shape, decode: Decode) -> float:
    """Return the memory that a GPU needs to predict one sequence at a time; vLLM queues the others."""
    return sum(memory_estimate.prediction_memory(shape, decode.max_model_len, 1).values()) / memory_estimate.VLLM_SHARE


def describe(job: Run, gpu: tuple[str, int], hfu: float) -> str:
    """Return the estimate of one run as a table, with measured figures if there are any."""
    if not isinstance(job, BaseRun):
        return f"{job.name}: a run of kind {job.kind}, which needs no GPU itself"
    name, available = gpu
    shape, decode, real = read_shape(job.model), job.decode, measured(job)
    lines = [f"{job.name}: {job.model.name}, {memory_estimate.parameters(shape):,} parameters"]

    def table(title: str, parts: dict[str, float], measured_bytes: float = 0.0) -> None:
        lines.append(f"  {title}")
        lines.extend(f"    {part:<42}{size / GB:>8.2f} GB" for part, size in parts.items())
        total = f"    {'together, on each GPU':<42}{sum(parts.values()) / GB:>8.2f} GB of {available / GB:.1f} GB"
        lines.append(
            total + (f"; measured without the context: {measured_bytes / GB:.2f} GB" if measured_bytes else "")
        )

    if isinstance(job, TunedRun):
        training, gpus = LoraTraining.from_arguments(job.arguments), max(1, job.recipe.gpus)
        trainable = memory_estimate.lora_parameters(shape, training.rank, training.target)
        rows = read_rows(job, shape)
        table(
            f"training {trainable:,} parameters, {training.batch} rows of {rows.longest:,} tokens ({rows.how})",
            memory_estimate.training_memory(shape, training, rows.longest),
            real.bytes,
        )
        mean = sum(rows.lengths) / len(rows.lengths) if rows.lengths else rows.longest
        lines.append(f"    the same prompt in every row: {rows.fixed:,} tokens, {rows.fixed / mean:.0%} of a row")
        if rows.lengths:
            trained_on = job.rows_trained_on(len(rows.lengths))
            length = plan(job.arguments, trained_on, gpus, job.recipe.whole_accumulations)
            lines.append(
                f"    {length.examples:,} examples, {length.steps:,} optimisation steps, {mean:.0f} tokens per row"
            )
            if tflops := memory_estimate.peak_tflops(name):
                seen = length.examples * length.epochs
                seconds = memory_estimate.training_seconds(shape, training, mean, seen, tflops, gpus, hfu)
                lines.append(
                    f"    {duration(seconds)} on {gpus} x {name} at {hfu:.0%} of {tflops} TFLOPS"
                    + (f"; measured: {duration(real.seconds)}" if real.seconds else "")
                )
    sequences = decode.max_num_seqs
    parts = memory_estimate.prediction_memory(shape, decode.max_model_len, sequences)
    table(f"predicting, {sequences} sequences of {decode.max_model_len:,} tokens at once", parts)
    return "\n".join(lines)


def smallest_card(need: float) -> str:
    """Return the smallest card with `need` bytes, or `several`."""
    return next((f"{size} GB" for size in CARDS if size * GB >= need), "several")


def size_table(study: Study, hfu: float) -> str:
    """Return a Markdown table, by size, of the card that each model needs: all models with a shape under conf/shapes.

    The rows' length is that of the prompt, even if encoded rows exist.
    """
    arguments = [read_yaml(CONF / study.recipes[name].config) for name in SIZED_RECIPES]
    trainings, epochs = list(map(LoraTraining.from_arguments, arguments)), arguments[0]["num_train_epochs"]
    name, tflops = REFERENCE_GPU[0], memory_estimate.peak_tflops(REFERENCE_GPU[0])
    lines = [
        "| model | parameters | row | LoRA | QLoRA | predict | card, LoRA | card, QLoRA | time |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    assert tflops
    shaped = [model for model in study.models.values() if (CONF / "shapes" / f"{model.name}.json").is_file()]
    shapes = {model.name: read_shape(model) for model in shaped}
    for model, shape in sorted(shapes.items(), key=lambda item: memory_estimate.parameters(item[1])):
        row, _ = guess_row(study.prompts[SIZED_PROMPT], shape)
        needs = [sum(memory_estimate.training_memory(shape, training, row).values()) for training in trainings]
        predicting = prediction_bytes(shape, study.decode[SIZED_DECODE])
        seconds = memory_estimate.training_seconds(shape, trainings[0], row, SIZED_SENTENCES * epochs, tflops, hfu=hfu)
        cells = [model, f"{memory_estimate.parameters(shape) / 1e9:.2f} B", f"{row} tokens"]
        cells += [f"{size / GB:.1f} GB" for size in (*needs, predicting)]
        cells += [smallest_card(max(size, predicting)) for size in needs]
        lines.append("| " + " | ".join([*cells, duration(seconds)]) + " |")
    lines.append(f"\nTime: {SIZED_SENTENCES:,} sentences, {epochs:g} epochs on {name} at {hfu:.0%} of {tflops} TFLOPS.")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", help="runs of conf/runs.tsv, comma-separated (default: all that need a GPU)")
    parser.add_argument(
        "--hfu",
        type=float,
        default=memory_estimate.REFERENCE_HFU,
        help="share of the peak throughput that training reaches: HFU, as gpu_check prints it (default: %(default)s)",
    )
    parser.add_argument("--check", action="store_true", help="end with exit code 1 if a run does not fit this machine")
    parser.add_argument("--sizes", action="store_true", help="print only a table: which model fits which card")
    args = parser.parse_args()

    study = read_study()
    if args.sizes:
        print(size_table(study, args.hfu))
        return
    jobs = [study.run(name) for name in args.runs.split(",")] if args.runs else list(study.runs.values())
    needs = {job.name: needed_bytes(job) for job in study.runs.values()}
    if not args.runs:
        jobs = [job for job in jobs if needs[job.name]]

    gpu = detect_gpu()
    print(f"GPU here: {gpu[0]}" if gpu else f"No GPU here; estimates for the reference's GPU, {REFERENCE_GPU[0]}")
    for job in jobs:
        print("\n" + describe(job, gpu or REFERENCE_GPU, args.hfu))

    if args.check:
        check_driver(cuda_generation(study.cuda), "the environments are")
    available = gpu[1] if gpu else None
    fitting = [name for name, need in needs.items() if need <= (available or 0)]
    too_big = [job for job in jobs if job.name not in fitting]
    if args.check and too_big:
        raise InputError(
            "\n".join(memory_estimate.refusal(job.name, needs[job.name], available, fitting) for job in too_big)
        )


if __name__ == "__main__":
    run(main)
