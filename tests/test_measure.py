"""The tables of README and docs that `benchmarks/measure.py` fills."""

from __future__ import annotations

import re

import measure


def test_every_marked_table_can_be_measured() -> None:
    marks = {name for path in measure.documents() for name in re.findall(r"<!-- measured: (\S+) -->", path.read_text())}
    tables = {match[1] for path in measure.documents() for match in measure.MARK.finditer(path.read_text())}
    assert marks == tables, "a mark is the line before a table"
    assert tables <= measure.TABLES.keys()


def test_rows_are_replaced_and_the_rest_is_kept() -> None:
    text = "a\n\n<!-- measured: demo -->\n| run | F1 |\n|---|---|\n| `x` | 0.1 |\n| `y` | 0.2 |\n\nb | c\n"
    other = text.replace("demo", "serving")
    assert measure.filled(text + other, {"demo": [["`z`", "0.3"]]}) == (
        "a\n\n<!-- measured: demo -->\n| run | F1 |\n|---|---|\n| `z` | 0.3 |\n\nb | c\n" + other
    )
