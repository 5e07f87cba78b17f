"""Write the answer that a model learns for a sentence."""

from __future__ import annotations

from collections.abc import Callable

from entitune.files import to_json
from entitune.prompting.answer_formats import AnswerFormat
from entitune.prompting.answer_formats.markup import MAX_DEPTH, escape
from entitune.prompting.answer_formats.occurrences import Occurrences
from entitune.records import Entity, Sentence


def write_answer(answer_format: AnswerFormat, sentence: Sentence) -> str:
    """Return the answer in a format: the entities in text order, without those that are `inexpressible`.

    It is empty if the sentence is unlabelled.
    """
    return "" if sentence.entities is None else _WRITERS[answer_format](sentence)


def inexpressible(answer_format: AnswerFormat, sentence: Sentence) -> tuple[Entity, ...]:
    """Return the entities that the format cannot express.

    Brackets cannot cross. If two entities overlap and neither contains the other, the one that begins first is written,
    and the other one is inexpressible.
    """
    return _crossing(sentence) if answer_format == "brackets" else ()


def _write_json(sentence: Sentence) -> str:
    return to_json([{"label": entity.label, "text": entity.text} for entity in sentence.entities or ()])


def _write_occurrence(sentence: Sentence) -> str:
    occurrences = Occurrences(sentence.text)
    return to_json(
        [
            {
                "label": entity.label,
                "text": entity.text,
                "occurrence": occurrences.number(entity.text, entity.start),
            }
            for entity in sentence.entities or ()
        ]
    )


def _write_brackets(sentence: Sentence) -> str:
    crossing = set(_crossing(sentence))
    entities = [entity for entity in sentence.entities or () if entity not in crossing]
    before = [""] * (len(sentence.text) + 1)  # the markup before each character: closing marks, then opening marks
    for entity in sorted(entities, key=lambda entity: (-entity.start, entity.label)):  # inner mentions close first
        before[entity.end] += f"|{escape(entity.label)}]"
    for entity in entities:
        before[entity.start] += "["
    characters = [*map(escape, sentence.text), ""]
    return "".join(markup + character for markup, character in zip(before, characters, strict=True))


def _crossing(sentence: Sentence) -> tuple[Entity, ...]:
    """Return the entities that cross an entity that is written, or that are nested too deeply."""
    refused = []
    ends: list[int] = []  # the ends of the entities in which the current one begins, outermost first
    for entity in sorted(sentence.entities or (), key=lambda entity: (entity.start, -entity.end)):
        while ends and ends[-1] <= entity.start:
            ends.pop()
        if (ends and ends[-1] < entity.end) or len(ends) == MAX_DEPTH:
            refused.append(entity)
        else:
            ends.append(entity.end)
    return tuple(refused)


_WRITERS: dict[AnswerFormat, Callable[[Sentence], str]] = {
    "json": _write_json,
    "brackets": _write_brackets,
    "occurrence": _write_occurrence,
}
