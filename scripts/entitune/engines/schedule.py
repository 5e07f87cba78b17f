"""The length of a training in examples and optimisation steps, from the number of rows and a recipe."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Schedule:
    """The length of a training."""

    examples: int
    """The number of rows that are trained on."""
    steps_per_epoch: int
    steps: int
    """All optimisation steps."""

    @property
    def epochs(self) -> float:
        """How often each example is seen."""
        return self.steps / self.steps_per_epoch


def plan(arguments: Mapping[str, Any], rows: int, processes: int = 1, whole_accumulations: bool = False) -> Schedule:
    """Count a training's examples and steps as LLaMA-Factory 0.9.5 and the Trainer of transformers 5 do.

    Args:
        arguments: LLaMA-Factory's arguments. If they pack rows, the steps are an upper bound: rows are not counted as
            packed.
        rows: The number of rows that are trained on.
        processes: The number of training processes on all nodes. Each has its own batches.
        whole_accumulations: Leave out the last, incomplete accumulation of each epoch, as older releases of
            transformers did.

    Raises:
        ValueError: There would be no step.
    """
    batch = arguments.get("per_device_train_batch_size") or 8
    accumulation = arguments.get("gradient_accumulation_steps") or 1
    batches = math.ceil(rows / (batch * processes))
    steps_per_epoch = batches // accumulation if whole_accumulations else math.ceil(batches / accumulation)
    if steps_per_epoch < 1:
        raise ValueError(
            f"{rows} rows make {batches} batches, fewer than one accumulation of {accumulation}; "
            "set a smaller gradient_accumulation_steps, remove whole_accumulations, or use more rows"
        )
    steps = arguments.get("max_steps") or math.ceil((arguments.get("num_train_epochs") or 3.0) * steps_per_epoch)
    return Schedule(rows, steps_per_epoch, steps)
