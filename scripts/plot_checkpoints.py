"""Plot micro F1 on held-out rows of the training split against the step of each checkpoint, with the chosen ones."""

from __future__ import annotations

import argparse
from dataclasses import dataclass

import altair as alt

from entitune.charts import WIDTH, add_outputs, frame, write_figure
from entitune.cli import run
from entitune.evaluation.checkpoint_scores import read_checkpoint_scores


@dataclass(frozen=True)
class Point:
    """A checkpoint of a run and seed."""

    run: str
    seed: str
    step: int
    f1: float
    low: float
    high: float
    checkpoint: str
    """`chosen`, or `not chosen`."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--scores",
        nargs=3,
        action="append",
        required=True,
        metavar=("RUN", "SEED", "FILE"),
        help="checkpoints.tsv of one run and seed; give it once for each",
    )
    add_outputs(parser)
    args = parser.parse_args()

    points = [
        Point(
            name, seed, *(one.step, one.f1, one.f1_low, one.f1_high), "chosen" if one.chosen == "yes" else "not chosen"
        )
        for name, seed, path in args.scores
        for one in read_checkpoint_scores(path)
    ]
    f1 = alt.Y("f1:Q", title="micro F1 on held-out rows", scale=alt.Scale(zero=False))
    panels = []
    for name in dict.fromkeys(point.run for point in points):
        base = alt.Chart(frame([point for point in points if point.run == name])).encode(
            x=alt.X("step:Q", title="optimisation step"),
            color=alt.Color("seed:N", sort=None, scale=alt.Scale(scheme="dark2")),
        )
        chart = alt.layer(
            base.mark_rule(strokeWidth=1, opacity=0.6).encode(y=alt.Y("low:Q"), y2="high:Q"),
            base.mark_line(strokeWidth=1.5).encode(y=f1, strokeDash=alt.StrokeDash("seed:N", sort=None)),
            base.mark_point(opacity=1, size=60).encode(
                y=f1,
                fill=alt.Fill("seed:N", sort=None, scale=alt.Scale(scheme="dark2"), legend=None),
                shape=alt.Shape(
                    "checkpoint:N",
                    scale=alt.Scale(domain=["chosen", "not chosen"], range=["diamond", "circle"]),
                    title="checkpoint",
                ),
            ),
        )
        panels.append(chart.properties(title=alt.Title(name, anchor="start"), width=WIDTH, height=220))
    write_figure(alt.vconcat(*panels).resolve_scale(x="independent", y="independent"), args)


if __name__ == "__main__":
    run(main)
