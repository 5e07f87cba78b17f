"""Train as `llamafactory-cli train` does, stop where a number is not finite, and finish checkpoints with checksums.

Takes what `llamafactory-cli train` takes: a YAML file, then arguments that override its own. Started by train_adapter,
in the train environment, once for each training process.
"""

from __future__ import annotations

import argparse
import math
from pathlib import Path
from typing import Any

from entitune.cli import InputError, run
from entitune.engines.checkpoints import DIVERGED, PARTIAL_STATE, finish

WATCHED = ("loss", "eval_loss", "train_loss", "grad_norm")
"""What is logged and must be finite."""


def check_finite(logs: dict[str, Any], step: int, float16: bool) -> None:
    """Raise InputError for a logged number that is not finite.

    In float16 a gradient may overflow: the trainer then leaves the step out and scales the next one less.
    """
    for name in WATCHED:
        value = logs.get(name)
        if value is not None and not math.isfinite(float(value)) and not (float16 and name == "grad_norm"):
            raise InputError(f"step {step}: {name} is {float(value)}: {DIVERGED}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("config", help="LLaMA-Factory YAML, rendered by render_config")
    parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE", help="arguments that override those of the YAML")
    parser.parse_args()  # LLaMA-Factory reads the command line for itself

    # Imported late: they take seconds.
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
        """The trainer writes its state as the last file of a checkpoint: so do we, after the checksums."""
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
