"""Predictions of another system: read, matched to the sentences of a split, and grounded."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from entitune.cli import InputError
from entitune.prompting.grounding import ground
from entitune.records import Mention, Prediction, Sentence, read_records


@dataclass(frozen=True, slots=True)
class ImportedRow:
    """A line of a file to import: a sentence by its text, its id or both, and its mentions in text order.

    The mentions are under `entities` or `pred`, without `start` and `end` where only the text is known.
    """

    id: str | int | None = None
    text: str | None = None
    entities: tuple[Mention, ...] | None = None
    pred: tuple[Mention, ...] | None = None

    @property
    def mentions(self) -> tuple[Mention, ...]:
        return self.entities or self.pred or ()


def read_imported(path: str | Path) -> Iterator[ImportedRow]:
    """Yield the rows of a file. Raises InputError naming file and line where one is not as ImportedRow says."""
    for line, row in enumerate(read_records(path, ImportedRow), 1):
        if (row.id is None and row.text is None) or (row.entities is None) == (row.pred is None):
            raise InputError(f"{path}:{line}: expected a text or an id, and either entities or pred")
        yield row


def import_predictions(path: str | Path, sentences: Sequence[Sentence]) -> list[Prediction]:
    """The predictions for a split, in its order, from a file with its sentences in any order.

    Raises InputError where a line is not a sentence of the split, a sentence has no line, or a mention is not where the
    line says.
    """
    rows = list(read_imported(path))
    lines = _match(rows, sentences, path)
    if missing := [sentence.id for place, sentence in enumerate(sentences) if place not in lines]:
        raise InputError(
            f"{path}: {len(missing)} of {len(sentences)} sentences of the split are missing: {_some(missing)}; a"
            " sentence without mentions needs a line too"
        )
    predictions = []
    for place, sentence in enumerate(sentences):
        number = lines[place]
        mentions = _grounded(sentence.text, rows[number].mentions, f"{path}:{number + 1}")
        predictions.append(Prediction.without_answer(sentence, mentions, "imported"))
    return predictions


def _match(rows: Sequence[ImportedRow], sentences: Sequence[Sentence], path: str | Path) -> dict[int, int]:
    """Which row belongs to which sentence, by their positions.

    A row belongs to the sentence with its text; where several have it, to the one with its id, else to the first that
    is left. A row without text belongs to the sentence with its id.
    """
    by_id = {sentence.id: place for place, sentence in enumerate(sentences)}
    matched: dict[int, int] = {}
    others: list[int] = []
    for number, row in enumerate(rows):
        place = None if row.id is None else by_id.get(str(row.id))
        if place is not None and place not in matched and row.text in (None, sentences[place].text):
            matched[place] = number
        else:
            others.append(number)
    left: defaultdict[str, deque[int]] = defaultdict(deque)
    for place, sentence in enumerate(sentences):
        if place not in matched:
            left[sentence.text].append(place)
    for number in others:
        row = rows[number]
        if row.text is None or not left[row.text]:
            raise InputError(f"{path}:{number + 1}: {_stray(row, by_id, sentences)}")
        matched[left[row.text].popleft()] = number
    return matched


def _stray(row: ImportedRow, by_id: dict[str, int], sentences: Sequence[Sentence]) -> str:
    """Why a row belongs to no sentence."""
    place = by_id.get(str(row.id))
    if row.text is not None and any(row.text == sentence.text for sentence in sentences):
        return f"the sentence {row.text!r} is here more often than in the split"
    if place is None:
        name = f"id {row.id!r}" if row.text is None else f"sentence {row.text!r}"
        return f"the split has no {name}"
    if row.text is None:
        return f"a second line for id {row.id!r}"
    return f"id {row.id!r} is the sentence {sentences[place].text!r} in the split, not {row.text!r}"


def _grounded(text: str, mentions: Sequence[Mention], where: str) -> Sequence[Mention]:
    """The mentions at their places in a text; those that say none get theirs by grounding."""
    for one in mentions:
        if one.start is None or one.end is None:
            continue
        if not 0 <= one.start < one.end <= len(text) or text[one.start : one.end] != one.text:
            raise InputError(
                f"{where}: {one.text!r} is not at {one.start} to {one.end} of its sentence; expected offsets that count"
                " characters from 0, with end behind the last one"
            )
    return ground(text, mentions)


def _some(ids: Sequence[str]) -> str:
    return ", ".join(ids[:5]) + (", ..." if len(ids) > 5 else "")
