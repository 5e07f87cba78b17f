"""Plot the number of errors by category and run: the mean over the seeds."""

from __future__ import annotations

import argparse

import altair as alt
import pandas as pd

from entitune.charts import NAMES, NUMBERS, add_outputs, read_table, shade, text_on, write_figure
from entitune.cli import run
from entitune.evaluation.error_analysis import SIDES
from entitune.evaluation.error_categories import CATEGORIES


def mean_errors(tables: list[tuple[str, pd.DataFrame]]) -> pd.DataFrame:
    """Return a row per run and category: `errors`, the mean over its seeds, and their `share` of all errors.

    A missed mention and the prediction that replaces it count as one error.
    """
    rows = []
    for name in dict.fromkeys(name for name, _ in tables):
        own = [table.groupby("category")[list(SIDES)].sum().max(axis=1) for run, table in tables if run == name]
        errors = pd.concat(own, axis=1).reindex(CATEGORIES).fillna(0).mean(axis=1)
        shares = errors / max(1, errors.sum())
        rows += [
            {"run": name, "category": category.replace("_", " "), "errors": errors[category], "share": shares[category]}
            for category in CATEGORIES
        ]
    return pd.DataFrame(rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--categories",
        nargs=2,
        action="append",
        required=True,
        metavar=("RUN", "FILE"),
        help="errors/{split}/categories.tsv of one run and seed; repeat it for each run and seed",
    )
    parser.add_argument("--title", required=True, help="title above the plot")
    add_outputs(parser)
    args = parser.parse_args()

    errors = mean_errors([(name, read_table(path)) for name, path in args.categories])
    errors = errors[errors.groupby("category").errors.transform("sum") > 0]
    base = alt.Chart(errors).encode(
        x=alt.X(
            "run:N", sort=None, title=None, axis=alt.Axis(labelAngle=-30, labelOverlap=False, domain=False, ticks=False)
        ),
        y=alt.Y("category:N", sort=None, title=None, axis=NAMES),
    )
    cells = base.mark_rect(stroke="white").encode(color=shade("share:Q", "share of the run's errors"))
    numbers = base.mark_text(fontSize=NUMBERS).encode(text=alt.Text("errors:Q", format=",.1~f"), color=text_on("share"))
    chart = alt.layer(cells, numbers).properties(
        title=alt.Title(args.title, anchor="start"), width=alt.Step(72), height=alt.Step(20)
    )
    write_figure(chart, args)


if __name__ == "__main__":
    run(main)
