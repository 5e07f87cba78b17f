"""Mentions as an answer names them, with the characters of the answer that name each."""

from __future__ import annotations

from typing import NamedTuple, TypeAlias

from entitune.records import Mention

Range: TypeAlias = tuple[int, int]
"""Half-open offsets in an answer, in Unicode code points."""


class Named(NamedTuple):
    """A mention, and where the answer says which one it is: its label, its text, and where the text ends.

    The format decides which characters these are. They are what the confidence of a mention is computed from
    (`entitune.prompting.confidence`).
    """

    mention: Mention
    ranges: tuple[Range, ...]
    """In ascending order."""
