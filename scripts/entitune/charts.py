"""Functions that the report's figures share: they read tables and write vector graphics.

Needs pandas and altair (the workflow environment).
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import altair as alt
import pandas as pd

from entitune.files import atomic_write
from entitune.html_pages import FONTS

WIDTH = 420
"""Width of a plot in pixels, without its labels: readable on a phone in landscape."""
NUMBERS = 10
"""Font size of the numbers in a plot."""
NAMES = alt.Axis(domain=False, ticks=False, labelOverlap=False, labelPadding=8)
"""The axis of a chart with one row per name."""
DARK = 0.85
"""Text on a cell is white above this share. At this share, white and black have the same contrast."""
SPLITS = ("#08306b", "#6baed6", "#c6dbef")
"""The colours of up to three splits. They differ in grey as well."""

alt.data_transformers.disable_max_rows()


def read_table(path: str | Path) -> pd.DataFrame:
    """Read a table of results/. Only an empty field is a missing value: a label may be called NA."""
    return pd.read_csv(path, sep="\t", keep_default_na=False, na_values=[""], dtype={"label": str, "run": str})


def frame(records: Sequence[Any], kind: type[Any] | None = None) -> pd.DataFrame:
    """Return records of one dataclass as a table. Pass the dataclass as `kind` if there may be no records."""
    columns = None if kind is None else [one.name for one in fields(kind)]
    return pd.DataFrame([asdict(record) for record in records], columns=columns)


UNITS = ((3600, "h"), (60, "min"), (1, "s"))


def show_duration(seconds: float) -> str:
    """Return a duration for readers, in the unit that fits: 0.2 s, 14 s, 1.9 min, 2.0 h."""
    size, unit = next(one for one in UNITS if seconds >= one[0] or one is UNITS[-1])
    return f"{seconds / size:.{0 if size == 1 and seconds >= 10 else 1}f} {unit}"


def shade(field: str, title: str) -> alt.Color:
    """Return the colour of a share from 0 to 1: nearly white to dark blue, so that the order shows in grey as well."""
    blues = ["#f7fbff", "#deebf7", "#9ecae1", "#4292c6", "#084594"]
    return alt.Color(field, title=title, scale=alt.Scale(domain=[0, 0.25, 0.5, 0.75, 1], range=blues))


def text_on(field: str) -> Any:
    """Return the colour of text on a cell that `shade` colours by a field."""
    return alt.when(f"datum.{field} > {DARK}").then(alt.value("white")).otherwise(alt.value("black"))


def add_outputs(parser: argparse.ArgumentParser) -> None:
    """Add the options of every figure: --output and --pdf."""
    parser.add_argument("--output", required=True, help="SVG")
    parser.add_argument("--pdf", help="the same figure as PDF")


def write_figure(chart: alt.TopLevelMixin, args: argparse.Namespace) -> None:
    """Write a chart to the files that the options of `add_outputs` name, each atomically."""
    configured = (
        chart.configure(font=FONTS, background="white")
        .configure_axis(labelLimit=300, gridColor="#e8e8e8", labelOverlap="greedy", tickCount=6)
        .configure_view(stroke=None)
    )
    with atomic_write(args.output) as stream:
        configured.save(stream, format="svg")
    if args.pdf:
        with atomic_write(args.pdf, "wb") as stream:
            configured.save(stream, format="pdf")
