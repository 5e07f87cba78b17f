"""CLUENER: ``{"id": optional, "text": ..., "label": {label: {surface: [[start, inclusive end], ...]}}}``.

The file has one object per line, or one array of objects. A file in which no row has the key `label` is unlabelled.
Other keys are not read.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from entitune.corpus.json_objects import Json, is_array, read_objects
from entitune.corpus.rows import ABSENT, Draft, Ids, Kind, Reading, Row, offsets_problem, quote
from entitune.corpus.sources import Source


def read_cluener(source: Source, reading: Reading) -> Iterator[Row]:
    """Read a raw split of CLUENER. A row without `id` gets the id SPLIT-LINE."""
    labelled = any("label" in (row.value or ()) for row in read_objects(source))
    ids = Ids(reading.split, "row" if is_array(source.path) else "line")
    for row in read_objects(source, reading):
        draft = row.draft(reading)
        name = ""
        if row.value is not None:
            name = ids.name(row.number, row.value.get("id", ABSENT), draft)
            text = read_text(row.value, "text", draft)
            if labelled or "label" in row.value:
                _read_labels(row.value, text, draft)
        yield draft.finish(name, labelled)


def read_text(value: Json, key: str, draft: Draft) -> str:
    """Return the text under a key and set it in the draft. Where there is none, return "" and add a problem."""
    if key not in value:
        draft.problem(Kind.KEY, f"missing key {key!r}")
        return ""
    text = value[key]
    if not isinstance(text, str):
        draft.problem(Kind.VALUE, f"{key} {quote(text)}; expected a string")
        return ""
    draft.set_text(text)
    return text


def _read_labels(row: Json, text: str, draft: Draft) -> None:
    if "label" not in row:
        draft.problem(Kind.KEY, "missing key 'label', which other rows have; use {} for a sentence without entities")
        return
    if not isinstance(row["label"], dict):
        draft.problem(Kind.VALUE, f"label {quote(row['label'])}; expected {{label: {{surface: [[start, end], ...]}}}}")
        return
    for given, surfaces in row["label"].items():
        label = draft.label(given)
        if not isinstance(surfaces, dict):
            draft.problem(Kind.VALUE, f"{quote(given)}: {quote(surfaces)}; expected {{surface: [[start, end], ...]}}")
            continue
        for surface, spans in surfaces.items():
            if not isinstance(spans, list) or not spans:
                reason = f"{quote(given)} {quote(surface)}: {quote(spans)}; expected [[start, end], ...]"
                draft.problem(Kind.VALUE, reason)
                continue
            for span in spans:
                _read_span(text, label, surface, span, draft)


def _read_span(text: str, label: str, surface: str, span: Any, draft: Draft) -> None:
    # type() and not isinstance(), because a bool is an int and true is not an offset.
    if not isinstance(span, list) or len(span) != 2 or type(span[0]) is not int or type(span[1]) is not int:
        kind, reason = Kind.VALUE, "expected [start, end], two whole numbers"
    else:
        start, end = span[0], span[1] + 1
        kind, found = Kind.OFFSETS, offsets_problem(text, start, end, surface, inclusive=True)
        if found is None:
            draft.add(label, start, end)
            return
        reason = found
    draft.problem(kind, f"{quote(label)} {quote(surface)} {quote(span)}: {reason}")
