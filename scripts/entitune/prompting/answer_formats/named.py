"""Mentions as an answer names them, with the characters of the answer that name them."""

from __future__ import annotations

from typing import NamedTuple, TypeAlias

from entitune.records import Mention

Range: TypeAlias = tuple[int, int]
"""Half-open offsets in an answer, in Unicode code points."""


class Named(NamedTuple):
    """A mention, and the characters of the answer that identify it: its label, its text, and the end of the text.

    The answer format defines these characters. The confidence of the mention is computed from them
    (`entitune.prompting.confidence`).
    """

    mention: Mention
    ranges: tuple[Range, ...]
    """In ascending order."""
