"""Plot the difference in micro F1 of each pair of runs, with its interval and p-value."""

from __future__ import annotations

import argparse

import altair as alt

from entitune.charts import NAMES, NUMBERS, WIDTH, add_outputs, read_table, write_figure
from entitune.cli import run
from entitune.evaluation.significance import show_p
from entitune.tsv import MICRO


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--comparison", required=True, help="results/comparison.tsv")
    add_outputs(parser)
    args = parser.parse_args()

    pairs = read_table(args.comparison)
    pairs = pairs[pairs.label == MICRO]
    splits = " " + pairs.split if pairs.split.nunique() > 1 else ""
    pairs = pairs.assign(
        pair=pairs.run_a + " − " + pairs.run_b + " (" + pairs.dataset + splits + ", " + pairs.scoring + ")",
        shown=[
            f"{difference:+.4f} ({low:+.3f} to {high:+.3f}), {show_p(p, resamples)}"
            for difference, low, high, p, resamples in zip(
                pairs.difference, pairs.low, pairs.high, pairs.p_bootstrap, pairs.resamples, strict=True
            )
        ],
    )
    title = "difference in micro F1"
    base = alt.Chart(pairs).encode(y=alt.Y("pair:N", sort=pairs.pair.tolist(), title=None, axis=NAMES))
    layers = [
        alt.Chart().mark_rule(strokeDash=[4, 4]).encode(x=alt.datum(0)),
        base.mark_rule(strokeWidth=2).encode(x=alt.X("low:Q", title=title), x2="high:Q"),
        base.mark_point(filled=True, opacity=1, color="black", size=50).encode(x=alt.X("difference:Q", title=title)),
        base.mark_text(align="left", fontSize=NUMBERS).encode(x=alt.value(WIDTH + 8), text="shown:N"),
    ]
    write_figure(alt.layer(*layers, data=pairs).properties(width=WIDTH, height=alt.Step(22)), args)


if __name__ == "__main__":
    run(main)
