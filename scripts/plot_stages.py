"""Plot wall time and peak memory of each stage of each run: the mean over its seeds."""

from __future__ import annotations

import argparse
from pathlib import Path

import altair as alt
import pandas as pd

from entitune.charts import NAMES, NUMBERS, UNITS, WIDTH, add_outputs, show_duration, write_figure
from entitune.cli import run
from entitune.run_manifest import RunManifest

ORDER = ("train_adapter", "merge_adapter", "predict_shard")
"""The stages that run an engine, in the order of a run. Other stages follow."""


def mean_costs(manifests: list[Path]) -> pd.DataFrame:
    """Return seconds and GB by run and stage: over the shards of a stage, the sum of times and the largest memory."""
    stages = pd.DataFrame(
        [
            {
                "run": manifest.run,
                "seed": manifest.seed,
                "stage": stage.split(".")[0],  # shards and splits of a stage belong together
                "seconds": cost.wall_seconds,
                "memory": cost.peak_memory_mb / 1000,
            }
            for manifest in map(RunManifest.read, manifests)
            for stage, cost in manifest.stages.items()
        ],
        columns=["run", "seed", "stage", "seconds", "memory"],
    )
    by_seed = stages.groupby(["run", "seed", "stage"], sort=False).agg({"seconds": "sum", "memory": "max"})
    means = by_seed.groupby(["run", "stage"], sort=False).mean().reset_index()
    runs = list(dict.fromkeys(means.run))
    stage_order = [*ORDER, *means.stage[~means.stage.isin(ORDER)].unique()]
    means = means.sort_values("stage", key=lambda names: names.map(stage_order.index), kind="stable")
    return means.sort_values("run", key=lambda names: names.map(runs.index), kind="stable")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--manifests", type=Path, nargs="+", required=True, help="manifest.json of each run and seed")
    add_outputs(parser)
    args = parser.parse_args()

    means = mean_costs(args.manifests)
    size, unit = next((one for one in UNITS if means.seconds.max() >= 2 * one[0]), UNITS[-1])
    means = means.assign(
        step=means.run + ", " + means.stage,
        time=means.seconds / size,
        time_shown=means.seconds.map(show_duration),
        memory_shown=means.memory.map("{:.1f}".format),
    )
    panels = []
    for column, title in (("time", f"wall time ({unit})"), ("memory", "peak main memory (GB)")):
        base = alt.Chart(means).encode(
            x=alt.X(f"{column}:Q", title=title),
            y=alt.Y("step:N", sort=means.step.tolist(), title=None, axis=NAMES),
        )
        numbers = base.mark_text(align="left", dx=4, fontSize=NUMBERS).encode(text=f"{column}_shown:N")
        panels.append(alt.layer(base.mark_bar(color="#6baed6"), numbers).properties(width=WIDTH, height=alt.Step(20)))
    write_figure(alt.vconcat(*panels), args)


if __name__ == "__main__":
    run(main)
