"""Plot F1 by label and run as a heat map of means over seeds, with micro and macro in a separate block."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

import altair as alt
import pandas as pd

from entitune.charts import NAMES, NUMBERS, add_outputs, read_table, shade, text_on, write_figure
from entitune.cli import run
from entitune.evaluation.seeds import show_mean
from entitune.tsv import NOT_LABELS


def panel(scores: pd.DataFrame, dataset: str, split: str, scoring: str) -> alt.VConcatChart:
    """Return the heat map of one dataset, split and scoring."""
    own = scores[(scores.dataset == dataset) & (scores.split == split) & (scores.scoring == scoring)]
    labels = [label for label in dict.fromkeys(own.label) if label not in NOT_LABELS]
    title = alt.Title(f"{dataset} {split}, {scoring}", anchor="start")
    return alt.vconcat(cells(own, labels, False).properties(title=title), cells(own, NOT_LABELS, True), spacing=6)


def cells(scores: pd.DataFrame, order: Sequence[str], runs_named: bool) -> alt.LayerChart | alt.FacetChart:
    """Return a block of the heat map with its rows in `order`. Only the lower block shows the names of the runs."""
    axis = alt.Axis(labelAngle=-30, labelOverlap=False, domain=False, ticks=False) if runs_named else None
    base = alt.Chart(scores[scores.label.isin(order)]).encode(
        x=alt.X("run:N", sort=None, title=None, axis=axis),
        y=alt.Y("label:N", sort=list(order), title=None, axis=NAMES),
    )
    numbers = base.mark_text(fontSize=NUMBERS).encode(text="shown:N", color=text_on("f1_mean"))
    blocks = alt.layer(base.mark_rect(stroke="white").encode(color=shade("f1_mean:Q", "F1")), numbers)
    return blocks.properties(width=alt.Step(92), height=alt.Step(20))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", required=True, help="results/seeds.tsv")
    add_outputs(parser)
    args = parser.parse_args()

    scores = read_table(args.seeds)
    means = zip(scores.f1_mean, scores.f1_sd, strict=True)
    scores = scores.assign(shown=[show_mean(mean, None if pd.isna(sd) else sd, digits=3) for mean, sd in means])
    keys = dict.fromkeys(zip(scores.dataset, scores.split, scores.scoring, strict=True))
    write_figure(alt.vconcat(*(panel(scores, *key) for key in keys)), args)


if __name__ == "__main__":
    run(main)
