r"""The markup of the format `brackets`: a mention is [text|label], and may be nested in another one.

A `[`, `]`, `|` or `\` of the sentence or of a label is escaped with a `\` before it.
"""

from __future__ import annotations

MAX_DEPTH = 32
"""How deeply nested mentions are written and read. Anything deeper in an answer is noise."""

_ESCAPES = str.maketrans({character: f"\\{character}" for character in "[]|\\"})


def escape(text: str) -> str:
    """Escape a text, or a part of it, for an answer."""
    return text.translate(_ESCAPES)
