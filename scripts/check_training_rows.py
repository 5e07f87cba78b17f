"""Check before training that the trainer sees the rows that encode_split wrote.

LLaMA-Factory's own data code reads the rendered YAML of a run (with the overrides in `HARDWARE`) and makes input_ids
and labels. Each row must be the prompt that prediction sends, masked, followed by the answer, which has a loss. Runs in
the train environment, needs no GPU and does not load the model.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from collections import Counter
from collections.abc import Iterator
from itertools import zip_longest
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from entitune.cli import InputError, run
from entitune.files import write_json
from entitune.prompting.rows import read_alpaca, read_encoded

HARDWARE: dict[str, Any] = {
    "use_cpu": True,
    "bf16": False,
    "fp16": False,
    "tf32": None,
    "pure_bf16": False,
    "bf16_full_eval": False,
    "fp16_full_eval": False,
    "quantization_bit": None,
    "flash_attn": "auto",
    "enable_liger_kernel": False,
    "torch_compile": False,
    "torch_compile_backend": None,
    "torch_compile_mode": None,
    "preprocessing_num_workers": None,
    "do_eval": False,
    "eval_on_start": False,
    "eval_strategy": "no",
    "load_best_model_at_end": False,
}
"""Overrides for arguments that depend on the training machine or that hold out rows for evaluation."""

MASKED = -100
"""The label of a token without loss."""


class Row(NamedTuple):
    """A training row as the trainer sees it."""

    ids: tuple[int, ...]
    labels: tuple[int, ...]


def expected_rows(train: Path, tokens: Path) -> list[tuple[str, Row]]:
    """Return the sentence id and the expected row of each registered training row, from the output of encode_split."""
    encoded = {record.id: record for record in read_encoded(tokens)}
    rows = []
    for row in read_alpaca(train):
        if row["id"] not in encoded or (answer := encoded[row["id"]].answer_ids) is None:
            raise InputError(f"{tokens}: no prompt and answer for sentence {row['id']} of {train}")
        prompt = encoded[row["id"]].prompt_ids
        rows.append((row["id"], Row((*prompt, *answer), (*[MASKED] * len(prompt), *answer))))
    return rows


def unpacked(sample: dict[str, Any]) -> Iterator[Row]:
    """Yield the rows of a sample. With neat_packing, the attention mask numbers the rows of a sample (0: padding)."""
    numbers = sample["attention_mask"]
    for number in range(1, max(numbers) + 1):
        places = [i for i, value in enumerate(numbers) if value == number]
        yield Row(tuple(sample["input_ids"][i] for i in places), tuple(sample["labels"][i] for i in places))


def difference(sentence: str, expected: Row, trained: Row, decode: Any) -> str:
    """Return a message about where the trainer's row differs from the encoded one."""
    what = "token" if expected.ids != trained.ids else "label"
    ours, theirs = (row.ids if what == "token" else row.labels for row in (expected, trained))
    first = next(i for i, (a, b) in enumerate(zip_longest(ours, theirs)) if a != b)
    texts = (decode([token for token in part[first:][:12] if token != MASKED]) for part in (theirs, ours))
    return f"sentence {sentence}: from {what} {first} on the trainer has {next(texts)!r}, encode_split {next(texts)!r}"


def check_modules(arguments: dict[str, Any]) -> None:
    """Raise InputError if lora_target or additional_target cannot be trained. peft would skip them silently."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    config = AutoConfig.from_pretrained(arguments["model_name_or_path"])
    with torch.device("meta"):
        parts = list(AutoModelForCausalLM.from_config(config).named_modules())
    for key in ("lora_target", "additional_target"):
        for target in (arguments.get(key) or "all").split(","):
            target = target.strip()
            if target != "all" and not any(f".{name}".endswith(f".{target}") for name, _ in parts):
                leaves = {name.rpartition(".")[2] for name, module in parts if not list(module.children())}
                raise InputError(f"{key}: the model has no {target!r}; it has: {', '.join(sorted(leaves))}")
            if key == "lora_target" and target in ("embed_tokens", "lm_head") and config.tie_word_embeddings:
                raise InputError(
                    f"lora_target: {target}: the model uses one matrix as embed_tokens and lm_head, and an adapter for "
                    "only one of the two cannot be merged; train the full matrix with additional_target instead"
                )


def check_schedule(training_args: Any) -> None:
    """Raise InputError if the learning rate schedule or the optimiser cannot be created."""
    import torch
    from transformers import Trainer, get_scheduler

    try:
        Trainer.get_optimizer_cls_and_kwargs(training_args)
        get_scheduler(
            training_args.lr_scheduler_type,
            optimizer=torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0),
            num_warmup_steps=1,
            num_training_steps=10,
            scheduler_specific_kwargs=training_args.lr_scheduler_kwargs,
        )
    except (ImportError, TypeError, ValueError) as error:
        raise InputError(f"optim, optim_args, lr_scheduler_type or lr_scheduler_kwargs: {error}") from error


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--config", type=Path, required=True, help="LLaMA-Factory YAML, rendered by render_config")
    parser.add_argument("--tokens", type=Path, required=True, help="JSONL of encode_split for the training split")
    parser.add_argument("--output", required=True, help="JSON: the numbers of rows and of equal rows")
    args = parser.parse_args()

    arguments = yaml.safe_load(args.config.read_text(encoding="utf-8"))
    os.environ["HF_HUB_OFFLINE"] = "1"

    # Imported late, because they take seconds and --help should be fast.
    from llamafactory.data import get_dataset, get_template_and_fix_tokenizer
    from llamafactory.hparams import get_train_args
    from llamafactory.model import load_tokenizer

    with tempfile.TemporaryDirectory() as folder:
        try:
            parsed = get_train_args(arguments | HARDWARE | {"output_dir": folder})
        except ValueError as error:
            raise InputError(f"{args.config}: LLaMA-Factory refuses the recipe: {error}") from error
    model_args, data_args, training_args, _, _ = parsed
    check_schedule(training_args)
    check_modules(arguments)
    modules = load_tokenizer(model_args)
    template = get_template_and_fix_tokenizer(modules["tokenizer"], data_args)
    dataset = get_dataset(template, model_args, data_args, training_args, stage="sft", **modules)["train_dataset"]

    expected = expected_rows(Path(arguments["dataset_dir"]) / "train.json", args.tokens)
    trained = [row for sample in dataset for row in unpacked(sample)]
    if data_args.packing:  # packing changes the order of rows
        lost = Counter(row for _, row in expected) - Counter(trained)
        first = next((name for name, row in expected if row in lost), None)
        problem = f"sentence {first} is missing or cut; packed rows must be shorter than cutoff_len" if lost else ""
    else:
        pairs = zip(expected, trained, strict=False)
        decode = modules["tokenizer"].decode
        problem = next((difference(name, row, seen, decode) for (name, row), seen in pairs if row != seen), "")
    if not problem and len(expected) != len(trained):
        problem = f"the trainer has {len(trained)} rows, train.json has {len(expected)}"
    if problem:
        raise InputError(f"{args.config}: training would not see the rows that were encoded: {problem}")
    write_json(args.output, {"rows": len(expected), "equal": len(trained), "overrides": HARDWARE})


if __name__ == "__main__":
    run(main)
