"""Plot training loss, evaluation loss and learning rate of all runs over the epochs."""

from __future__ import annotations

import argparse

import altair as alt
import pandas as pd

from entitune.charts import WIDTH, add_outputs, write_figure
from entitune.cli import run
from entitune.files import read_jsonl

CURVES = {"loss": "training loss", "eval_loss": "evaluation loss", "lr": "learning rate"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--log",
        nargs=3,
        action="append",
        required=True,
        metavar=("RUN", "SEED", "FILE"),
        help="trainer_log.jsonl of one run and seed; repeat it for each run and seed",
    )
    add_outputs(parser)
    args = parser.parse_args()

    points = pd.DataFrame(
        [
            {"run": name, "seed": seed, "epoch": record["epoch"], "curve": curve, "value": record[key]}
            for name, seed, path in args.log
            for record in read_jsonl(path)
            for key, curve in CURVES.items()
            if key in record
        ]
    )
    panels = [
        alt.Chart(points[points.curve == curve])
        .mark_line(point={"size": 18})
        .encode(
            x=alt.X("epoch:Q"),
            y=alt.Y("value:Q", title=curve, axis=alt.Axis(format="~g")),
            color=alt.Color("run:N", sort=None, scale=alt.Scale(scheme="dark2")),
            strokeDash=alt.StrokeDash("run:N", sort=None),
            detail="seed:N",
        )
        .properties(width=WIDTH, height=180)
        for curve in CURVES.values()
        if (points.curve == curve).any()
    ]
    write_figure(alt.vconcat(*panels), args)


if __name__ == "__main__":
    run(main)
