"""Plot F1 by label and run as a heat map; a value is the mean over a run's seeds."""

from __future__ import annotations

import argparse

import altair as alt
import pandas as pd

from entitune.charts import read_table, write_svg
from entitune.cli import run


def panel(scores: pd.DataFrame, dataset: str, scoring: str) -> alt.LayerChart | alt.FacetChart:
    """The labels and runs of one dataset under one scoring."""
    base = alt.Chart(scores[(scores.dataset == dataset) & (scores.scoring == scoring)]).encode(
        x=alt.X("run:N", sort=None, title=None, axis=alt.Axis(labelAngle=-30)),
        y=alt.Y("label:N", sort=None, title=None),
    )
    scale = alt.Scale(scheme="greys", domain=[0, 1])
    cells = base.mark_rect(stroke="white").encode(color=alt.Color("f1_mean:Q", title="F1", scale=scale))
    dark = alt.condition("datum.f1_mean > 0.55", alt.value("white"), alt.value("black"))
    numbers = base.mark_text(fontSize=11).encode(text=alt.Text("f1_mean:Q", format=".3f"), color=dark)
    return alt.layer(cells, numbers).properties(title=f"{dataset}, {scoring}", width=alt.Step(72), height=alt.Step(22))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", required=True, help="results/seeds.tsv")
    parser.add_argument("--output", required=True, help="SVG")
    args = parser.parse_args()

    scores = read_table(args.seeds)
    panels = [panel(scores, *key) for key in dict.fromkeys(zip(scores.dataset, scores.scoring, strict=True))]
    write_svg(alt.vconcat(*panels), args.output)


if __name__ == "__main__":
    run(main)
