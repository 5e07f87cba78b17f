"""Plot micro F1 on held-out rows against the step of each checkpoint, and mark the chosen checkpoints."""

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
    """`chosen` or `not chosen`."""


def panel(name: str, points: list[Point]) -> alt.LayerChart | alt.FacetChart:
    """Return the curves of a run, one per seed. The intervals of the seeds are drawn next to each other."""
    seeds, steps = list(dict.fromkeys(point.seed for point in points)), sorted({point.step for point in points})
    table = frame(points)
    table["place"] = table.step + table.seed.map(seeds.index).sub((len(seeds) - 1) / 2) * steps[-1] * 0.012
    base = alt.Chart(table).encode(
        x=alt.X("place:Q", title="optimisation step", axis=alt.Axis(values=steps, format="d", labelOverlap=True)),
        color=alt.Color("seed:N", sort=None, scale=alt.Scale(scheme="dark2")),
    )
    f1 = alt.Y("f1:Q", title="micro F1 on held-out rows", scale=alt.Scale(zero=False))
    shape = alt.Scale(domain=["chosen", "not chosen"], range=["diamond", "circle"])
    size = alt.Scale(domain=["chosen", "not chosen"], range=[160, 40])
    layers = alt.layer(
        base.mark_rule(strokeWidth=1.5, opacity=0.5).encode(y=alt.Y("low:Q"), y2="high:Q"),
        base.mark_line(strokeWidth=1.5).encode(y=f1),
        base.mark_point(filled=True, opacity=1).encode(
            y=f1,
            shape=alt.Shape("checkpoint:N", scale=shape, title="checkpoint"),
            size=alt.Size("checkpoint:N", scale=size, title="checkpoint"),
        ),
    )
    return layers.properties(title=alt.Title(name, anchor="start"), width=WIDTH, height=220)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--scores",
        nargs=3,
        action="append",
        required=True,
        metavar=("RUN", "SEED", "FILE"),
        help="checkpoints.tsv of one run and seed; repeat it for each run and seed",
    )
    add_outputs(parser)
    args = parser.parse_args()

    names = [name for name, _, _ in args.scores]
    points = [
        Point(
            name, seed, *(one.step, one.f1, one.f1_low, one.f1_high), "chosen" if one.chosen == "yes" else "not chosen"
        )
        for name, seed, path in args.scores
        for one in read_checkpoint_scores(path)
    ]
    panels = [panel(name, [point for point in points if point.run == name]) for name in dict.fromkeys(names)]
    write_figure(alt.vconcat(*panels).resolve_scale(x="independent", y="independent"), args)


if __name__ == "__main__":
    run(main)
