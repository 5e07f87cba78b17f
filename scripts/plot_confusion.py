"""Plot which labels one run gives to the mentions of each label."""

from __future__ import annotations

import argparse

import altair as alt

from entitune.charts import read_table, write_svg
from entitune.cli import run


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--confusion", required=True, help="errors/{split}/confusion.tsv of a run")
    parser.add_argument("--title", required=True, help="what stands above the plot")
    parser.add_argument("--output", required=True, help="SVG")
    args = parser.parse_args()

    spans = read_table(args.confusion)
    support = spans.groupby("gold").spans.transform("sum")
    spans = spans.assign(share=(spans.spans / support.where(support > 0)).fillna(0))
    base = alt.Chart(spans).encode(
        x=alt.X("predicted:N", sort=None, axis=alt.Axis(labelAngle=-40)), y=alt.Y("gold:N", sort=None)
    )
    shade = alt.Color("share:Q", title="share of the row", scale=alt.Scale(scheme="greys", domain=[0, 1]))
    dark = alt.condition("datum.share > 0.55", alt.value("white"), alt.value("black"))
    cells = base.mark_rect(stroke="#ddd").encode(color=shade)
    numbers = base.transform_filter("datum.spans > 0").mark_text(fontSize=10).encode(text="spans:Q", color=dark)
    chart = alt.layer(cells, numbers).properties(title=args.title, width=alt.Step(34), height=alt.Step(22))
    write_svg(chart, args.output)


if __name__ == "__main__":
    run(main)
