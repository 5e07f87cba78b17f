"""QLoRA on a CPU: training with the base in 4 bits, prediction with the base in 16 bits."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from helpers import ROOT, losses, python_of, read_jsonl, run_code, run_script, write_jsonl
from training import MODEL, RECIPE, prepare, start_training

from entitune.engines.llamafactory_arguments import check_recipe
from entitune.engines.memory_estimate import LoraTraining, Shape, weight_bytes
from entitune.prompting.prompt import Prompt

QUANTISED = {"quantization_bit": 4, "quantization_method": "bnb", "quantization_type": "nf4"}
HELD = """
import json, sys, torch
from transformers import AutoModelForCausalLM, BitsAndBytesConfig

def held(double):
    config = BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=torch.bfloat16,
        bnb_4bit_quant_storage=torch.bfloat16, bnb_4bit_use_double_quant=double)
    model = AutoModelForCausalLM.from_pretrained(sys.argv[1], dtype=torch.bfloat16, device_map={"": "cpu"},
        quantization_config=config)
    storages = {}
    for parameter in model.parameters():
        state = getattr(parameter, "quant_state", None)
        scales = [] if state is None else [state.absmax] + ([state.state2.absmax] if state.state2 else [])
        for tensor in [parameter.data, *scales]:
            storages[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
    return sum(storages.values())

print("HELD" + json.dumps([held(True), held(False)]))
"""


def test_the_recipes_differ_from_the_reference_only_in_quantisation() -> None:
    read = {
        name: yaml.safe_load((ROOT / "conf" / "train" / f"{name}.yaml").read_text(encoding="utf-8"))
        for name in ("qlora-r16", "reference-qlora", "reference")
    }
    assert read["reference-qlora"] == read["reference"] | {"quantization_bit": 4, "quantization_method": "bnb"}
    assert read["qlora-r16"]["quantization_bit"] == 4
    assert read["qlora-r16"]["lora_rank"] == 16
    assert check_recipe(read["qlora-r16"] | {"lora_target": "q_proj"}, "x") == []


@pytest.mark.engine
def test_the_estimate_equals_the_memory_of_bitsandbytes() -> None:
    shape = Shape.from_config(json.loads((MODEL / "config.json").read_text(encoding="utf-8")))
    held = json.loads(run_code("train", HELD, MODEL).split("HELD")[1])
    for double, size in zip((True, False), held, strict=True):
        training = LoraTraining.from_arguments({"cutoff_len": 512, **QUANTISED, "double_quantization": double})
        assert weight_bytes(shape, training) == pytest.approx(size, rel=0.01)
        assert size < 0.51 * weight_bytes(shape, LoraTraining.from_arguments({"cutoff_len": 512}))


@pytest.mark.engine
def test_an_adapter_of_the_quantised_base_predicts_with_the_base_in_16_bits(tmp_path: Path) -> None:
    """The adapter is trained, merged into the base in 16 bits, and used for predictions."""
    prepare(tmp_path, {"plain": Prompt("找出实体。")})
    folder = tmp_path / "plain"
    process = start_training(
        folder, "quantised", RECIPE | QUANTISED | {"max_steps": 30, "learning_rate": 1.0e-3, "logging_steps": 5}
    )
    _, errors = process.communicate(timeout=600)
    assert process.returncode == 0, errors
    assert "Quantizing model to 4 bit with bitsandbytes" in (folder / "quantised.log").read_text(encoding="utf-8")
    history = [loss for _, loss in losses(folder / "adapter-quantised")]
    assert history[-1] < 0.5 * history[0]
    words = ["--model", MODEL, "--adapter", folder / "adapter-quantised", "--output-dir", folder / "merged"]
    done = run_script("merge_adapter", *words, python=python_of("train"))
    assert done.returncode == 0, done.stderr
    config = json.loads((folder / "merged" / "config.json").read_text(encoding="utf-8"))
    assert "quantization_config" not in config
    assert config["dtype"] == "bfloat16"
    tokens = write_jsonl(folder / "asked.jsonl", read_jsonl(folder / "train.tokens.jsonl")[:3])
    decode = {"max_tokens": 60, "max_model_len": 256, "max_num_seqs": 8, "dtype": "auto", "gpus": 0}
    job = {
        "run": "q",
        "seed": 1,
        "tokens": str(tokens),
        "model": str(folder / "merged"),
        "adapter": None,
        "answer": None,
    }
    words = ["--jobs", json.dumps([job]), "--decode", json.dumps(decode)]
    done = run_script("predict_shard", *words, "--output", folder / "answers.jsonl", python=python_of("predict-cpu"))
    assert done.returncode == 0, done.stderr
    assert all("高远" in answer["raw"] for answer in read_jsonl(folder / "answers.jsonl"))
