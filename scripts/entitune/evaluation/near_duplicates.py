"""Find near-duplicate sentences: the Jaccard similarity of their character trigrams is at least NEAR.

All of them are found without comparing all pairs, by two filters. Prefix filtering (Bayardo, Ma & Srikant 2007,
"Scaling up all pairs similarity search"): two similar sets share one of their few rarest members. Positional filtering
(Xiao, Wang, Lin & Yu 2008, "Efficient similarity joins for near duplicate detection"): the positions of the first
shared member in both sets limit how many members they can share.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from fractions import Fraction
from typing import TypeAlias

NEAR = Fraction(4, 5)
_GRAM = 3

Grams: TypeAlias = tuple[int, ...]
"""The ranks of a text's trigrams, sorted: the rarest first."""


def near_duplicates(texts: Sequence[str], others: Sequence[str] | None = None) -> list[int]:
    """Return the positions of texts that have a near-duplicate among `others`.

    Without `others`, it must be among the texts before it. The texts must be normalised. An empty text has no
    near-duplicates.
    """
    frequency = Counter(gram for text in (*texts, *(others or ())) for gram in _trigrams(text))
    ranks = {gram: rank for rank, gram in enumerate(sorted(frequency, key=lambda gram: (frequency[gram], gram)))}
    index = _Index()
    for text in others or ():
        index.add(tuple(sorted(ranks[gram] for gram in _trigrams(text))))
    found = []
    for position, text in enumerate(texts):
        grams = tuple(sorted(ranks[gram] for gram in _trigrams(text)))
        if index.has_similar(grams):
            found.append(position)
        if others is None:
            index.add(grams)
    return found


class _Index:
    """An index of trigram sets that finds whether one of them is similar to a given set."""

    def __init__(self) -> None:
        self._known: set[Grams] = set()
        # For each trigram of a prefix: the sets that contain it, by their size and its position in them.
        self._sets: defaultdict[int, defaultdict[tuple[int, int], list[frozenset[int]]]] = defaultdict(
            lambda: defaultdict(list)
        )

    def add(self, grams: Grams) -> None:
        if grams in self._known:
            return
        self._known.add(grams)
        members = frozenset(grams)
        for position, gram in enumerate(_prefix(grams)):
            self._sets[gram][len(grams), position].append(members)

    def has_similar(self, grams: Grams) -> bool:
        if not grams or grams in self._known:
            return bool(grams)
        members, size = frozenset(grams), len(grams)
        compared: set[int] = set()
        for position, gram in enumerate(_prefix(grams)):
            for (other_size, other_position), candidates in self._sets.get(gram, _NOTHING).items():
                if not _similar_enough(min(size - position, other_size - other_position), size, other_size):
                    continue  # they share at most this trigram and those after it
                for other in candidates:
                    if id(other) not in compared:
                        compared.add(id(other))
                        if _similar_enough(_shared(members, other), size, other_size):
                            return True
        return False


_NOTHING: dict[tuple[int, int], list[frozenset[int]]] = {}


def _prefix(grams: Grams) -> Grams:
    """Return the rarest trigrams; each similar set has at least one of them.

    Their number is one more than the number of trigrams that a similar set may lack.
    """
    return grams[: len(grams) + 1 + -NEAR.numerator * len(grams) // NEAR.denominator]


def _shared(one: frozenset[int], other: frozenset[int]) -> int:
    return len(one & other)


def _similar_enough(shared: int, size: int, other_size: int) -> bool:
    return shared * NEAR.denominator >= NEAR.numerator * (size + other_size - shared)


def _trigrams(text: str) -> Iterable[str]:
    return {text[start : start + _GRAM] for start in range(max(1, len(text) - _GRAM + 1))} if text else ()
