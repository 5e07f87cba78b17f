"""Reading the formats `json` and `occurrence`: arrays of objects."""

from __future__ import annotations

import json
from operator import itemgetter
from typing import Any

from entitune.prompting.answer_formats.loose_json import read_loosely
from entitune.prompting.answer_formats.occurrences import Occurrences
from entitune.prompting.answer_formats.surrogates import has_lone_surrogate
from entitune.records import Mention


def read_json_strictly(raw: str, _: str) -> tuple[Mention, ...] | None:
    """Exactly an array of {"label", "text"}, in either order of the keys; both are strings."""
    objects = _objects(raw)
    if objects is None:
        return None
    mentions = []
    for pairs in objects:
        match sorted(pairs, key=itemgetter(0)):
            case [("label", str(label)), ("text", str(surface))] if not has_lone_surrogate(label + surface):
                mentions.append(Mention(label, surface))
            case _:
                return None
    return tuple(mentions)


def read_json_loosely(raw: str, _: str) -> tuple[Mention, ...] | None:
    """Whatever resembles it: see `loose_json`."""
    named = read_loosely(raw)
    return None if named is None else tuple(Mention(one.label, one.text) for one in named)


def read_occurrence_strictly(raw: str, text: str) -> tuple[Mention, ...] | None:
    """Exactly an array of {"label", "text", "occurrence"}, the last a whole number from 1.

    A number that no occurrence has, which models often write, says nothing about the place.
    """
    objects = _objects(raw)
    if objects is None:
        return None
    occurrences = Occurrences(text)
    mentions = []
    for pairs in objects:
        match sorted(pairs, key=itemgetter(0)):
            case [("label", str(label)), ("occurrence", int(number)), ("text", str(surface))] if (
                number > 0 and number is not True and not has_lone_surrogate(label + surface)
            ):
                mentions.append(_placed(label, surface, occurrences.start(surface, number)))
            case _:
                return None
    return tuple(mentions)


def read_occurrence_loosely(raw: str, text: str) -> tuple[Mention, ...] | None:
    """Whatever resembles it: see `loose_json`."""
    named = read_loosely(raw)
    if named is None:
        return None
    occurrences = Occurrences(text)
    return tuple(
        _placed(label, surface, None if number is None else occurrences.start(surface, number))
        for label, surface, number in named
    )


def _placed(label: str, surface: str, start: int | None) -> Mention:
    return Mention(label, surface) if start is None else Mention(label, surface, start, start + len(surface))


def _objects(raw: str) -> list[tuple[tuple[str, Any], ...]] | None:
    """The objects of a JSON array of objects, as pairs so that a repeated key does not vanish; None if it is none."""
    try:
        array = json.loads(raw, object_pairs_hook=tuple)
    except (ValueError, RecursionError):
        return None
    if not isinstance(array, list) or not all(isinstance(element, tuple) for element in array):
        return None
    return array
