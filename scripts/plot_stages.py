"""Plot wall time and peak memory of each stage of each run: the mean over its seeds."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import altair as alt
import pandas as pd

from entitune.charts import WIDTH, write_svg
from entitune.cli import run


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--manifests", type=Path, nargs="+", required=True, help="manifest.json of each run and seed")
    parser.add_argument("--output", required=True, help="SVG")
    args = parser.parse_args()

    stages = pd.DataFrame(
        [
            {
                "run": manifest["config"]["run"],
                "seed": manifest["config"]["seed"],
                "stage": stage.split(".")[0],  # a shard or a split each is one more of the same stage
                "minutes": cost["wall_seconds"] / 60,
                "memory": (cost["peak_memory_mb"] or 0) / 1000,
            }
            for manifest in (json.loads(path.read_text(encoding="utf-8")) for path in args.manifests)
            for stage, cost in manifest["stages"].items()
        ],
        columns=["run", "seed", "stage", "minutes", "memory"],
    )
    by_seed = stages.groupby(["run", "seed", "stage"], sort=False).agg({"minutes": "sum", "memory": "max"})
    means = by_seed.groupby(["run", "stage"], sort=False).mean().reset_index()
    means["step"] = means.run + ", " + means.stage
    panels = []
    for column, title in (("minutes", "wall time in minutes"), ("memory", "peak main memory in GB")):
        base = alt.Chart(means).encode(x=alt.X(f"{column}:Q", title=title), y=alt.Y("step:N", sort=None, title=None))
        numbers = base.mark_text(align="left", dx=3, fontSize=10).encode(text=alt.Text(f"{column}:Q", format=".1f"))
        panels.append(alt.layer(base.mark_bar(color="#777"), numbers).properties(width=WIDTH, height=alt.Step(20)))
    write_svg(alt.vconcat(*panels), args.output)


if __name__ == "__main__":
    run(main)
