"""Label Studio: its full export (JSON), its short export (JSON-MIN), and tasks with predictions to import.

The text of a task is `text` in its `data`. Regions with labels are mentions; choices and relations are not read.
Predictions are read as annotations only with the option `use_predictions`.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any

from entitune.corpus.cluener import read_text
from entitune.corpus.json_objects import Json, is_array, read_objects
from entitune.corpus.mention_lists import SENTENCE_ID, Dialect, DialectReader, find, read_mention
from entitune.corpus.options import Mapping
from entitune.corpus.rows import ABSENT, Draft, Ids, Kind, Reading, Row, quote
from entitune.corpus.sources import Source
from entitune.records import Sentence

_REGION = DialectReader(
    Dialect(Mapping(mentions="", start="start", end="end", label="labels", surface="text", inclusive=False)), False
)
_ANNOTATIONS = ("annotations", "completions")  # versions before 1.0 have completions
_OTHER_TEXTS = {"hypertextlabels": "HTML", "paragraphlabels": "dialogues"}
"""The key of labels in regions of other texts, whose offsets are not those of a plain text."""
_SAMPLE = 1000


def read_label_studio(source: Source, reading: Reading) -> Iterator[Row]:
    """Read an export. A file without annotations is unlabelled; if other tasks have some, each task needs one."""
    text_key = reading.options.text_key or "text"
    short_key = find_short_key(source)
    labelled = short_key is not None or any(
        annotations_of(row.value, reading.options.use_predictions) for row in read_objects(source) if row.value
    )
    ids = Ids(reading.split, "row" if is_array(source.path) else "line")
    for row in read_objects(source, reading):
        draft = row.draft(reading)
        name = ""
        if row.value is not None:
            task = row.value
            data = task["data"] if isinstance(task.get("data"), dict) else task
            name = ids.name(row.number, data.get(SENTENCE_ID, task.get("id", ABSENT)), draft)
            text = read_text(data, text_key, draft)
            if labelled:
                for region in _regions(task, short_key, draft, reading):
                    read_mention(_with_spaces(region, text, draft, reading), text, _REGION, draft, reading)
        yield draft.finish(name, labelled)


def _with_spaces(region: Any, text: str, draft: Draft, reading: Reading) -> Any:
    """Return a region whose surface has the white space of the text, which the export changes in surfaces."""
    start, end, surface = (find(region, (key,)) for key in ("start", "end", "text"))
    if type(start) is not int or type(end) is not int or not isinstance(surface, str):
        return region
    found = text[max(start, 0) : max(end, 0)]
    if found == surface or "".join(found.split()) != "".join(surface.replace("\\n", " ").split()):
        return region
    reading.note("surfaces with other white space than the text at their offsets were accepted", draft.line)
    return {**region, "text": found}


def is_task(row: Json) -> bool:
    """Return whether a row is a task of the full export, or a task to import."""
    return isinstance(row.get("data"), dict) and any(
        isinstance(row.get(key), list) for key in (*_ANNOTATIONS, "predictions")
    )


def find_short_key(source: Source) -> str | None:
    """Return the key of the regions in the short export, or None. It is the name of the labelling control."""
    for row in itertools.islice(read_objects(source), _SAMPLE):
        for key, value in (row.value or {}).items():
            if isinstance(value, list) and any(isinstance(one, dict) and "labels" in one for one in value):
                return key
    return None


def find_text_key(rows: Iterable[Json]) -> str | None:
    """Return the key of the data that holds the surfaces of regions, or the only text; None if it is `text`."""
    fits: Counter[str] = Counter()
    for row in rows:
        data = row["data"] if isinstance(row.get("data"), dict) else {}
        texts = [(key, text) for key, text in (data or row).items() if isinstance(text, str)]
        results = [one.get("result") for one in annotations_of(row, False) if isinstance(one, dict)]
        values = [
            one.get("value")
            for result in results
            if isinstance(result, list)
            for one in result
            if isinstance(one, dict)
        ]
        regions = values or [one for value in row.values() if isinstance(value, list) for one in value]
        for key, text in texts:
            fits[key] += len(texts) == 1 and bool(data) and not regions
            fits[key] += sum(_REGION.fits(region, text) for region in regions)
    best = max(fits, key=lambda key: (fits[key], key == "text"), default="text")
    return best if best != "text" and fits[best] else None


def annotations_of(task: Json, predictions: bool) -> list[Any]:
    """Return the annotations of a task, without cancelled ones, or its predictions."""
    if predictions:
        found = task.get("predictions")
        return found if isinstance(found, list) else []
    for key in _ANNOTATIONS:
        if isinstance(task.get(key), list):
            return [one for one in task[key] if not (isinstance(one, dict) and one.get("was_cancelled"))]
    return []


def _regions(task: Json, short_key: str | None, draft: Draft, reading: Reading) -> list[Json]:
    """Return the regions of a task that have labels, and add problems to `draft`."""
    if short_key is not None:
        # The export leaves out the key of an annotation without regions.
        regions = task.get(short_key, [] if "annotation_id" in task else ABSENT)
        if regions is ABSENT:
            draft.problem(Kind.KEY, f"missing key {short_key!r}, which other tasks have: the task is not annotated")
        elif not isinstance(regions, list):
            draft.problem(Kind.VALUE, f"{short_key} {quote(regions)}; expected a list of regions")
        return regions if isinstance(regions, list) else []
    found = annotations_of(task, reading.options.use_predictions)
    what = "predictions" if reading.options.use_predictions else "annotations"
    if len(found) != 1:
        kind = Kind.ANNOTATIONS if found else Kind.KEY
        draft.problem(kind, f"the task has {len(found)} {what}; expected one")
        return []
    results = found[0].get("result") if isinstance(found[0], dict) else None
    if not isinstance(results, list):
        draft.problem(Kind.VALUE, f"{what}: result {quote(results)}; expected a list")
        return []
    regions = []
    for result in results:
        value = result.get("value") if isinstance(result, dict) else None
        if isinstance(value, dict) and "labels" in value:
            regions.append(value)
        elif isinstance(value, dict) and (other := next((key for key in _OTHER_TEXTS if key in value), None)):
            reason = f"{other}: their offsets are those of {_OTHER_TEXTS[other]}; expected <Labels> on <Text>"
            draft.problem(Kind.VALUE, reason)
        else:
            other = result.get("type") if isinstance(result, dict) else result
            reading.note(f"results that are not labelled regions ({quote(other)}) were not read", draft.line)
    return regions


def write_label_studio(sentences: Iterable[Sentence]) -> Iterator[Json]:
    """Yield tasks with predictions, for an interface with ``<Text name="text">`` and ``<Labels name="label">``."""
    for sentence in sentences:
        results = [
            {
                "id": f"mention-{number}",
                "from_name": "label",
                "to_name": "text",
                "type": "labels",
                "value": {"start": entity.start, "end": entity.end, "text": entity.text, "labels": [entity.label]},
            }
            for number, entity in enumerate(sentence.entities or (), 1)
        ]
        data = {"text": sentence.text, **({SENTENCE_ID: sentence.id} if sentence.id else {})}
        yield {"data": data, "predictions": [{"model_version": "entitune", "result": results}]}
