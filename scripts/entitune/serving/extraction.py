"""From texts to the records of extract_entities.py, and its output: JSON lines that can be continued, and CSV."""

from __future__ import annotations

import csv
import itertools
import os
from collections import deque
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, TypeAlias

from entitune.cli import InputError
from entitune.files import atomic_write, read_json, read_jsonl, write_json
from entitune.serving.client import REFUSED, TOO_LONG, Client, ask_all, identity_of
from entitune.serving.finished_runs import FinishedRun
from entitune.serving.texts import Document

STATUSES = (REFUSED, TOO_LONG, "unparseable", "truncated", "repaired", "ok")
"""From worst to best. A document has the worst status of its sentences."""
CSV_COLUMNS = ("source", "label", "text", "start", "end", "status")
Record: TypeAlias = dict[str, Any]
"""A line of the output, as docs/contracts.md describes it."""


def record_of_sentence(document: Document, answer: Record) -> Record:
    """Return the output's record of a line of input."""
    if "error" in answer:
        return {"line": document.source, "text": document.text, **answer}
    return {"text": document.text, **answer}


def record_of_document(document: Document, answers: list[Record]) -> Record:
    """Return the output's record of a document: mentions with offsets in its whole text."""
    entities, sentences = [], []
    for (start, end), answer in zip(document.sentences(), answers, strict=True):
        for mention in answer.pop("entities"):
            placed = mention["start"] is not None
            moved = {key: mention[key] + start for key in ("start", "end")} if placed else {}
            entities.append({**mention, **moved})
        sentences.append({"start": start, "end": end, **answer})
    status = min((sentence["status"] for sentence in sentences), key=STATUSES.index)
    return {
        "source": document.source,
        "text": document.text,
        "entities": entities,
        "status": status,
        "sentences": sentences,
    }


def records(documents: Iterable[Document], client: Client, concurrency: int) -> Iterator[Record]:
    """Yield the record of each document, in order."""
    asked: deque[Document] = deque()

    def sentences() -> Iterator[str]:
        for document in documents:
            asked.append(document)
            for start, end in document.sentences():
                yield document.text[start:end]

    answers = ask_all(client, sentences(), concurrency)
    for first in answers:
        document = asked.popleft()
        if document.whole:
            yield record_of_sentence(document, first)
        else:
            others = len(document.sentences()) - 1
            yield record_of_document(document, [first, *itertools.islice(answers, others)])


def finished_records(output: Path) -> list[Record]:
    """Return the complete records of an output; a line that was cut off is removed from it."""
    content = output.read_bytes()
    os.truncate(output, content.rfind(b"\n") + 1)
    finished = list(read_jsonl(output))
    if all(isinstance(one, dict) and isinstance(one.get("text"), str) and "status" in one for one in finished):
        return finished
    raise InputError(f"{output}: not an output of this script; delete it, or name another --output")


def continued(output: Path, served: FinishedRun, unit: str) -> list[Record]:
    """Return the records that the output has, which must be answers of this run; else begin the output.

    A file beside the output tells what it was made with. Raises InputError where that is something else.
    """
    made_with = {**identity_of(served), "input": unit}
    note = output.with_name(output.name + ".meta.json")
    if output.exists() and output.stat().st_size:
        if not note.exists():
            raise InputError(
                f"{output} is there, but not {note.name}, which tells the run that its answers are from; delete it, or "
                "name another --output"
            )
        before = read_json(note)
        if not isinstance(before, dict) or before.keys() != made_with.keys():
            raise InputError(f"{note}: not written by this script; delete it and {output}, or name another --output")
        if other := [key for key in made_with if before[key] != made_with[key]]:
            raise InputError(f"{output} was made with another {', '.join(other)}; delete it, or name another --output")
        return finished_records(output)
    write_json(note, made_with)
    return []


def write_csv(path: Path, source: Path) -> None:
    """Write one row for each mention of a JSON-lines output, and one for each text without any."""
    with atomic_write(path) as stream:
        rows = csv.writer(stream)
        rows.writerow(CSV_COLUMNS)
        for number, record in enumerate(read_jsonl(source), 1):
            where, status = record.get("source", number), record["status"]
            for mention in record["entities"]:
                rows.writerow([where, *(mention[key] for key in ("label", "text", "start", "end")), status])
            if not record["entities"]:
                rows.writerow([where, "", "", "", "", status])
