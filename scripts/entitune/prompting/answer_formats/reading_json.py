"""Read answers in the formats `json` and `occurrence`: arrays of objects."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from operator import itemgetter
from typing import Any

from entitune.prompting.answer_formats.loose_json import read_loosely
from entitune.prompting.answer_formats.named import Named, Range
from entitune.prompting.answer_formats.occurrences import Occurrences
from entitune.prompting.answer_formats.surrogates import has_lone_surrogate
from entitune.records import Mention


def read_json_strictly(raw: str, _: str) -> tuple[Named, ...] | None:
    """Read exactly an array of {"label", "text"}, both strings, with the keys in any order."""
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
    return _named(mentions, _ranges(raw))


def read_json_loosely(raw: str, _: str) -> tuple[Named, ...] | None:
    """Read anything that resembles the format: see `loose_json`."""
    found = read_loosely(raw)
    if found is None:
        return None
    return _named((Mention(one.label, one.text) for one in found), (one.range for one in found))


def read_occurrence_strictly(raw: str, text: str) -> tuple[Named, ...] | None:
    """Read exactly an array of {"label", "text", "occurrence"}; "occurrence" is a whole number of at least 1.

    Models often write a number that is larger than the number of occurrences. Then the mention gets no place here.
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
    return _named(mentions, _ranges(raw))


def read_occurrence_loosely(raw: str, text: str) -> tuple[Named, ...] | None:
    """Read anything that resembles the format: see `loose_json`."""
    found = read_loosely(raw)
    if found is None:
        return None
    occurrences = Occurrences(text)
    mentions = (
        _placed(label, surface, None if number is None else occurrences.start(surface, number))
        for label, surface, number, _ in found
    )
    return _named(mentions, (one.range for one in found))


def _placed(label: str, surface: str, start: int | None) -> Mention:
    return Mention(label, surface) if start is None else Mention(label, surface, start, start + len(surface))


def _objects(raw: str) -> list[tuple[tuple[str, Any], ...]] | None:
    """Return the objects of a JSON array as tuples of pairs, which keep repeated keys, or None for anything else."""
    try:
        array = json.loads(raw, object_pairs_hook=tuple)
    except (ValueError, RecursionError):
        return None
    if not isinstance(array, list) or not all(isinstance(element, tuple) for element in array):
        return None
    return array


_OBJECT = re.compile(r"""\{(?:[^"{}]++|"(?:[^"\\]++|\\.)*+")*+\}""")
_FIRST_KEY = re.compile(r"""\{\s*+"(?:[^"\\]++|\\.)*+"\s*+:\s*+"?+""")


def _ranges(raw: str) -> Iterator[Range]:
    """Yield the range of each object in a JSON array of flat objects, from its first value to its end."""
    for found in _OBJECT.finditer(raw):
        key = _FIRST_KEY.match(found[0])
        assert key is not None, "the objects have keys"
        yield found.start() + key.end(), found.end()


def _named(mentions: Iterable[Mention], ranges: Iterable[Range]) -> tuple[Named, ...]:
    return tuple(Named(mention, (one,)) for mention, one in zip(mentions, ranges, strict=True))
