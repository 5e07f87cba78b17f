"""Plot what is in a dataset: labels, lengths, unseen mentions, and what is doubtful."""

from __future__ import annotations

import argparse

import altair as alt
import pandas as pd

from entitune.charts import NAMES, WIDTH, add_outputs, read_table, write_figure
from entitune.cli import run

DOUBTS = ("duplicates", "sentences_in_", "repeated_", "unmarked_", "surfaces_with_", "sentences_with_overlapping_")


def bars(figures: pd.DataFrame, title: str, value: str, shown: str) -> alt.Chart:
    """Bars by label, one a split beside the others."""
    chart: alt.Chart = (
        alt.Chart(figures)
        .mark_bar(stroke="black")
        .encode(
            y=alt.Y("label:N", sort=None, title=None, axis=NAMES),
            yOffset=alt.YOffset("split:N", sort=None),
            x=alt.X("value:Q", title=value, axis=alt.Axis(format=shown)),
            color=alt.Color("split:N", sort=None, scale=alt.Scale(range=["#333", "#999", "#eee"])),
        )
        .properties(title=title, width=WIDTH, height=alt.Step(9, **{"for": "offset"}))
    )
    return chart


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--audit", required=True, help="results/audit/{dataset}.tsv")
    add_outputs(parser)
    args = parser.parse_args()

    figures = read_table(args.audit)
    sentences = figures[figures.measure == "sentences"].set_index("split").value
    lengths = figures[figures.measure == "sentences_of_length"]
    lengths = lengths.assign(value=lengths.value / lengths.split.map(sentences))
    unseen = figures[figures.measure.str.startswith("share_unseen_in_train")]
    doubts = figures[figures.measure.str.startswith(DOUBTS)]
    what = (doubts.measure + ", " + doubts.label).str.replace("_", " ").str.removesuffix(", all")
    doubts = doubts.assign(what=what)
    table = (
        alt.Chart(doubts)
        .mark_text()
        .encode(
            x=alt.X("split:N", sort=None, title=None, axis=alt.Axis(orient="top", labelAngle=0)),
            y=alt.Y("what:N", sort=None, title=None, axis=alt.Axis(labelLimit=400, labelOverlap=False)),
            text=alt.Text("value:Q", format=","),
        )
        .properties(title="Worth a look: counts", width=alt.Step(70), height=alt.Step(18))
    )
    panels = [
        bars(figures[figures.measure == "share_of_mentions"], "Mentions by label", "share of the split", ".0%"),
        bars(lengths, "Sentences by length in characters", "share of the split", ".0%"),
        bars(unseen, "Mentions whose text the training split does not mark", "share of the label", ".0%"),
        table,
    ]
    chart = alt.vconcat(*panels, title=f"Dataset {figures.dataset[0]}").resolve_scale(y="independent")
    write_figure(chart, args)


if __name__ == "__main__":
    run(main)
