"""Plot the audit of a dataset: labels, lengths, unseen mentions, and doubtful annotations."""

from __future__ import annotations

import argparse

import altair as alt
import pandas as pd

from entitune.charts import NAMES, SPLITS, WIDTH, add_outputs, read_table, write_figure
from entitune.cli import run

DOUBTS = ("duplicates", "sentences_in_", "repeated_", "unmarked_", "surfaces_with_", "sentences_with_overlapping_")


def bars(figures: pd.DataFrame, splits: list[str], title: str, value: str) -> alt.Chart:
    """Return bars by label, one for each split that has values."""
    step = alt.Step(max(6, 16 // max(1, figures.split.nunique())), **{"for": "offset"})
    chart: alt.Chart = (
        alt.Chart(figures)
        .mark_bar()
        .encode(
            y=alt.Y("label:N", sort=None, title=None, axis=NAMES),
            yOffset=alt.YOffset("split:N", sort=None),
            x=alt.X("value:Q", title=value, axis=alt.Axis(format=".0%")),
            color=alt.Color("split:N", sort=None, scale=alt.Scale(domain=splits, range=SPLITS[: len(splits)])),
        )
        .properties(title=alt.Title(title, anchor="start"), width=WIDTH, height=step)
    )
    return chart


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--audit", required=True, help="results/audit/{dataset}.tsv")
    add_outputs(parser)
    args = parser.parse_args()

    figures = read_table(args.audit)
    splits = list(dict.fromkeys(figures.split))
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
            x=alt.X(
                "split:N", sort=None, title=None, axis=alt.Axis(orient="top", labelAngle=0, domain=False, ticks=False)
            ),
            y=alt.Y("what:N", sort=None, title=None, axis=NAMES),
            text=alt.Text("value:Q", format=","),
        )
        .properties(title=alt.Title("Worth a look: counts", anchor="start"), width=alt.Step(70), height=alt.Step(18))
    )
    panels = [
        bars(figures[figures.measure == "share_of_mentions"], splits, "Mentions by label", "share of the split"),
        bars(lengths, splits, "Sentences by length in characters", "share of the split"),
        bars(unseen, splits, "Mentions whose text the training split does not mark", "share of the label"),
        table,
    ]
    title = alt.Title(f"Dataset {figures.dataset[0]}", fontSize=15)
    chart = alt.vconcat(*panels, title=title).resolve_scale(y="independent", yOffset="independent")
    write_figure(chart, args)


if __name__ == "__main__":
    run(main)
