"""Write a run's LLaMA-Factory YAML: the recipe's hyperparameters, and the files, template and seed of the run.

The name of the trainer's output folder is a hash of everything that training depends on. So a killed training resumes
from its last checkpoint, but never from a checkpoint of other data, another model or other settings.
"""

from __future__ import annotations

import argparse
import hashlib
import json
from pathlib import Path
from typing import Any

import yaml

from entitune.cli import InputError, run
from entitune.engines.llamafactory_arguments import FIXED, evaluates
from entitune.engines.schedule import Schedule, plan
from entitune.files import atomic_write, read_json, sha256
from entitune.prompting.chat import add_chat_option

HEADER = "# Made by the rule render_config. By hand, from the repository's root: llamafactory-cli train {path}\n"


def with_schedule(recipe: dict[str, Any], length: Schedule, whole_accumulations: bool) -> dict[str, Any]:
    """Return a recipe's arguments with the right number of steps and at least one logged loss."""
    arguments = dict(recipe)
    if whole_accumulations and "max_steps" not in arguments:
        arguments["max_steps"] = length.steps  # the present Trainer would also count incomplete accumulations
    if arguments.get("neat_packing"):
        arguments["logging_first_step"] = True  # the number of steps of packed rows is not known in advance
    elif arguments.get("logging_steps", 500) > length.steps:
        arguments["logging_steps"] = length.steps
    return arguments


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--arguments", type=json.loads, required=True, help="JSON: the recipe's hyperparameters")
    parser.add_argument(
        "--whole-accumulations", action="store_true", help="leave out the last, incomplete accumulation of each epoch"
    )
    parser.add_argument(
        "--processes", type=int, default=1, help="number of training processes on all nodes (default: 1)"
    )
    parser.add_argument("--manifest", type=Path, required=True, help="manifest.json in the base model's folder")
    add_chat_option(parser)
    parser.add_argument("--dataset", required=True, help="the dataset's name in dataset_info.json")
    parser.add_argument(
        "--eval-dataset", help="the name of held_out.json in dataset_info.json (default: no evaluation in training)"
    )
    parser.add_argument("--train", type=Path, required=True, help="train.json, in the folder of dataset_info.json")
    parser.add_argument("--seed", type=int, required=True, help="seed of initialisation, dropout and data order")
    parser.add_argument("--locks", nargs="+", required=True, help="lock files of the train environment")
    parser.add_argument("--checkpoints", type=Path, required=True, help="folder for the trainer's output folder")
    parser.add_argument("--output", required=True, help="the YAML file")
    args = parser.parse_args()

    train = read_json(args.train)
    if not isinstance(train, list):
        raise InputError(f"{args.train}: expected an array of rows, in JSON")
    rows = len(train)
    if args.whole_accumulations and args.arguments.get("neat_packing"):
        raise InputError("whole_accumulations: cannot be used with neat_packing, whose steps are unknown; remove one")
    try:
        length = plan(args.arguments, rows, args.processes, args.whole_accumulations)
    except ValueError as error:
        raise InputError(f"{args.train}: {error}") from None
    print(f"{rows:,} rows to train on; {length.epochs:.4g} epochs, {length.steps:,} steps")

    # The pipeline holds out rows itself: LLaMA-Factory could put rows of the same sentence into both parts.
    recipe = {key: value for key, value in args.arguments.items() if key != "val_size"}
    if args.eval_dataset is None and evaluates(args.arguments):
        raise InputError("--arguments: an evaluation needs held-out rows; give --eval-dataset")
    arguments = {
        "model_name_or_path": str(args.manifest.parent),
        "dataset_dir": str(args.train.parent),
        "dataset": args.dataset,
        **({"eval_dataset": args.eval_dataset} if args.eval_dataset else {}),
        **FIXED,
        **with_schedule(recipe, length, args.whole_accumulations),
        **args.chat.training_arguments,
        "mask_history": True,  # no loss on the examples of a few-shot prompt
        "logging_nan_inf_filter": False,  # otherwise a loss that is not finite is logged as 0
        "seed": args.seed,
        "data_seed": args.seed,
        "overwrite_output_dir": False,  # resume from a checkpoint if there is one
    }
    evaluated = [args.train.with_name("held_out.json")] if args.eval_dataset else []
    made_from = [sha256(path) for path in (args.train, args.manifest, *args.locks, *evaluated)]
    key = hashlib.sha256(json.dumps([arguments, made_from], sort_keys=True).encode()).hexdigest()[:16]
    arguments["output_dir"] = str(args.checkpoints / key)
    with atomic_write(args.output) as stream:
        stream.write(HEADER.format(path=args.output))
        yaml.safe_dump(arguments, stream, sort_keys=False, allow_unicode=True)


if __name__ == "__main__":
    run(main)
