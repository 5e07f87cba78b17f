r"""Measure a GPU on EntiTune's own work, without Snakemake, with torch, transformers, peft and pydantic.

    .envs/train/bin/python benchmarks/gpu_check.py --train CLUENER/train.json \
        --model data/models/entitune-tiny=qwen --model results/models/smollm2-135m-instruct

Writes gpu_check.json and gpu_check.md into results/gpu_check/ after every measurement, so an interrupted check keeps
what it has measured:

1. LoRA training of each --model on CLUENER with the reference's hyperparameters, by LLaMA-Factory.
2. Speed and memory of the reference's settings, of the fast ones (added one by one), and of the reference's with the
   base in 4 bits (QLoRA). The models have the shapes of Qwen2.5-7B and Qwen3-8B and random weights: speed and memory
   do not depend on their values. A plain loop of transformers and peft does what LLaMA-Factory does (bfloat16 base,
   float32 adapter, autocast, padding to the longest row of a batch), without 15 GB of weights to write and read. Each
   setting runs in its own process, so a setting that runs out of memory does not end the check.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import datetime
import importlib.metadata
import importlib.util
import json
import multiprocessing
import os
import platform
import random
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "scripts"))

import run_llamafactory
from entitune.cli import InputError, run
from entitune.corpus.formats import read_split
from entitune.corpus.sources import Source
from entitune.engines import memory_estimate
from entitune.engines.memory_estimate import GB, LoraTraining, Shape
from entitune.files import atomic_write, to_json
from entitune.processes import die_with_parent
from entitune.prompting.answer_formats.writing import write_answer
from entitune.prompting.prompt import AlpacaRow, Prompt
from train_adapter import check_weights, trainer_environment

SHAPES = [Path("conf/shapes") / f"{name}.json" for name in ("qwen2.5-7b-instruct", "qwen3-8b")]

SPEED_ARGUMENTS = (
    "train_sampling_strategy",
    "disable_gradient_checkpointing",
    "enable_liger_kernel",
    "per_device_train_batch_size",
)
"""The arguments of a recipe that change speed and memory but not what is learnt, in the order in which they are added.
gradient_accumulation_steps follows the batch size: their product stays the reference's."""

QUANTISED = {"quantization_bit": 4, "quantization_method": "bnb", "double_quantization": True}
"""The arguments that make a recipe QLoRA."""

PACKAGES = ("torch", "transformers", "peft", "llamafactory", "liger-kernel", "bitsandbytes")


def read_arguments(path: Path) -> dict[str, Any]:
    """Return a recipe's LLaMA-Factory arguments."""
    return dict(yaml.safe_load(path.read_text(encoding="utf-8")))


def build_rows(train: Path, prompt: Path, limit: int) -> list[AlpacaRow]:
    """Return the first `limit` sentences of CLUENER's training file as alpaca rows."""
    labels = list(yaml.safe_load(Path("conf/datasets.yaml").read_text(encoding="utf-8"))["cluener"]["labels"])
    chat = Prompt.build(user=prompt.read_text(encoding="utf-8"), system="", labels=dict.fromkeys(labels, ""))
    rows: list[AlpacaRow] = []
    for row in read_split(Source.of([train]), "cluener", "train", labels)[1]:
        if row.sentence is None:
            raise InputError(f"{train}:{row.line}: {row.problems[0].reason}")
        rows.append(chat.row(row.sentence, write_answer("json", row.sentence)))
        if len(rows) == limit:
            break
    return rows


def describe_device(device: str) -> dict[str, Any]:
    """Return the machine and the versions of its packages."""
    import torch

    versions: dict[str, str | None] = {}
    for name in PACKAGES:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            versions[name] = None
    record: dict[str, Any] = {"device": platform.processor() or platform.machine(), "python": platform.python_version()}
    record |= versions
    if device == "cuda":
        properties = torch.cuda.get_device_properties(0)
        record |= {
            "device": properties.name,
            "memory_bytes": properties.total_memory,
            "capability": f"{properties.major}.{properties.minor}",
            "cuda": torch.version.cuda,
            "peak_tflops": memory_estimate.peak_tflops(properties.name),
        }
    return record | {"date": datetime.date.today().isoformat()}


def half_precision(device: str) -> Any:
    """Return bfloat16 if the device computes with it, else float16."""
    import torch

    if device == "cuda" and not torch.cuda.is_bf16_supported(including_emulation=False):
        return torch.float16
    return torch.bfloat16


def make_batches(lengths: list[int], batch: int, grouped: bool) -> list[list[int]]:
    """Return the lengths of the rows of each batch, in random order. `grouped` puts rows of similar length together."""
    order = sorted(lengths) if grouped else lengths
    batches = [order[start : start + batch] for start in range(0, len(order), batch)]
    random.Random(0).shuffle(batches)
    return batches


def quantise(model: Any, dtype: Any, device: str) -> None:
    """Put the linear layers of a model's blocks into 4 bits, as transformers does when it loads a model for QLoRA."""
    import torch
    from bitsandbytes.nn import Linear4bit, Params4bit

    for block in model.model.layers:
        for parent in (block.self_attn, block.mlp):
            for name, linear in list(parent.named_children()):
                if type(linear) is not torch.nn.Linear:
                    continue
                small = Linear4bit(
                    linear.in_features,
                    linear.out_features,
                    bias=linear.bias is not None,
                    compute_dtype=dtype,
                    compress_statistics=True,
                    quant_type="nf4",
                    quant_storage=dtype,
                    device="meta",
                )
                small.weight = Params4bit(
                    linear.weight.data.cpu(), False, compress_statistics=True, quant_type="nf4", quant_storage=dtype
                ).to(device)
                if linear.bias is not None:
                    small.bias = linear.bias
                setattr(parent, name, small)
    if device == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()  # measure only the training


def measure_shape(
    config: dict[str, Any], arguments: dict[str, Any], lengths: list[int], warmup: int, device: str
) -> dict[str, Any]:
    """Train a model with random weights; return seconds, examples, tokens and peak memory in bytes.

    Call it in a new process: the peak memory is that of the process.

    Args:
        config: The model's config.json.
        arguments: LLaMA-Factory's arguments.
        lengths: The length of each row in tokens.
        warmup: The number of optimisation steps before the timed ones.
        device: cuda or cpu.
    """
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoConfig, AutoModelForCausalLM

    training, dtype = LoraTraining.from_arguments(arguments), half_precision(device)
    if training.fused:
        import liger_kernel.transformers

        getattr(liger_kernel.transformers, f"apply_liger_kernel_to_{config['model_type']}")()
    torch.manual_seed(0)
    model_config = AutoConfig.for_model(**config | {"use_cache": False})
    with torch.device(device):
        model = AutoModelForCausalLM.from_config(model_config, dtype=dtype)
    if training.quantised:
        quantise(model, dtype, device)
    model = get_peft_model(
        model, LoraConfig(r=training.rank, lora_alpha=2 * training.rank, target_modules="all-linear")
    )
    trainable = [parameter for parameter in model.parameters() if parameter.requires_grad]
    for parameter in trainable:
        parameter.data = parameter.data.float()
    if training.checkpointing:
        model.enable_input_require_grads()
        model.gradient_checkpointing_enable({"use_reentrant": True})
    model.train()
    optimiser = torch.optim.AdamW(trainable, lr=arguments["learning_rate"], fused=device == "cuda")
    accumulation = arguments.get("gradient_accumulation_steps", 1)

    def step(row_lengths: list[int]) -> None:
        width = -(-max(row_lengths) // 8) * 8  # LLaMA-Factory pads to a multiple of 8
        ids = torch.randint(0, config["vocab_size"], (len(row_lengths), width), device=device)
        mask = torch.arange(width, device=device) < torch.tensor(row_lengths, device=device)[:, None]
        labels = ids.masked_fill(~mask, -100)
        with torch.autocast(device, dtype=dtype):
            loss = model(input_ids=ids, attention_mask=mask.long(), labels=labels).loss
        (loss / accumulation).backward()

    batches = make_batches(lengths, training.batch, "train_sampling_strategy" in arguments)
    started, timed = 0.0, []
    for number, batch in enumerate(batches):
        if number == warmup * accumulation:
            if device == "cuda":
                torch.cuda.synchronize()
            started = time.perf_counter()
        if number >= warmup * accumulation:
            timed += batch
        step(batch)
        if (number + 1) % accumulation == 0:
            optimiser.step()
            optimiser.zero_grad()
    record: dict[str, Any] = {"memory_allocated": None, "memory_reserved": None}
    if device == "cuda":
        torch.cuda.synchronize()
        record = {
            "memory_allocated": torch.cuda.max_memory_allocated(),
            "memory_reserved": torch.cuda.max_memory_reserved(),
        }
    return record | {
        "seconds": time.perf_counter() - started,
        "examples": len(timed),
        "tokens": sum(timed),
        "trainable_parameters": sum(parameter.numel() for parameter in trainable),
    }


def compare_settings(
    shape_file: Path, reference: Path, fast: Path, lengths: list[int], steps: int, device: str
) -> Iterator[dict[str, Any]]:
    """Measure the reference's settings, then add those of SPEED_ARGUMENTS in the fast recipe one by one, then QLoRA."""
    config = json.loads(shape_file.read_text(encoding="utf-8"))
    shape, warmup = Shape.from_config(config), 2
    arguments, target = read_arguments(reference), read_arguments(fast)
    effective_batch = arguments["per_device_train_batch_size"] * arguments["gradient_accumulation_steps"]
    wanted = (warmup + steps) * effective_batch
    drawn = random.Random(0).choices(lengths, k=wanted)
    peak = memory_estimate.peak_tflops(describe_device(device)["device"])
    settings = [("reference", arguments)]
    for key in SPEED_ARGUMENTS:
        if key in target and target[key] != arguments.get(key):
            arguments = arguments | {key: target[key]}
            arguments["gradient_accumulation_steps"] = effective_batch // arguments["per_device_train_batch_size"]
            settings.append((f"+ {key}: {to_json(target[key])}", arguments))
    settings.append(("reference, quantization_bit: 4", read_arguments(reference) | QUANTISED))

    for name, setting in settings:
        print(f"measuring {shape_file.stem}: {name}", file=sys.stderr, flush=True)
        training = LoraTraining.from_arguments(setting)
        record: dict[str, Any] = {"settings": name, "error": None}
        context = multiprocessing.get_context("spawn")
        with concurrent.futures.ProcessPoolExecutor(1, mp_context=context) as pool:
            try:
                record |= pool.submit(measure_shape, config, setting, drawn, warmup, device).result()
            except Exception as error:  # such as out of memory, or a missing package: the table has the reason
                record["error"] = reason_in(f"{type(error).__name__}: {error}")
                yield record
                continue
        record |= {
            "tokens_per_second": record["tokens"] / record["seconds"],
            "examples_per_second": record["examples"] / record["seconds"],
            "mfu": share_of_peak(record, shape, replace(training, checkpointing=False), peak),
            "hfu": share_of_peak(record, shape, training, peak),
            "memory_estimated": sum(memory_estimate.training_memory(shape, training, max(drawn)).values()),
        }
        yield record


def share_of_peak(record: dict[str, Any], shape: Shape, training: LoraTraining, peak: float | None) -> float | None:
    """Return the share of the peak throughput (TFLOPS) that the operations of `training` reach; None if it is unknown.

    Chowdhery et al. 2022 (PaLM), appendix B: MFU counts the operations that the model needs, HFU also those that
    gradient checkpointing repeats.
    """
    mean = record["tokens"] / record["examples"]
    flops = record["tokens"] * memory_estimate.training_flops_per_token(shape, training, mean)
    return flops / record["seconds"] / (peak * 1e12) if peak else None


def reason_in(output: str) -> str:
    """Return the last error in the output of a program, or its last line, as the text of a table's cell."""
    lines = [line for line in output.splitlines() if line.strip()] or ["no message"]
    errors = [line for line in lines if re.match(r"error: |[\w.]*(Error|Exception)\b", line)]
    return (errors or lines)[-1].removeprefix("error: ").replace("|", "/")


def train_model(folder: Path, template: str, rows: list[AlpacaRow], reference: Path, device: str) -> dict[str, Any]:
    """Train a model on alpaca rows as train_adapter does; return time, speed, memory and losses, or why it failed."""
    record: dict[str, Any] = {"model": folder.name, "examples": len(rows), "error": None}
    with tempfile.TemporaryDirectory() as work:
        (Path(work) / "train.json").write_text(to_json(rows), encoding="utf-8")
        (Path(work) / "dataset_info.json").write_text(to_json({"rows": {"file_name": "train.json"}}), encoding="utf-8")
        arguments = read_arguments(reference) | {
            "model_name_or_path": str(folder),
            "dataset_dir": work,
            "dataset": "rows",
            "output_dir": f"{work}/output",
            "num_train_epochs": 1.0,
            "logging_steps": 1,
            "val_size": 0.0,
            "eval_strategy": "no",
            "save_strategy": "no",
            "plot_loss": False,
            "report_to": "none",
            "logging_nan_inf_filter": False,  # otherwise a loss that is not finite is logged as 0
            "disable_tqdm": True,
            "include_num_input_tokens_seen": "non_padding",
            "bf16": "bfloat16" in str(half_precision(device)),
            "fp16": str(half_precision(device)).removeprefix("torch.") == "float16",
        }
        arguments |= {"template": template} if template else {}
        arguments |= {"use_cpu": True} if device == "cpu" else {}
        config = Path(work) / "train.yaml"
        config.write_text(yaml.safe_dump(arguments), encoding="utf-8")
        command = [sys.executable, run_llamafactory.__file__, str(config)]
        environment = trainer_environment(Path(sys.executable), os.cpu_count() or 1) | {"RECORD_VRAM": "1"}
        # One GPU is measured: with several, LLaMA-Factory would start a process for each.
        environment |= {"CUDA_VISIBLE_DEVICES": environment.get("CUDA_VISIBLE_DEVICES", "0").split(",")[0]}
        result = subprocess.run(
            command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, preexec_fn=die_with_parent
        )
        if result.returncode:
            output = result.stdout.decode(errors="replace")
            print(f"{output[-2000:]}\ntraining {folder} failed", file=sys.stderr, flush=True)
            return record | {"error": f"exit code {result.returncode}: {reason_in(output)}"}
        try:
            check_weights(Path(work) / "output/adapter_model.safetensors")
        except InputError as error:
            return record | {"error": reason_in(str(error))}
        log = [json.loads(line) for line in (Path(work) / "output/trainer_log.jsonl").read_text().splitlines()]
        totals = json.loads((Path(work) / "output/train_results.json").read_text())
    losses = [logged["loss"] for logged in log if "loss" in logged]
    return record | {
        "seconds": totals["train_runtime"],
        "examples_per_second": totals["train_samples_per_second"],
        "tokens_per_second": totals["num_input_tokens_seen"] / totals["train_runtime"],
        "memory_allocated": max(logged["vram_allocated"] for logged in log) * 2**30 if device == "cuda" else None,
        "memory_reserved": max(logged["vram_reserved"] for logged in log) * 2**30 if device == "cuda" else None,
        "first_loss": losses[0],
        "last_loss": losses[-1],
    }


def cell(value: Any, digits: int = 1, unit: float = 1.0) -> str:
    """Return a number for the table, or a dash for None."""
    return "–" if value is None else f"{value / unit:,.{digits}f}"


def memory_cell(record: dict[str, Any], *kinds: str) -> str:
    """Return the memory of these kinds, in GB, for the table."""
    return ", ".join(cell(record[f"memory_{kind}"], 1, GB) for kind in kinds)


def format_report(report: dict[str, Any]) -> str:
    """Return a report as Markdown."""
    machine = report["machine"]
    packages = ", ".join(f"{name} {machine[name]}" for name in PACKAGES if machine[name])
    lines = [
        f"# GPU check: {machine['device']}",
        "",
        f"{machine['date']}, {packages}" + (f", CUDA {machine['cuda']}" if "cuda" in machine else ""),
        "",
    ]
    if report["training"]:
        lines += [
            f"## LoRA training with LLaMA-Factory on {report['train']}",
            "",
            "| model | examples | seconds | examples/s | tokens/s | memory: allocated, reserved (GB) "
            "| loss, first and last step |",
            "|---|---|---|---|---|---|---|",
        ]
    for record in report["training"]:
        if record["error"] is not None:
            lines.append(f"| {record['model']} | {record['examples']:,} | {record['error']} | | | | |")
            continue
        lines.append(
            f"| {record['model']} | {record['examples']:,} | {cell(record['seconds'])} "
            f"| {cell(record['examples_per_second'])} | {cell(record['tokens_per_second'], 0)} "
            f"| {memory_cell(record, 'allocated', 'reserved')} "
            f"| {record['first_loss']:.3f}, {record['last_loss']:.3f} |"
        )
    for shape, settings in report["shapes"].items():
        lines += format_settings(shape, settings)
    return "\n".join(lines) + "\n"


def format_settings(shape: str, settings: list[dict[str, Any]]) -> list[str]:
    """Return the lines of the table of one shape."""
    lines = [
        "",
        f"## The reference's settings and the fast ones, on random weights in the shape of {shape}",
        "",
        "| settings | tokens/s | examples/s | memory: allocated, reserved, estimated (GB) | MFU, HFU (%) "
        "| times the reference |",
        "|---|---|---|---|---|---|",
    ]
    base = settings[0].get("tokens_per_second")
    for record in settings:
        if record["error"] is not None:
            lines.append(f"| {record['settings']} | {record['error']} | | | | |")
            continue
        lines.append(
            f"| {record['settings']} | {cell(record['tokens_per_second'], 0)} | {cell(record['examples_per_second'])} "
            f"| {memory_cell(record, 'allocated', 'reserved', 'estimated')} "
            f"| {cell(record['mfu'], 1, 0.01)}, {cell(record['hfu'], 1, 0.01)} "
            f"| {cell(record['tokens_per_second'] / base if base else None, 2)} |"
        )
    return lines


def write_report(report: dict[str, Any], folder: Path) -> None:
    """Write what has been measured so far, as JSON and as Markdown."""
    with atomic_write(folder / "gpu_check.json") as stream:
        stream.write(json.dumps(report, ensure_ascii=False, indent=2) + "\n")
    with atomic_write(folder / "gpu_check.md") as stream:
        stream.write(format_report(report))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    files: list[tuple[str, str, str]] = [
        ("--train", "data/demo/train.json", "CLUENER's train.json"),
        ("--prompt", "conf/prompts/ner-zh.txt", "text file: the user turn"),
        ("--reference", "conf/train/reference.yaml", "recipe: the reference's settings"),
        ("--fast", "conf/train/reference-fast.yaml", "recipe: the fast settings"),
        ("--output-dir", "results/gpu_check", "for gpu_check.json and gpu_check.md"),
    ]
    for name, default, text in files:
        parser.add_argument(name, type=Path, default=Path(default), help=f"{text} (default: %(default)s)")
    parser.add_argument(
        "--shape",
        type=Path,
        action="append",
        help="config.json of a shape; may be repeated (default: " + " and ".join(map(str, SHAPES)) + ")",
    )
    model_help = "model to train, and LLaMA-Factory's template (default: the model's own); may be repeated"
    parser.add_argument("--model", action="append", default=[], metavar="FOLDER[=TEMPLATE]", help=model_help)
    parser.add_argument("--examples", type=int, default=2048, help="sentences of --train (default: %(default)s)")
    parser.add_argument("--steps", type=int, default=8, help="timed steps per setting (default: %(default)s)")
    device_help = "cpu only tries the script, with a tiny --shape (default: %(default)s)"
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda", help=device_help)
    args = parser.parse_args()
    models = [value.partition("=") for value in args.model]
    if missing := [folder for folder, _, _ in models if not Path(folder, "config.json").is_file()]:
        raise InputError(f"--model: no config.json in {', '.join(missing)}; give the folder of a model")

    import torch

    if args.device == "cuda" and not torch.cuda.is_available():
        raise InputError(
            "torch sees no CUDA device: see nvidia-smi, or try the script with --device cpu and a tiny --shape"
        )
    rows = build_rows(args.train, args.prompt, args.examples)
    characters = [sum(len(row[key]) for key in ("instruction", "input", "output")) for row in rows]
    shapes = args.shape or SHAPES
    shape = Shape.from_config(json.loads(shapes[0].read_text(encoding="utf-8")))
    lengths = [memory_estimate.tokens_of(count, shape) for count in characters]

    if args.model and importlib.util.find_spec("llamafactory") is None:
        raise InputError(
            "--model is trained by LLaMA-Factory, which is not installed here: leave it out, or use .envs/train"
        )
    training: list[dict[str, Any]] = []
    measured: dict[str, list[dict[str, Any]]] = {}
    report = {
        "machine": describe_device(args.device),
        "train": str(args.train),
        "training": training,
        "shapes": measured,
    }
    for folder, _, template in models:
        print(f"training {folder}", file=sys.stderr, flush=True)
        training.append(train_model(Path(folder), template, rows, args.reference, args.device))
        write_report(report, args.output_dir)
    for path in shapes:
        settings = measured.setdefault(path.stem, [])
        for record in compare_settings(path, args.reference, args.fast, lengths, args.steps, args.device):
            settings.append(record)
            write_report(report, args.output_dir)
    print(format_report(report))


if __name__ == "__main__":
    run(main)
