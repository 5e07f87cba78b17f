"""Estimates of memory and time, compared with known models, the reference's log, and autograd's saved tensors."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from helpers import ROOT, Result, edit_yaml, run_code, run_script, write_jsonl

from entitune.corpus.selection import held_out_rows
from entitune.engines import memory_estimate
from entitune.engines.memory_estimate import GB, LoraTraining, Shape
from entitune.engines.schedule import plan
from entitune.files import sha256

QWEN_7B = json.loads((ROOT / "conf/shapes/qwen2.5-7b-instruct.json").read_text(encoding="utf-8"))
QWEN3_8B = json.loads((ROOT / "conf/shapes/qwen3-8b.json").read_text(encoding="utf-8"))
SMOLLM2 = json.loads((ROOT / "conf/shapes/smollm2-135m-instruct.json").read_text(encoding="utf-8"))
QWEN = Shape.from_config(QWEN_7B)
ARGUMENTS = yaml.safe_load((ROOT / "conf/train/reference.yaml").read_text(encoding="utf-8"))
REFERENCE = LoraTraining.from_arguments(ARGUMENTS)


def total(parts: dict[str, float]) -> float:
    return sum(parts.values()) / GB


def test_the_shape_equals_the_published_config() -> None:
    # The hub's checksum of config.json at the revision pinned in conf/models.yaml.
    published = "7463bb0ea78315365e6c6b74de4e73bbcc8359dfb0c5a737584e077d42c0b03c"
    assert sha256(ROOT / "conf/shapes/qwen2.5-7b-instruct.json") == published


def test_parameters_are_those_of_the_published_weights() -> None:
    assert 2 * memory_estimate.parameters(QWEN) == 15_231_233_024  # total_size of Qwen2.5-7B-Instruct's weight index
    assert memory_estimate.parameters(Shape.from_config(SMOLLM2)) == 134_515_008


@pytest.mark.parametrize(
    ("model", "parameters"),
    [  # as on the hub; for Qwen3 without the copy of the tied embeddings in its files
        ("qwen2.5-0.5b-instruct", 494_032_768),
        ("qwen2.5-1.5b-instruct", 1_543_714_304),
        ("qwen2.5-14b-instruct", 14_770_033_664),
        ("qwen3-0.6b", 596_049_920),
        ("qwen3-1.7b", 1_720_574_976),
        ("qwen3-4b", 4_022_468_096),
        ("qwen3-4b-instruct-2507", 4_022_468_096),
        ("qwen3-8b", 8_190_735_360),
        ("qwen3-14b", 14_768_307_200),
    ],
)
def test_shapes_have_the_published_number_of_parameters(model: str, parameters: int) -> None:
    shape = json.loads((ROOT / "conf" / "shapes" / f"{model}.json").read_text(encoding="utf-8"))
    assert memory_estimate.parameters(Shape.from_config(shape)) == parameters


@pytest.mark.parametrize(
    ("run", "card"),
    [
        ("cluener-qwen3-1.7b", "NVIDIA GeForce RTX 4060, 8188"),
        ("cluener-qwen3-4b", "NVIDIA GeForce RTX 3060, 12288"),
        ("cluener-qwen3-8b", "NVIDIA L4, 23034"),
        ("cluener-qwen3-14b", "NVIDIA A100-PCIE-40GB, 40960"),
    ],
)
def test_a_run_of_the_sheet_fits_each_size_of_card(run: str, card: str, tmp_path: Path) -> None:
    shutil.copytree(ROOT / "conf", tmp_path / "conf")
    result = estimate(tmp_path, "--runs", run, "--check", gpu=card)
    assert result.returncode == 0, result.stderr


def test_the_table_of_sizes_in_the_docs_equals_the_output_of_the_command(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "conf", tmp_path / "conf")
    printed = estimate(tmp_path, "--sizes").stdout.strip()
    assert printed.count("\n| qwen3-") == 6
    page = (ROOT / "docs" / "gpu.md").read_text(encoding="utf-8")
    assert printed in page, "copy what `python scripts/estimate_resources.py --sizes` prints to docs/gpu.md"


def test_trainable_parameters_equal_those_of_the_references_log() -> None:
    assert memory_estimate.lora_parameters(QWEN, REFERENCE.rank, REFERENCE.target) == 20_185_088
    assert memory_estimate.lora_parameters(QWEN, 64) == 8 * 20_185_088
    assert memory_estimate.lora_parameters(QWEN, 8, "q_proj, v_proj") == 28 * 8 * (3584 + 3584 + 3584 + 512)


def test_lora_targets_are_ends_of_layer_names() -> None:
    """peft reads them so."""
    by_end = memory_estimate.lora_parameters(QWEN, 8, "q_proj, self_attn.v_proj")
    assert by_end == memory_estimate.lora_parameters(QWEN, 8, "q_proj, v_proj")
    assert memory_estimate.lora_parameters(QWEN, 8, "layers.3.mlp.up_proj") == 8 * (3584 + 18944)
    assert memory_estimate.lora_parameters(QWEN, 8, "lm_head") == 8 * (3584 + 152064)


def test_examples_and_steps_equal_those_of_the_references_log() -> None:
    """The reference's Trainer left out the last, incomplete accumulation of an epoch; the current one does not."""
    rows = 10_748 - held_out_rows(0.1, 10_748)
    reference = plan(ARGUMENTS, rows, whole_accumulations=True)
    assert (reference.examples, reference.steps_per_epoch, reference.steps) == (9_673, 302, 906)
    assert plan(ARGUMENTS, rows).steps == 909
    assert plan(ARGUMENTS, rows, processes=2).steps == 3 * 152


def test_a_recipe_has_the_same_effect_on_every_corpus() -> None:
    for rows in (40, 1_000, 50_000):
        length = plan(ARGUMENTS, rows, whole_accumulations=True)
        assert length.examples == rows
        assert length.epochs == 3
    assert plan({"max_steps": 40, "per_device_train_batch_size": 4}, 12).epochs == pytest.approx(40 / 3)


def test_too_few_rows_for_a_step_are_refused() -> None:
    with pytest.raises(ValueError, match="fewer than one accumulation of 8"):
        plan({"gradient_accumulation_steps": 8}, 16, whole_accumulations=True)


def test_the_estimate_is_a_lower_bound_of_the_references_memory() -> None:
    # nvidia-smi showed 30.8 GB: an older transformers copied the logits more often, and the allocator kept free
    # blocks.
    at_cutoff = total(memory_estimate.training_memory(QWEN, REFERENCE, REFERENCE.cutoff))
    assert 0.8 < at_cutoff / 30.8 < 1


def test_recipes_for_any_corpus_differ_only_in_the_bits() -> None:
    def read(name: str) -> dict[str, Any]:
        return dict(yaml.safe_load((ROOT / "conf" / "train" / f"{name}.yaml").read_text(encoding="utf-8")))

    bits = {"quantization_bit", "quantization_method", "quantization_type", "double_quantization"}
    assert read("lora-r16") == {key: value for key, value in read("qlora-r16").items() if key not in bits}


def test_settings_change_memory_and_time_in_the_right_direction() -> None:
    def memory(**changes: Any) -> float:
        return total(memory_estimate.training_memory(QWEN, replace(REFERENCE, **changes), 400))

    assert memory(checkpointing=False) > memory() + 10
    assert memory(fused=True) < memory() - 2
    assert memory(batch=8) > memory()
    assert memory(rank=64) - memory() == pytest.approx(16 * 7 * 20_185_088 / GB, rel=0.05)

    def seconds(training: LoraTraining, **options: Any) -> float:
        return memory_estimate.training_seconds(QWEN, training, 300, 3 * 9_673, 312, **options)

    assert seconds(REFERENCE) == pytest.approx(6_306, rel=0.1)  # the share of the peak was computed from this time
    assert seconds(replace(REFERENCE, checkpointing=False)) == pytest.approx(seconds(REFERENCE) * 2 / 3, rel=0.02)
    assert seconds(REFERENCE, hfu=0.4) == seconds(REFERENCE) / 2
    assert seconds(REFERENCE, gpus=2) == seconds(REFERENCE) / 2


def test_the_kv_cache_follows_from_the_attention_heads() -> None:
    parts = memory_estimate.prediction_memory(QWEN, max_model_len=1024, max_num_seqs=256)
    assert parts["KV cache"] == 256 * 1024 * 57_344  # bytes per token: 2 x 28 layers x 4 heads x 128 x 2


@pytest.mark.parametrize(
    ("name", "tflops"),
    [
        ("NVIDIA A100-PCIE-40GB", 312),
        ("NVIDIA A10", 125),
        ("NVIDIA H100 PCIe", 756),
        ("NVIDIA H100 80GB HBM3", 989),
        ("NVIDIA L40S", 362),
        ("NVIDIA GeForce RTX 4090", 165),
        ("NVIDIA GeForce GT 710", None),
    ],
)
def test_a_gpus_throughput_is_found_by_its_name(name: str, tflops: float | None) -> None:
    assert memory_estimate.peak_tflops(name) == tflops


def test_unsupported_settings_are_refused() -> None:
    with pytest.raises(ValueError, match="only LoRA"):
        LoraTraining.from_arguments({"finetuning_type": "full", "cutoff_len": 1024})
    with pytest.raises(ValueError, match="16 or 4 bits"):
        LoraTraining.from_arguments({"quantization_bit": 8, "cutoff_len": 1024})


def test_a_refusal_names_the_memory_and_the_runs_that_fit() -> None:
    text = memory_estimate.refusal("big", 26.4 * GB, None, ["demo", "cluener-tiny"])
    assert "run big needs a GPU with 26.4 GB of memory, but this machine has none" in text
    assert "Runs that fit here: demo, cluener-tiny" in text
    text = memory_estimate.refusal("big", 26.4 * GB, 16 * GB, [])
    assert "the GPU here has 16.0 GB" in text
    assert "No run of the sheet fits here" in text


@pytest.fixture
def study(tmp_path: Path) -> Path:
    """A repository without results and with two runs; one of them needs a GPU."""
    shutil.copytree(ROOT / "conf" / "train", tmp_path / "conf" / "train")
    files = {
        "config.yaml": {"runs": ["small"]},
        "datasets.yaml": {"corpus": {"format": "cluener", "labels": ["name"], "splits": {"train": "t", "dev": "d"}}},
        "models.yaml": {
            "qwen": {"source": "modelscope", "id": "a/b", "revision": "r", "licence": "x", "template": None}
        },
        "prompts.yaml": {"plain": {"user": "prompt.txt"}},
        "recipes.yaml": {
            "reference": {"config": "train/reference.yaml", "gpus": 1, "threads": 1, "mem_mb": 1, "runtime": 1}
        },
        "decode.yaml": {
            name: {
                "max_tokens": 512,
                "max_model_len": 1024,
                "max_num_seqs": 256,
                "adapter": "lora",
                "gpus": gpus,
                "shards": 1,
            }
            | {"threads": 1, "mem_mb": 1, "runtime": 1}
            for name, gpus in (("cpu", 0), ("gpu", 1))
        },
    }
    for name, value in files.items():
        (tmp_path / "conf" / name).write_text(yaml.safe_dump(value), encoding="utf-8")
    (tmp_path / "conf" / "prompt.txt").write_text("{labels}".ljust(400, "。"), encoding="utf-8")
    (tmp_path / "conf" / "shapes").mkdir()
    (tmp_path / "conf" / "shapes" / "qwen.json").write_text(json.dumps(QWEN_7B), encoding="utf-8")
    header = "run\tdataset\tmodel\tprompt\ttrain\tdecode\tseeds\n"
    rows = "small\tcorpus\tqwen\tplain\tnone\tcpu\t1\nbig\tcorpus\tqwen\tplain\treference\tgpu\t1\n"
    (tmp_path / "conf" / "runs.tsv").write_text(header + rows, encoding="utf-8")
    return tmp_path


def estimate(study: Path, *arguments: str, gpu: str = "", driver: str = "580.65.06") -> Result:
    """Run estimate_resources with an nvidia-smi that prints `gpu` and `driver`, or without one."""
    bin_dir = study / "bin"
    bin_dir.mkdir(exist_ok=True)
    smi = bin_dir / "nvidia-smi"
    answer = f"case $* in *driver_version*) echo '{driver}' ;; *) echo '{gpu}' ;; esac"
    smi.write_text(f"#!/bin/sh\n{answer}\n" if gpu else "#!/bin/sh\nexit 9\n", encoding="utf-8")
    smi.chmod(0o755)
    path = f"{bin_dir}:{os.environ['PATH']}"
    return run_script("estimate_resources", *arguments, cwd=study, env={"PATH": path})


def test_without_data_rows_are_estimated_from_characters(study: Path) -> None:
    result = estimate(study)
    assert result.returncode == 0, result.stderr
    assert "No GPU here; estimates for the reference's GPU, NVIDIA A100-PCIE-40GB" in result.stdout
    # 400 characters of prompt and 200 of sentence and answer, at 1.5 characters per token
    assert "training 20,185,088 parameters, 4 rows of 400 tokens (about a row, by the prompt)" in result.stdout
    assert "the same prompt in every row: 267 tokens, 67% of a row" in result.stdout
    assert "small" not in result.stdout  # needs no GPU
    assert " on 1 x " not in result.stdout  # without rows there is no time

    alpaca = study / "results/datasets/corpus/plain/train.json"
    alpaca.parent.mkdir(parents=True)
    row = {"id": "1", "system": "", "instruction": "抽" * 400, "history": [], "input": "字" * 40, "output": "[]" * 5}
    alpaca.write_text(json.dumps([row] * 10_748), encoding="utf-8")
    result = estimate(study)
    assert "4 rows of 300 tokens (about the longest row, by its characters)" in result.stdout
    assert "9,673 examples, 909 optimisation steps, 300 tokens per row" in result.stdout
    assert "the same prompt in every row: 267 tokens, 89% of a row" in result.stdout
    assert "1 h 40 min on 1 x NVIDIA A100-PCIE-40GB at 20% of 312 TFLOPS" in result.stdout


def test_vocabularies_for_other_languages_need_more_tokens() -> None:
    assert memory_estimate.tokens_of(300, QWEN) == 200
    assert memory_estimate.tokens_of(300, Shape.from_config(SMOLLM2)) == 300


def test_a_refusal_lists_the_runs_that_fit(study: Path) -> None:
    result = estimate(study, "--runs", "big", "--check")
    assert result.returncode == 1
    assert "run big needs a GPU with 20.2 GB of memory, but this machine has none" in result.stderr
    assert "Runs that fit here: small." in result.stderr
    result = estimate(study, "--runs", "big", "--check", gpu="Tesla T4, 15360")
    assert result.returncode == 1
    assert "the GPU here has 16.1 GB" in result.stderr
    result = estimate(study, "--runs", "big", "--check", gpu="NVIDIA A100-PCIE-40GB, 40960")
    assert result.returncode == 0, result.stderr


def test_a_driver_that_is_too_old_is_refused_before_the_first_job(study: Path) -> None:
    a100 = "NVIDIA A100-PCIE-40GB, 40960"
    result = estimate(study, "--runs", "big", "--check", gpu=a100, driver="470.57.02")
    assert result.returncode == 1
    assert "the NVIDIA driver of this machine is 470.57.02; the engines need 525 or newer (CUDA 12)" in result.stderr
    assert estimate(study, "--runs", "big", "--check", gpu=a100, driver="535.104.05").returncode == 0
    edit_yaml(study / "conf" / "config.yaml", cuda=13)
    result = estimate(study, "--runs", "big", "--check", gpu=a100, driver="535.104.05")
    assert result.returncode == 1
    assert "which needs 580 or newer. Set `cuda: 12` in conf/config.yaml" in result.stderr


def test_encoded_rows_and_a_finished_training_make_the_estimate_exact(study: Path) -> None:
    # 240 tokens before the sentence, 5 after it
    rows = [
        {"id": str(i), "prompt_ids": [7] * 240 + [i + 10] * 35 + [8] * 5, "answer_tokens": 20} for i in range(10_748)
    ]
    write_jsonl(study / "results/datasets/corpus/plain/qwen/train.tokens.jsonl", rows)
    log = {"current_steps": 909, "elapsed_time": "1:45:06", "vram_allocated": 28.0}
    write_jsonl(study / "results/big/seed-1/adapter/trainer_log.jsonl", [log])
    result = estimate(study, "--runs", "big")
    assert result.returncode == 0, result.stderr
    assert "4 rows of 300 tokens (the longest row)" in result.stdout
    assert "9,673 examples, 909 optimisation steps, 300 tokens per row" in result.stdout
    assert "the same prompt in every row: 245 tokens, 82% of a row" in result.stdout
    assert "; measured without the context: 30.06 GB" in result.stdout
    assert "; measured: 1 h 45 min" in result.stdout


def test_an_unknown_run_or_shape_is_named(study: Path) -> None:
    result = estimate(study, "--runs", "none")
    assert result.returncode == 1
    assert "conf/runs.tsv has no run 'none'; it has: small, big" in result.stderr
    shape = study / "conf" / "shapes" / "qwen.json"
    shape.write_text("{}", encoding="utf-8")
    result = estimate(study)
    assert result.returncode == 1
    assert "conf/shapes/qwen.json: 'hidden_size' is missing" in result.stderr
    shape.unlink()
    assert (
        "the shape of qwen is unknown: fetch the model, or save its config.json as conf/shapes"
        in estimate(study).stderr
    )


COUNT_SAVED = """
import json, sys
import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoConfig, AutoModelForCausalLM

def saved_bytes(shape, layers, checkpointing):
    # The bytes that autograd keeps of a padded batch, without parameters: each storage once.
    torch.manual_seed(0)
    config = AutoConfig.for_model(**shape | {"num_hidden_layers": layers, "use_cache": False})
    model = get_peft_model(
        AutoModelForCausalLM.from_config(config).to(torch.bfloat16),
        LoraConfig(r=8, target_modules="all-linear", lora_dropout=0.0),
    )
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.float()
    if checkpointing:
        model.enable_input_require_grads()
        model.gradient_checkpointing_enable({"use_reentrant": True})
    model.train()
    parameters = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}
    kept = {}

    def pack(tensor):
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in parameters:
            kept[storage.data_ptr()] = (storage.nbytes(), tensor)
        return tensor

    ids = torch.randint(0, config.vocab_size, (2, 256))
    mask = torch.ones_like(ids)
    mask[0, -20:] = 0
    hooks = torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor)
    with hooks, torch.autocast("cpu", dtype=torch.bfloat16):
        model(input_ids=ids, labels=ids, attention_mask=mask)
    return sum(size for size, _ in kept.values())

shapes = json.loads(sys.argv[1])
print(json.dumps([[saved_bytes(one, 3, gc) - saved_bytes(one, 2, gc) for gc in (False, True)] for one in shapes]))
"""


@pytest.mark.engine
def test_activations_equal_the_tensors_that_autograd_saves() -> None:
    small = {"hidden_size": 256, "intermediate_size": 704, "vocab_size": 512}
    small |= {"num_attention_heads": 8, "num_key_value_heads": 2}
    # The heads of Qwen3 are wider than its hidden size, and it normalises queries and keys.
    configs = [QWEN_7B | small, QWEN3_8B | small | {"head_dim": 48}]
    counted = json.loads(run_code("train", COUNT_SAVED, json.dumps(configs)).splitlines()[-1])
    tokens = 2 * 256
    for config, (layer, checkpointed) in zip(configs, counted, strict=True):
        shape = Shape.from_config(config)
        # autocast's copies, once per batch: negligible at full size
        lora = 2 * memory_estimate.lora_parameters(shape, 8) / shape.layers
        assert layer == pytest.approx(memory_estimate.layer_activation_bytes(shape, 256, 8) * tokens + lora, rel=0.01)
        assert checkpointed == 2 * shape.hidden * tokens
