"""Extract the mentions of texts, and write the output of extract_entities.py: resumable JSON lines, and CSV."""

from __future__ import annotations

import csv
import itertools
import os
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from entitune.cli import InputError
from entitune.files import atomic_write, read_json, read_jsonl, write_json
from entitune.records import Mention
from entitune.serving.client import Client, ask_all
from entitune.serving.finished_runs import FinishedRun
from entitune.serving.run_requests import STATUSES, Answer, identity_of
from entitune.serving.texts import Document

CSV_COLUMNS = ("source", "label", "text", "start", "end", "status")


@dataclass(frozen=True)
class Extraction:
    """A text and the answers to its sentences."""

    document: Document
    answers: Sequence[Answer]

    @property
    def mentions(self) -> list[Mention]:
        """All mentions, with offsets in the complete text."""
        return [
            mention
            if mention.start is None or mention.end is None
            else replace(mention, start=mention.start + start, end=mention.end + start)
            for (start, _), answer in zip(self.document.sentences(), self.answers, strict=True)
            for mention in answer.mentions
        ]

    @property
    def status(self) -> str:
        """The worst status of the sentences."""
        return min((answer.status for answer in self.answers), key=STATUSES.index)

    def at_least(self, confidence: float) -> Extraction:
        """Return a copy without the mentions of lower confidence."""
        kept = [
            replace(answer, mentions=tuple(one for one in answer.mentions if (one.confidence or 0.0) >= confidence))
            for answer in self.answers
        ]
        return replace(self, answers=kept)

    def to_dict(self) -> dict[str, Any]:
        """Return a line of the output, as docs/contracts.md describes it."""
        source, text = self.document.source, self.document.text
        if self.document.whole:
            answer = self.answers[0]
            return {**({"line": source} if answer.error is not None else {}), "text": text, **answer.to_dict()}
        sentences = []
        for (start, end), answer in zip(self.document.sentences(), self.answers, strict=True):
            fields = answer.to_dict()
            del fields["entities"]
            sentences.append({"start": start, "end": end, **fields})
        entities = [mention.to_dict() for mention in self.mentions]
        return {"source": source, "text": text, "entities": entities, "status": self.status, "sentences": sentences}


def extractions(documents: Iterable[Document], client: Client, concurrency: int) -> Iterator[Extraction]:
    """Ask for the entities of each document's sentences. Yield the answers per document, in order."""
    asked: deque[Document] = deque()

    def sentences() -> Iterator[str]:
        for document in documents:
            asked.append(document)
            for start, end in document.sentences():
                yield document.text[start:end]

    answers = ask_all(client, sentences(), concurrency)
    for first in answers:
        document = asked.popleft()
        others = len(document.sentences()) - 1
        yield Extraction(document, [first, *itertools.islice(answers, others)])


def finished_records(output: Path) -> list[dict[str, Any]]:
    """Return the complete records of an output file, and remove a cut-off last line from the file."""
    content = output.read_bytes()
    os.truncate(output, content.rfind(b"\n") + 1)
    finished = list(read_jsonl(output))
    if all(isinstance(one, dict) and isinstance(one.get("text"), str) and "status" in one for one in finished):
        return finished
    raise InputError(f"{output} was not written by this script; delete it, or choose another --output")


def continued(output: Path, served: FinishedRun, unit: str, confidence: str | None = None) -> list[dict[str, Any]]:
    """Return the records of an existing output file, or begin a new one.

    OUTPUT.meta.json records what the output was made with. Raises InputError if that differs from the present run and
    options.
    """
    made_with = {**identity_of(served), "input": unit, **({"confidence": confidence} if confidence else {})}
    note = output.with_name(output.name + ".meta.json")
    if output.exists() and output.stat().st_size:
        if not note.exists():
            raise InputError(
                f"{output} exists, but {note.name}, which records its run, does not; delete it, or choose another "
                "--output"
            )
        before = read_json(note)
        if not isinstance(before, dict) or (before.keys() ^ made_with.keys()) - {"confidence"}:
            raise InputError(
                f"{note} was not written by this script; delete it and {output}, or choose another --output"
            )
        if other := [key for key in {**made_with, **before} if before.get(key) != made_with.get(key)]:
            raise InputError(
                f"{output} was made with another {', '.join(other)}; delete it, or choose another --output"
            )
        return finished_records(output)
    write_json(note, made_with)
    return []


def write_csv(path: Path, source: Path, confidence: bool = False) -> None:
    """Write one row for each mention of a JSON-lines output, and one for each text without mentions.

    `confidence` adds a column for it.
    """
    with atomic_write(path) as stream:
        rows = csv.DictWriter(stream, [*CSV_COLUMNS, *(["confidence"] if confidence else [])])
        rows.writeheader()
        for number, record in enumerate(read_jsonl(source), 1):
            for mention in record["entities"] or [{}]:
                rows.writerow({"source": record.get("source", number), **mention, "status": record["status"]})
