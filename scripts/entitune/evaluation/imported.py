"""Import the predictions of another system: read them, match them to the sentences of a split, and ground them."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from entitune.cli import InputError
from entitune.corpus.formats import read_split
from entitune.corpus.options import CorpusOptions
from entitune.corpus.sources import Source
from entitune.prompting.grounding import ground
from entitune.records import Mention, Prediction, Sentence, read_records

PREDICTIONS = "predictions"
"""The name of EntiTune's format for predictions, in addition to the formats of corpora."""


@dataclass(frozen=True, slots=True)
class PredictionLine:
    """A line in EntiTune's format: a sentence by its text, its id or both, and its mentions in text order.

    The mentions are in `entities` or `pred`. Those without offsets have no `start` and `end`.
    """

    id: str | int | None = None
    text: str | None = None
    entities: tuple[Mention, ...] | None = None
    pred: tuple[Mention, ...] | None = None


@dataclass(frozen=True, slots=True)
class ImportedRow:
    """The mentions of one sentence in a file. At least one of `id` and `text` is known."""

    line: int
    id: str | None
    text: str | None
    mentions: Sequence[Mention]


def read_imported(source: Source, form: str, options: CorpusOptions) -> Iterator[ImportedRow]:
    """Yield the rows of a file in a format: PREDICTIONS or one of a corpus.

    Raises InputError, with file and line, if a row cannot be read or has no list of mentions.
    """
    if form == PREDICTIONS:
        for number, line in enumerate(read_records(source.path, PredictionLine), 1):
            mentions = line.entities if line.pred is None else line.pred
            if (line.id is None and line.text is None) or mentions is None or None not in (line.entities, line.pred):
                raise InputError(f"{source.name}:{number}: expected text or id, and either entities or pred")
            yield ImportedRow(number, None if line.id is None else str(line.id), line.text, mentions)
        return
    _, rows = read_split(source, form, "row", None, options)
    for row in rows:
        if row.sentence is None:
            found = (f"{one.file or source.name}:{one.line}: {one.reason}" for one in row.problems)
            raise InputError("\n".join(found))
        if row.sentence.entities is None:
            raise InputError(f"{source.name}:{row.line}: no list of mentions; use [] for a sentence without mentions")
        named = [Mention(one.label, one.text, one.start, one.end) for one in row.sentence.entities]
        yield ImportedRow(row.line, row.sentence.id, row.sentence.text, named)


def import_predictions(rows: Sequence[ImportedRow], sentences: Sequence[Sentence], name: str) -> list[Prediction]:
    """Return the predictions for a split, in its order, from rows in any order.

    `name` is the name of the rows' file in messages. Raises InputError if a row is not a sentence of the split, a
    sentence has no row, or the text of a mention is not at its offsets.
    """
    matched = _match(rows, sentences, name)
    if missing := [sentence.id for place, sentence in enumerate(sentences) if place not in matched]:
        raise InputError(
            f"{name}: {len(missing)} of {len(sentences)} sentences of the split are missing: {', '.join(missing[:5])}"
            f"{', ...' if len(missing) > 5 else ''}; a sentence without mentions needs a row too"
        )
    predictions = []
    for place, sentence in enumerate(sentences):
        row = matched[place]
        mentions = _grounded(sentence.text, row.mentions, f"{name}:{row.line}")
        predictions.append(Prediction.without_answer(sentence, mentions, "imported"))
    return predictions


def _match(rows: Sequence[ImportedRow], sentences: Sequence[Sentence], name: str) -> dict[int, ImportedRow]:
    """Match rows to sentences. Return the position of each matched sentence -> its row.

    A row belongs to the sentence with its text. If several sentences have this text, it belongs to the one with its id,
    else to the first that is left. A row without text belongs to the sentence with its id.
    """
    by_id = {sentence.id: place for place, sentence in enumerate(sentences)}
    matched: dict[int, ImportedRow] = {}
    others = []
    for row in rows:
        place = None if row.id is None else by_id.get(row.id)
        if place is not None and place not in matched and row.text in (None, sentences[place].text):
            matched[place] = row
        else:
            others.append(row)
    left: defaultdict[str, deque[int]] = defaultdict(deque)
    for place, sentence in enumerate(sentences):
        if place not in matched:
            left[sentence.text].append(place)
    for row in others:
        if row.text is None or not left[row.text]:
            raise InputError(f"{name}:{row.line}: {_stray(row, by_id, sentences)}")
        matched[left[row.text].popleft()] = row
    return matched


def _stray(row: ImportedRow, by_id: dict[str, int], sentences: Sequence[Sentence]) -> str:
    """Return why a row matches none of the sentences that are left."""
    place = None if row.id is None else by_id.get(row.id)
    if row.text is None:
        return f"the split has no id {row.id!r}" if place is None else f"a second row for id {row.id!r}"
    if any(row.text == sentence.text for sentence in sentences):
        return f"the sentence {row.text!r} has more rows than occurrences in the split"
    if place is None:
        return f"the split has no sentence {row.text!r}"
    return f"the sentence with id {row.id!r} is {sentences[place].text!r} in the split, not {row.text!r}"


def _grounded(text: str, mentions: Sequence[Mention], where: str) -> Sequence[Mention]:
    """Check the offsets of mentions, and ground the mentions without offsets."""
    for one in mentions:
        if one.start is None or one.end is None:
            continue
        if not 0 <= one.start < one.end <= len(text) or text[one.start : one.end] != one.text:
            raise InputError(
                f"{where}: {one.text!r} is not at offsets {one.start} to {one.end} of its sentence; offsets count"
                " characters from 0, and the end is after the last character"
            )
    return ground(text, mentions)
