r"""Halves of surrogate pairs, which an answer may hold as escapes (`\ud83d`) and no UTF-8 file can."""

from __future__ import annotations

import re

_LONE_SURROGATE = re.compile(r"[\ud800-\udfff]")


def has_lone_surrogate(text: str) -> bool:
    """Whether a text contains half a surrogate pair, which no UTF-8 file can hold."""
    return _LONE_SURROGATE.search(text) is not None


def without_lone_surrogates(text: str) -> str:
    """The text with U+FFFD for each half of a surrogate pair."""
    return _LONE_SURROGATE.sub("\ufffd", text)
