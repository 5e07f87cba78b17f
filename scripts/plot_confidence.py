"""Plot how reliable a run's confidences are: scores against the threshold, and a reliability diagram."""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Iterator

import altair as alt
import pandas as pd

from entitune.charts import add_outputs, frame, write_figure
from entitune.cli import run
from entitune.evaluation.calibration import Bin, Judged, Threshold, judge
from entitune.records import read_predictions

THRESHOLDS = [step / 100 for step in range(101)]
SIZE = 220
SHARE = alt.Scale(domain=[0, 1])


def scores(judged: Judged, title: str) -> alt.Chart:
    """Return a plot of precision, recall and F1 of the mentions above each threshold."""
    found = frame(list(judged.at_thresholds(THRESHOLDS)), Threshold)
    measures = found.rename(columns={"f1": "F1"}).melt("threshold", var_name="measure")
    lines: alt.Chart = alt.Chart(measures).mark_line(strokeWidth=2)
    lines = lines.encode(
        x=alt.X("threshold:Q", title="lowest confidence that counts", scale=SHARE),
        y=alt.Y("value:Q", title="score (spans)", scale=SHARE),
        color=alt.Color("measure:N", sort=None, title=None, scale=alt.Scale(scheme="dark2")),
        strokeDash=alt.StrokeDash("measure:N", sort=None, title=None),
    )
    lines = lines.properties(title=alt.Title(title, anchor="start"), width=SIZE, height=SIZE)
    return lines


def reliability(judged: Judged) -> alt.LayerChart | alt.FacetChart:
    """Return a plot of the share of correct mentions against confidence; ideal confidences are on the diagonal."""
    bins = frame(judged.bins(), Bin)
    x = alt.X("confidence:Q", title="mean confidence of a range", scale=SHARE)
    y = alt.Y("right:Q", title="share that is right", scale=SHARE)
    base = alt.Chart(bins).encode(x=x, y=y)
    diagonal = alt.Chart(pd.DataFrame({"confidence": [0, 1], "right": [0, 1]})).encode(x=x, y=y)
    layers = [
        diagonal.mark_line(color="#999", strokeDash=[4, 4]),
        base.mark_line(color="#2171b5"),
        base.mark_point(filled=True, opacity=1, color="#2171b5").encode(
            size=alt.Size("mentions:Q", scale=alt.Scale(domainMin=0, range=[20, 250]), legend=alt.Legend(tickCount=3))
        ),
    ]
    title = alt.Title(f"expected calibration error {judged.calibration_error():.3f}", anchor="start")
    return alt.layer(*layers).properties(title=title, width=SIZE, height=SIZE)


def panels(files: list[list[str]]) -> Iterator[alt.HConcatChart]:
    """Yield a row of two plots for each run and split; its seeds are taken together."""
    for name, split in dict.fromkeys((name, split) for name, split, _ in files):
        own = [path for one, where, path in files if (one, where) == (name, split)]
        judged = judge(itertools.chain.from_iterable(map(read_predictions, own)))
        yield alt.hconcat(scores(judged, f"{name}, {split}"), reliability(judged), spacing=40)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--predictions",
        nargs=3,
        action="append",
        required=True,
        metavar=("RUN", "SPLIT", "FILE"),
        help="predictions of one run, split and seed, with confidences; repeat it for each run, split and seed",
    )
    add_outputs(parser)
    args = parser.parse_args()

    write_figure(alt.vconcat(*panels(args.predictions)), args)


if __name__ == "__main__":
    run(main)
