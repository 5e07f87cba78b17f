"""What the report's figures share: tables in, vector graphics out.

Needs pandas and altair (the workflow environment).
"""

from __future__ import annotations

from pathlib import Path

import altair as alt
import pandas as pd

from entitune.files import atomic_write
from entitune.html_pages import FONTS

WIDTH = 420
"""Pixels of a plot without its labels: readable on a phone held sideways."""

alt.data_transformers.disable_max_rows()


def read_table(path: str | Path) -> pd.DataFrame:
    """A table of results/. Only an empty field is no value: a label may be called NA."""
    return pd.read_csv(path, sep="\t", keep_default_na=False, na_values=[""], dtype={"label": str, "run": str})


def write_svg(chart: alt.TopLevelMixin, path: str | Path) -> None:
    """Write a chart as SVG, whole or not at all."""
    configured = chart.configure(font=FONTS, background="white").configure_axis(labelLimit=300)
    with atomic_write(path) as stream:
        configured.save(stream, format="svg")
