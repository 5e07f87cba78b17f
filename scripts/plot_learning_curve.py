"""Plot micro F1 against the number of training sentences: the mean over seeds, with the intervals of the seeds."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass

import altair as alt

from entitune.charts import WIDTH, add_outputs, frame, write_figure
from entitune.cli import InputError, run
from entitune.evaluation.seeds import SeedMean, over_seeds, read_scores
from entitune.tsv import MICRO

APART = 1.04
"""The distance between points of different curves at the same size, as a factor: the axis is logarithmic."""


@dataclass(frozen=True)
class Point:
    """A point of a curve: the score of a run that is trained on a number of sentences."""

    curve: str
    sentences: int
    x: float
    """The x value: the points of several curves at the same size are drawn next to each other."""
    f1: float
    low: float
    high: float


def panel(key: tuple[str, str, str], points: Sequence[Point]) -> alt.LayerChart | alt.FacetChart:
    """Return the curves of one dataset, split and scoring."""
    sizes = sorted({point.sentences for point in points})
    f1 = alt.Y(
        "f1:Q",
        title="micro F1",
        scale=alt.Scale(
            domain=[max(0, min(one.low for one in points) - 0.02), min(1, max(one.high for one in points) + 0.02)]
        ),
    )
    base = alt.Chart(frame(points)).encode(
        x=alt.X(
            "x:Q",
            title="training sentences",
            scale=alt.Scale(type="log", domain=[sizes[0] / 1.2, sizes[-1] * 1.2], nice=False),
            axis=alt.Axis(values=sizes, format=",d"),
        ),
    )
    color = alt.Color("curve:N", sort=None, title="run", scale=alt.Scale(scheme="dark2"))
    lines = base.encode(color=color.legend(None))
    # Colours are independent, so that the only legend is that of the points, with colour and shape.
    chart: alt.LayerChart = alt.layer(
        lines.mark_rule(strokeWidth=1.5).encode(y=alt.Y("low:Q", title="micro F1"), y2="high:Q"),
        lines.mark_line(strokeWidth=1.5).encode(y=f1),
        base.mark_point(filled=True, opacity=1, size=50).encode(
            y=f1, color=color, shape=alt.Shape("curve:N", sort=None, title="run")
        ),
    ).resolve_scale(color="independent", shape="independent")
    return chart.properties(title=alt.Title("{} {}, {}".format(*key), anchor="start"), width=WIDTH, height=240)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--metrics", required=True, help="results/metrics.tsv")
    parser.add_argument(
        "--point",
        nargs=3,
        action="append",
        required=True,
        metavar=("RUN", "CURVE", "SENTENCES"),
        help="a run, its curve, and the number of sentences that it is trained on; repeat it for each run",
    )
    add_outputs(parser)
    args = parser.parse_args()
    if wrong := [sentences for _, _, sentences in args.point if not sentences.isdecimal() or int(sentences) < 1]:
        parser.error(f"--point: expected a number of sentences, got {wrong[0]!r}")

    means: dict[str, list[SeedMean]] = {}
    for mean in over_seeds(score for score in read_scores(args.metrics) if score.label == MICRO):
        means.setdefault(mean.run, []).append(mean)
    panels: dict[tuple[str, str, str], list[Point]] = {}
    curves = list(dict.fromkeys(curve for _, curve, _ in args.point))
    for name, curve, sentences in args.point:
        if name not in means:
            raise InputError(f"--point {name}: {args.metrics} has no such run; it has: {', '.join(means)}")
        for mean in means[name]:
            x = int(sentences) * APART ** (curves.index(curve) - (len(curves) - 1) / 2)
            point = Point(curve, int(sentences), x, mean.f1, mean.f1_low, mean.f1_high)
            panels.setdefault((mean.dataset, mean.split, mean.scoring), []).append(point)
    chart = alt.vconcat(*(panel(key, points) for key, points in panels.items()))
    write_figure(chart.resolve_scale(x="independent", y="independent", shape="independent"), args)


if __name__ == "__main__":
    run(main)
