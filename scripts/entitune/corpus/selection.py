"""Select rows of the training split: for training, for evaluation (held out), and as examples in a prompt.

Rows with the same sentence (equal after normalisation) are held out together or kept together, so no model is evaluated
on a sentence that it was trained on. Which rows are held out depends only on the seed and the rows, not on their order.
"""

from __future__ import annotations

import hashlib
import random
from collections import defaultdict
from collections.abc import Iterable, Sequence

from entitune.cli import InputError
from entitune.corpus.same_text import text_key
from entitune.records import Sentence

HELD_OUT = "held_out"
"""The name of the held-out rows for LLaMA-Factory."""


def without(sentences: Sequence[Sentence], others: Iterable[Sentence]) -> list[Sentence]:
    """Return the sentences that are not among `others`. Punctuation and letter case make no difference."""
    keys = {text_key(other.text) for other in others}
    return [sentence for sentence in sentences if text_key(sentence.text) not in keys]


def held_out_rows(share: float, rows: int) -> int:
    """Return how many rows are held out at most, given their share and the number of all rows."""
    return round(share * rows)


def hold_out(
    sentences: Sequence[Sentence], share: float, seed: int, never: Iterable[Sentence] = ()
) -> tuple[list[Sentence], list[Sentence]]:
    """Divide a split into rows to keep and rows to hold out.

    Args:
        sentences: the rows of the split.
        share: the share of rows to hold out, between 0 and 1, rounded to whole rows. Fewer are held out if rows with
            the same sentence would exceed it.
        seed: chooses the rows.
        never: sentences that are never held out.

    Returns:
        The rows to keep and the rows to hold out, both in the order of the split.

    Raises:
        InputError: no row would be held out, or none kept.
    """
    if not 0 < share < 1:
        raise InputError(f"cannot hold out a share of {share}; expected a number between 0 and 1, such as 0.1")
    groups: defaultdict[str, list[int]] = defaultdict(list)
    for position, sentence in enumerate(sentences):
        groups[text_key(sentence.text)].append(position)
    wanted = held_out_rows(share, len(sentences))
    held: set[int] = set()
    for key in sorted(groups.keys() - {text_key(one.text) for one in never}, key=lambda key: _rank(seed, key)):
        if len(held) + len(groups[key]) <= wanted:
            held.update(groups[key])
    if not 0 < len(held) < len(sentences):
        raise InputError(
            f"cannot hold out a share of {share} of {len(sentences)} rows ({len(groups)} different sentences): no row"
            " would be held out, or none kept; choose another share, or add rows"
        )
    kept = [sentence for position, sentence in enumerate(sentences) if position not in held]
    return kept, [sentences[position] for position in sorted(held)]


def select_rows(sentences: Sequence[Sentence], rows: int, seed: int) -> list[Sentence]:
    """Choose `rows` rows, in the order of the split. With the same seed, a larger choice contains a smaller one.

    Raises InputError if there are fewer rows.
    """
    if not 0 < rows <= len(sentences):
        raise InputError(f"cannot choose {rows} rows: there are {len(sentences)}")
    ranked = sorted(range(len(sentences)), key=lambda position: _rank(seed, sentences[position].id))
    return [sentences[position] for position in sorted(ranked[:rows])]


def draw_examples(sentences: Sequence[Sentence], count: int, seed: int) -> list[Sentence]:
    """Draw the sentences that a prompt shows as examples, in the order in which it shows them.

    Raises InputError if there are fewer sentences.
    """
    if count > len(sentences):
        raise InputError(f"cannot draw {count} examples: there are {len(sentences)} sentences")
    return random.Random(seed).sample(sentences, count)


def _rank(seed: int, name: str) -> bytes:
    """Return the random rank of a row or sentence. It does not depend on the other rows of the file."""
    return hashlib.sha256(f"{seed}\n{name}".encode()).digest()
