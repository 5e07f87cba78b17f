"""Plot the difference in micro F1 of each pair of runs, with its interval and p-value."""

from __future__ import annotations

import argparse

import altair as alt

from entitune.charts import WIDTH, read_table, write_svg
from entitune.cli import run


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--comparison", required=True, help="results/comparison.tsv")
    parser.add_argument("--output", required=True, help="SVG")
    args = parser.parse_args()

    pairs = read_table(args.comparison)
    pairs = pairs[pairs.label == "micro"]
    pairs = pairs.assign(
        pair=pairs.run_a + " − " + pairs.run_b + " (" + pairs.dataset + ", " + pairs.scoring + ")",
        shown=[f"{d:+.4f}, p {p:.4f}" for d, p in zip(pairs.difference, pairs.p_bootstrap, strict=True)],
    )
    base = alt.Chart(pairs).encode(y=alt.Y("pair:N", sort=None, title=None))
    difference = alt.X("difference:Q", title="difference in micro F1")
    layers = [
        alt.Chart().mark_rule(strokeDash=[4, 4]).encode(x=alt.datum(0)),
        base.mark_rule(strokeWidth=2).encode(x=alt.X("low:Q", title="difference in micro F1"), x2="high:Q"),
        base.mark_point(filled=True, color="black", size=50).encode(x=difference),
        base.mark_text(dy=-10, fontSize=10).encode(x=difference, text="shown:N"),
    ]
    write_svg(alt.layer(*layers, data=pairs).properties(width=WIDTH, height=alt.Step(36)), args.output)


if __name__ == "__main__":
    run(main)
