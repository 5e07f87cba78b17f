r"""The markup of the format `brackets`: a mention is [text|label], and may lie within another one.

A `[`, `]`, `|` or `\` of the sentence or of a label has a `\` before it, so that any sentence can be written.
"""

from __future__ import annotations

MAX_DEPTH = 32
"""Mentions in mentions that are written and read; what is deeper in an answer is noise."""

_ESCAPES = str.maketrans({character: f"\\{character}" for character in "[]|\\"})


def escape(text: str) -> str:
    """A text, or a part of it, as it is written in an answer."""
    return text.translate(_ESCAPES)
