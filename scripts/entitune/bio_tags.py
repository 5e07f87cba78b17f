"""Entities as IOB2 tags, one tag per character: B- begins an entity, I- continues it, O is outside."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from entitune.records import Entity, Mention

OUTSIDE = "O"
Reason = Literal["overlap", "no place", "label"]
"""Why an entity cannot be written as tags: it overlaps another one, has no offsets, or its label cannot be in a tag."""


def write_bio(entities: Sequence[Entity | Mention], length: int) -> tuple[list[str], list[Reason]]:
    """Return the tags of a sentence of `length` characters, and a reason for each entity that is left out.

    Of overlapping entities, the one that begins first is written; of several that begin there, the longest. A label
    is written if it is printable, not empty, and neither begins nor ends with a hyphen (readers of tags strip hyphens).
    """
    tags = [OUTSIDE] * length
    left_out: list[Reason] = []
    end_before = 0
    for one in sorted(entities, key=lambda one: (one.start or 0, -(one.end or 0), one.label)):
        if one.start is None or one.end is None:
            left_out.append("no place")
        elif not one.label or not one.label.isprintable() or one.label != one.label.strip("-"):
            left_out.append("label")
        elif one.start < end_before:
            left_out.append("overlap")
        else:
            tags[one.start : one.end] = [f"B-{one.label}"] + [f"I-{one.label}"] * (one.end - one.start - 1)
            end_before = one.end
    return tags, left_out


def read_bio(text: str, tags: Sequence[str]) -> list[Entity]:
    """Return the entities of a text with one tag per character.

    An I- tag that does not continue an entity of the same label begins a new one, as in the CoNLL evaluation.
    """
    spans: list[tuple[str, int]] = []  # label and start
    ends: list[int] = []
    label = None
    for position, tag in enumerate(tags):
        prefix, _, name = tag.partition("-")
        if prefix == OUTSIDE:
            label = None
        elif prefix == "I" and name == label:
            ends[-1] = position + 1
        else:
            label = name
            spans.append((name, position))
            ends.append(position + 1)
    return [Entity(name, text[start:end], start, end) for (name, start), end in zip(spans, ends, strict=True)]
