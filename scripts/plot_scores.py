"""Plot micro F1 of each run and seed with its interval, the mean over a run's seeds, and published values as lines."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import altair as alt

from entitune.charts import NAMES, NUMBERS, WIDTH, add_outputs, frame, write_figure
from entitune.cli import run
from entitune.evaluation.seeds import Score, over_seeds, read_scores, show_mean
from entitune.tsv import MICRO


@dataclass(frozen=True)
class Published:
    """A published micro F1 on a split. docs/evaluation.md explains the two scorings."""

    dataset: str
    split: str
    scoring: str
    published: str
    f1: float


PUBLISHED = (
    Published("cluener", "dev", "pairs", "Qwen2.5-7B LoRA r8 (reference)", 0.7988),
    Published("cluener", "dev", "pairs", "Qwen2.5-7B LoRA r64", 0.8059),
    Published("cluener", "dev", "spans", "RoBERTa-large + BiLSTM-CRF", 0.7964),
    Published("cluener", "dev", "spans", "BERT span + adversarial", 0.8169),
)


@dataclass(frozen=True)
class Line:
    """A line of the figure. For a mean, `low` and `high` are the mean itself."""

    who: str
    f1: float
    low: float
    high: float
    shown: str
    is_mean: bool


def lines_of(scores: Sequence[Score]) -> Iterator[Line]:
    """Yield a line per seed. If a run has several seeds, a line with their mean follows."""
    for mean in over_seeds(scores):
        for score in scores:
            if score.run == mean.run:
                shown = f"{score.f1:.4f} ({score.f1_low:.3f} to {score.f1_high:.3f})"
                yield Line(f"{score.run}, seed {score.seed}", score.f1, score.f1_low, score.f1_high, shown, False)
        if mean.f1_sd is not None:
            shown = show_mean(mean.f1, mean.f1_sd)
            yield Line(f"{mean.run}, mean of {mean.seeds} seeds", mean.f1, mean.f1, mean.f1, shown, True)


def panel(key: tuple[str, str, str], scores: Sequence[Score]) -> alt.LayerChart | alt.FacetChart:
    """Return the figure of the micro scores of one dataset, split and scoring."""
    lines = list(lines_of(scores))
    known = [one for one in PUBLISHED if (one.dataset, one.split, one.scoring) == key]
    lowest = min([*(line.low for line in lines), *(one.f1 for one in known)])
    highest = max([*(line.high for line in lines), *(one.f1 for one in known)])
    scale = alt.Scale(domain=[max(0, lowest - 0.02), min(1, highest + 0.02)], nice=True)
    base = alt.Chart(frame(lines)).encode(
        x=alt.X("f1:Q", title="micro F1", scale=scale),
        y=alt.Y("who:N", sort=[line.who for line in lines], title=None, axis=NAMES),
    )
    seeds, means = base.transform_filter("!datum.is_mean"), base.transform_filter("datum.is_mean")
    right = alt.value(WIDTH + 8)
    layers = [
        seeds.mark_rule(strokeWidth=2).encode(x=alt.X("low:Q", title="micro F1", scale=scale), x2="high:Q"),
        seeds.mark_point(filled=True, opacity=1, color="black", size=45),
        means.mark_point(filled=True, opacity=1, color="#2171b5", size=90, shape="diamond"),
        seeds.mark_text(align="left", fontSize=NUMBERS).encode(x=right, text="shown:N"),
        means.mark_text(align="left", fontSize=NUMBERS, fontWeight="bold").encode(x=right, text="shown:N"),
    ]
    if known:
        legend = alt.Legend(labelLimit=300, orient="bottom", columns=2)
        dash = alt.StrokeDash("published:N", sort=None, title="published", legend=legend)
        rule = alt.Chart(frame(known)).mark_rule(strokeWidth=1.5, color="#555")
        layers.append(rule.encode(x="f1:Q", strokeDash=dash))
    title = alt.Title("{} {}, {}".format(*key), anchor="start")
    return alt.layer(*layers).properties(title=title, width=WIDTH, height=alt.Step(22))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--metrics", required=True, help="results/metrics.tsv")
    add_outputs(parser)
    args = parser.parse_args()

    panels: dict[tuple[str, str, str], list[Score]] = {}
    for score in read_scores(args.metrics):
        if score.label == MICRO:
            panels.setdefault((score.dataset, score.split, score.scoring), []).append(score)
    chart = alt.vconcat(*(panel(key, scores) for key, scores in panels.items()))
    write_figure(chart.resolve_scale(strokeDash="independent", x="independent"), args)


if __name__ == "__main__":
    run(main)
