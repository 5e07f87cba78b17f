"""Decide whether two texts are the same sentence."""

from __future__ import annotations

import unicodedata


def normalise(text: str) -> str:
    """Normalise a text: NFKC, case-folded, and only letters and digits."""
    return "".join(filter(str.isalnum, unicodedata.normalize("NFKC", text).casefold()))


def text_key(text: str) -> str:
    """Return the key that all texts of a sentence share: the normalised text, or the text itself if that is empty."""
    return normalise(text) or text
