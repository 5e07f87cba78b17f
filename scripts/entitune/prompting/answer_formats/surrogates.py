r"""Halves of surrogate pairs. An answer may contain them as escapes (`\ud83d`), but UTF-8 cannot encode them."""

from __future__ import annotations

import re

_LONE_SURROGATE = re.compile(r"[\ud800-\udfff]")


def has_lone_surrogate(text: str) -> bool:
    """Return whether a text contains half a surrogate pair."""
    return _LONE_SURROGATE.search(text) is not None


def without_lone_surrogates(text: str) -> str:
    """Replace each half of a surrogate pair by U+FFFD."""
    return _LONE_SURROGATE.sub("\ufffd", text)
