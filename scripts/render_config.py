"""Render a run's LLaMA-Factory YAML: the recipe's hyper-parameters, and the files, template and seed of the run.

The output folder is keyed by a hash of everything that training depends on, so that a killed training resumes from
its last checkpoint, and never from a checkpoint that other data, another model or other settings made.
"""

from __future__ import annotations

import argparse
import hashlib
import json
from pathlib import Path

import yaml

from entitune.cli import run
from entitune.files import atomic_write, sha256

HEADER = "# Made by the rule render_config. By hand, from the repository's root: llamafactory-cli train {path}\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--arguments", type=json.loads, required=True, help="JSON: the recipe's hyper-parameters")
    parser.add_argument("--manifest", type=Path, required=True, help="manifest.json in the base model's folder")
    parser.add_argument("--template", help="LLaMA-Factory template (default: the model's own chat template)")
    parser.add_argument("--dataset", required=True, help="the dataset's name in dataset_info.json")
    parser.add_argument("--train", type=Path, required=True, help="train.json beside dataset_info.json")
    parser.add_argument("--seed", type=int, required=True, help="seed of initialisation, dropout and data order")
    parser.add_argument("--lock", required=True, help="lock file of the train environment")
    parser.add_argument("--checkpoints", type=Path, required=True, help="folder of the keyed output folders")
    parser.add_argument("--output", required=True, help="the YAML file")
    args = parser.parse_args()

    arguments = {
        "model_name_or_path": str(args.manifest.parent),
        "dataset_dir": str(args.train.parent),
        "dataset": args.dataset,
        **({"template": args.template} if args.template else {}),
        # A log file is no place for a bar, and nothing is reported to a tracking service.
        "disable_tqdm": True,
        "report_to": "none",
        **args.arguments,
        "seed": args.seed,
        "data_seed": args.seed,
        "overwrite_output_dir": False,  # resume from a checkpoint if there is one
    }
    made_from = [sha256(path) for path in (args.train, args.manifest, args.lock)]
    key = hashlib.sha256(json.dumps([arguments, made_from], sort_keys=True).encode()).hexdigest()[:16]
    arguments["output_dir"] = str(args.checkpoints / key)
    with atomic_write(args.output) as stream:
        stream.write(HEADER.format(path=args.output))
        yaml.safe_dump(arguments, stream, sort_keys=False, allow_unicode=True)


if __name__ == "__main__":
    run(main)
