"""Merge a LoRA adapter, or each candidate of a training, into its base model. Runs in the train environment.

On a CPU, vLLM is 16 times slower with an unmerged adapter than with the merged model.
"""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path

from entitune.cli import run
from entitune.engines.candidates import candidates_in
from entitune.job_records import recorded_job
from entitune.manifests import ModelManifest, check_model


def merge(model: Path, adapter: Path, output_dir: Path) -> None:
    """Merge an adapter into its base model and write the result with the base model's tokenizer."""
    # Imported late, because they take seconds and --help should be fast.
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer

    base = AutoModelForCausalLM.from_pretrained(model, dtype="auto")
    # Merge in float32 and round once, to the base model's own type.
    merged = PeftModel.from_pretrained(base.to(torch.float32), adapter).merge_and_unload().to(base.config.dtype)
    inputs, outputs = merged.get_input_embeddings().weight, merged.get_output_embeddings().weight
    if merged.config.tie_word_embeddings and not torch.equal(inputs, outputs):
        merged.config.tie_word_embeddings = False  # one was fully trained; vLLM would use the other one for both
    merged.save_pretrained(output_dir)
    AutoTokenizer.from_pretrained(model).save_pretrained(output_dir)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, required=True, help="folder of the base model")
    parser.add_argument("--adapter", type=Path, required=True, help="folder of the adapter, or of the candidates")
    parser.add_argument("--candidates", action="store_true", help="merge each checkpoint-STEP folder separately")
    parser.add_argument("--record", type=Path, help="JSON: node, time and memory of the job (default: none)")
    parser.add_argument("--output-dir", type=Path, required=True, help="folder of the merged model")
    args = parser.parse_args()

    check_model(args.model)
    shutil.rmtree(args.output_dir, ignore_errors=True)
    adapters = list(candidates_in(args.adapter).values()) if args.candidates else [args.adapter]
    with recorded_job(args.record):
        for adapter in adapters:
            merge(args.model, adapter, args.output_dir / adapter.relative_to(args.adapter))
    manifest = ModelManifest.of_folder(
        args.output_dir, model=f"{args.model} + {args.adapter}", source="merge_adapter", revision=None
    )
    manifest.write(args.output_dir)


if __name__ == "__main__":
    run(main)
