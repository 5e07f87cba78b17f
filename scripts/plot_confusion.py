"""Plot the confusion matrix of one run: the labels that it gives to the mentions of each label."""

from __future__ import annotations

import argparse

import altair as alt

from entitune.charts import NAMES, NUMBERS, add_outputs, read_table, shade, text_on, write_figure
from entitune.cli import run


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--confusion", required=True, help="errors/{split}/confusion.tsv of a run")
    parser.add_argument("--title", required=True, help="title above the plot")
    add_outputs(parser)
    args = parser.parse_args()

    spans = read_table(args.confusion)
    support = spans.groupby("gold").spans.transform("sum")
    spans = spans.assign(share=(spans.spans / support.where(support > 0)).fillna(0))
    base = alt.Chart(spans).encode(
        x=alt.X("predicted:N", sort=None, axis=alt.Axis(labelAngle=-40, labelOverlap=False, domain=False, ticks=False)),
        y=alt.Y("gold:N", sort=None, axis=NAMES),
    )
    cells = base.mark_rect(stroke="white").encode(color=shade("share:Q", "share of the row"))
    some = base.transform_filter("datum.spans > 0")
    numbers = some.mark_text(fontSize=NUMBERS).encode(text="spans:Q", color=text_on("share"))
    chart = alt.layer(cells, numbers).properties(
        title=alt.Title(args.title, anchor="start"), width=alt.Step(34), height=alt.Step(22)
    )
    write_figure(chart, args)


if __name__ == "__main__":
    run(main)
