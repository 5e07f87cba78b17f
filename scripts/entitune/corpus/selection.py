"""Which rows of the training split a run is trained on, which are held out to judge it, which a prompt shows.

Everything that is held out is disjoint from what is kept: rows with the same sentence (equal after normalisation) are
held out together or kept together, so none of them judges a model that was trained on it. The choice depends on the
seed and the rows alone, not on their order in the file.
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
"""What LLaMA-Factory calls the rows that are held out."""


def without(sentences: Sequence[Sentence], others: Iterable[Sentence]) -> list[Sentence]:
    """The sentences that are not among `others`, not even with other punctuation or letter case."""
    keys = {text_key(other.text) for other in others}
    return [sentence for sentence in sentences if text_key(sentence.text) not in keys]


def held_out_rows(share: float, rows: int) -> int:
    """How many of so many rows are held out, at most."""
    return round(share * rows)


def hold_out(
    sentences: Sequence[Sentence], share: float, seed: int, never: Iterable[Sentence] = ()
) -> tuple[list[Sentence], list[Sentence]]:
    """Divide a split into rows that are kept and rows that are held out, both in the order of the split.

    `share` of the rows is held out, rounded to whole rows; fewer where the rows of one sentence would exceed it. A row
    with the sentence of one of `never` is kept. Raises InputError where no row would be held out or none kept.
    """
    if not 0 < share < 1:
        raise InputError(f"cannot hold out a share of {share}; expected a number between 0 and 1, as 0.1")
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
            " would be held out, or none kept; choose another share or add rows"
        )
    kept = [sentence for position, sentence in enumerate(sentences) if position not in held]
    return kept, [sentences[position] for position in sorted(held)]


def select_rows(sentences: Sequence[Sentence], rows: int, seed: int) -> list[Sentence]:
    """Choose `rows` rows, in the order of the split. With the same seed, a larger choice contains a smaller one.

    Raises InputError where there are not as many.
    """
    if not 0 < rows <= len(sentences):
        raise InputError(f"cannot choose {rows} rows: there are {len(sentences)}")
    ranked = sorted(range(len(sentences)), key=lambda position: _rank(seed, sentences[position].id))
    return [sentences[position] for position in sorted(ranked[:rows])]


def draw_examples(sentences: Sequence[Sentence], count: int, seed: int) -> list[Sentence]:
    """Draw the sentences that a prompt shows as examples, in the order in which it shows them.

    Raises InputError where there are not as many.
    """
    if count > len(sentences):
        raise InputError(f"cannot draw {count} examples: there are {len(sentences)} sentences")
    return random.Random(seed).sample(sentences, count)


def _rank(seed: int, name: str) -> bytes:
    """A number drawn for a row or sentence: the same whatever else is in the file."""
    return hashlib.sha256(f"{seed}\n{name}".encode()).digest()
