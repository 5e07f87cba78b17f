"""What the report's figures share: tables in, vector graphics and small pages out.

Needs pandas and altair (the workflow environment).
"""

from __future__ import annotations

import html
from pathlib import Path

import altair as alt
import pandas as pd

from entitune.files import atomic_write

FONTS = "Noto Sans CJK SC, Noto Sans SC, PingFang SC, Microsoft YaHei, WenQuanYi Micro Hei, sans-serif"
"""Text stays text, in the reader's own fonts: the first of these that is there. All but the last are Chinese."""
WIDTH = 420
"""Pixels of a plot without its labels: readable on a phone held sideways."""

STYLE = (
    f"body {{font: 15px/1.6 {FONTS}; margin: 1rem; color: #111; background: #fff}}"
    " table {border-collapse: collapse} td, th {border: 1px solid #999; padding: .2rem .5rem; text-align: left;"
    " vertical-align: top} .wide {overflow-x: auto} pre {white-space: pre-wrap; font-size: 12px}"
)

alt.data_transformers.disable_max_rows()


def read_table(path: str | Path) -> pd.DataFrame:
    """A table of results/. Only an empty field is no value: a label may be called NA."""
    return pd.read_csv(path, sep="\t", keep_default_na=False, na_values=[""], dtype={"label": str, "run": str})


def write_svg(chart: alt.TopLevelMixin, path: str | Path) -> None:
    """Write a chart as SVG, whole or not at all."""
    configured = chart.configure(font=FONTS, background="white").configure_axis(labelLimit=300)
    with atomic_write(path) as stream:
        configured.save(stream, format="svg")


def write_page(title: str, body: str, path: str | Path, style: str = "") -> None:
    """Write an HTML page that needs nothing beside it."""
    head = (
        '<!DOCTYPE html>\n<html lang="zh-CN"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{html.escape(title)}</title><style>{STYLE} {style}</style></head>\n"
    )
    with atomic_write(path) as stream:
        stream.write(f"{head}<body><h1>{html.escape(title)}</h1>\n{body}\n</body></html>\n")
