"""When two texts are the same sentence."""

from __future__ import annotations

import unicodedata


def normalise(text: str) -> str:
    """A text without what makes no other sentence of it: NFKC, no letter case, only letters and digits."""
    return "".join(filter(str.isalnum, unicodedata.normalize("NFKC", text).casefold()))


def text_key(text: str) -> str:
    """What the texts of one sentence have in common: the normalised text, or the text itself where that is empty."""
    return normalise(text) or text
