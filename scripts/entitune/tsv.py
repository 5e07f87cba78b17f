"""Read and write tab-separated tables: all results/**/*.tsv of the evaluation."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

from entitune.cli import InputError
from entitune.files import atomic_write

MICRO, MACRO, OTHER = "micro", "macro", "(other)"
NOT_LABELS = (MICRO, MACRO, OTHER)
"""The values of the column `label` that are not labels of the dataset.

OTHER sums up all labels that answers name but the dataset does not have. They count in micro, not in macro.
"""
MEASURES = ("precision", "recall", "f1")
COUNTS = ("support", "predicted", "correct")
METRICS_COLUMNS = (
    *("run", "seed", "dataset", "split", "scoring", "label"),
    *MEASURES,
    *COUNTS,
    *(f"{name}_{bound}" for name in MEASURES for bound in ("low", "high")),
)
"""The columns of results/metrics.tsv and of each run's scores."""


Row: TypeAlias = Mapping[str, Any]
"""One row of a table: column -> a string, a number, or None for an empty field."""


def write_tsv(path: str | Path, columns: Sequence[str], rows: Iterable[Row]) -> None:
    """Write a table atomically: a header, floats with six decimals, None as an empty field."""
    with atomic_write(path) as stream:
        writer = csv.writer(stream, delimiter="\t", lineterminator="\n")
        writer.writerow(columns)
        for row in rows:
            if row.keys() != set(columns):
                raise ValueError(f"{path}: a row has the columns {sorted(row)}, expected {sorted(columns)}")
            writer.writerow([_field(row[column]) for column in columns])


def read_tsv(path: str | Path, columns: Sequence[str]) -> list[dict[str, str]]:
    """Read the rows of a table; all values are text.

    Raises InputError if the file is not UTF-8, the header is not `columns`, or a line has another number of fields.
    """
    try:
        return _read_rows(path, columns)
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path}: not a tab-separated table in UTF-8 ({error})") from None


def _read_rows(path: str | Path, columns: Sequence[str]) -> list[dict[str, str]]:
    with open(path, encoding="utf-8", newline="") as stream:
        reader = csv.reader(stream, delimiter="\t")
        header = next(reader, [])
        if header != list(columns):
            raise InputError(f"{path}:1: expected the columns {', '.join(columns)}; got {', '.join(header) or 'none'}")
        rows = []
        for fields in reader:
            if len(fields) != len(columns):
                raise InputError(f"{path}:{reader.line_num}: expected {len(columns)} fields, got {len(fields)}")
            rows.append(dict(zip(columns, fields, strict=True)))
        return rows


def _field(value: Any) -> Any:
    if isinstance(value, float):
        return f"{value:.6f}"
    return "" if value is None else value
