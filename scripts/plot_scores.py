"""Plot micro F1 of each run and seed with its interval, and published values as lines."""

from __future__ import annotations

import argparse

import altair as alt
import pandas as pd

from entitune.charts import WIDTH, read_table, write_svg
from entitune.cli import run

# Micro F1 on the dev split as published; docs/evaluation.md tells the two scorings apart.
PUBLISHED = pd.DataFrame(
    [
        ("cluener", "pairs", "Qwen2.5-7B LoRA r8 (reference)", 0.7988),
        ("cluener", "pairs", "Qwen2.5-7B LoRA r64", 0.8059),
        ("cluener", "spans", "RoBERTa-large + BiLSTM-CRF", 0.7964),
        ("cluener", "spans", "BERT span + adversarial", 0.8169),
    ],
    columns=["dataset", "scoring", "published", "f1"],
)


def panel(scores: pd.DataFrame, dataset: str, scoring: str) -> alt.LayerChart | alt.FacetChart:
    """The runs of one dataset under one scoring."""
    f1 = alt.X("f1:Q", title="micro F1", scale=alt.Scale(domain=[0, 1]))
    base = alt.Chart(scores[(scores.dataset == dataset) & (scores.scoring == scoring)]).encode(
        x=f1, y=alt.Y("who:N", sort=None, title=None)
    )
    layers = [
        base.mark_rule(strokeWidth=2).encode(x=alt.X("f1_low:Q", title="micro F1"), x2="f1_high:Q"),
        base.mark_point(filled=True, opacity=1, color="black", size=45),
        base.mark_text(dy=-9, fontSize=10).encode(text=alt.Text("f1:Q", format=".4f")),
    ]
    known = PUBLISHED[(PUBLISHED.dataset == dataset) & (PUBLISHED.scoring == scoring)]
    if len(known):
        dash = alt.StrokeDash("published:N", title="published", legend=alt.Legend(labelLimit=300, orient="bottom"))
        layers.append(alt.Chart(known).mark_rule(strokeWidth=1.5, color="#555").encode(x="f1:Q", strokeDash=dash))
    return alt.layer(*layers).properties(title=f"{dataset}, {scoring}", width=WIDTH, height=alt.Step(28))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--metrics", required=True, help="results/metrics.tsv")
    parser.add_argument("--output", required=True, help="SVG")
    args = parser.parse_args()

    scores = read_table(args.metrics)
    scores = scores[scores.label == "micro"]
    scores = scores.assign(who=scores.run + ", seed " + scores.seed.astype(str))
    panels = [panel(scores, *key) for key in dict.fromkeys(zip(scores.dataset, scores.scoring, strict=True))]
    write_svg(alt.vconcat(*panels).resolve_scale(strokeDash="independent"), args.output)


if __name__ == "__main__":
    run(main)
