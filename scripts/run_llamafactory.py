"""Train like `llamafactory-cli train`, but stop at numbers that are not finite, and write checksums of checkpoints.

The arguments are those of `llamafactory-cli train`: a YAML file, then arguments that override its own. train_adapter
starts this script in the train environment, once per training process.
"""

from __future__ import annotations

import argparse
import math
from pathlib import Path
from typing import Any

from entitune.cli import InputError, run
from entitune.engines.checkpoints import DIVERGED, PARTIAL_STATE, finish

WATCHED = ("loss", "eval_loss", "train_loss", "grad_norm")
"""Logged numbers that must be finite."""


def check_finite(logs: dict[str, Any], step: int, float16: bool) -> None:
    """Raise InputError if a logged number is not finite.

    In float16 a gradient may overflow. The trainer then skips the step and lowers the scale of the next one.
    """
    for name in WATCHED:
        value = logs.get(name)
        if value is not None and not math.isfinite(float(value)) and not (float16 and name == "grad_norm"):
            raise InputError(f"step {step}: {name} is {float(value)}: {DIVERGED}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("config", help="LLaMA-Factory YAML, rendered by render_config")
    parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE", help="arguments that override those of the YAML")
    parser.parse_args()  # for --help; LLaMA-Factory reads the command line itself

    # Imported late, because they take seconds.
    from llamafactory.train.tuner import run_exp
    from transformers import TrainerCallback, TrainerState

    class StopWhereNotFinite(TrainerCallback):  # type: ignore[misc]  # has no types here
        def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:
            check_finite(logs or {}, state.global_step, args.fp16)

        def on_train_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            norms = [logs for logs in state.log_history if "grad_norm" in logs]
            if norms:
                check_finite(norms[-1], state.global_step, float16=False)

    save = TrainerState.save_to_json

    def save_to_json(self: Any, json_path: str) -> None:
        """Write the trainer's state, the last file of a checkpoint, after the checksums of the other files."""
        path = Path(json_path)
        if not path.parent.name.startswith("checkpoint-"):
            save(self, json_path)
            return
        save(self, str(path.with_name(PARTIAL_STATE)))
        finish(path.parent)

    TrainerState.save_to_json = save_to_json
    run_exp(callbacks=[StopWhereNotFinite()])


if __name__ == "__main__":
    run(main)
