"""Counts of a split: its rows, sentences, mentions and lengths, and the sentences that occur more than once."""

from __future__ import annotations

import itertools
from array import array
from collections import Counter
from collections.abc import Iterable

from entitune.corpus.rows import Row


class Counts:
    """What became of a split's rows. Takes 16 bytes per sentence, so that a million of them are no matter."""

    def __init__(self) -> None:
        self.rows = 0
        self.sentences = 0
        self.mentions = 0
        self.overlapping = 0
        """Mentions that overlap one that begins before them."""
        self.bare = 0
        """Labelled sentences without a mention."""
        self.labelled = False
        self.lengths: Counter[int] = Counter()
        """Characters -> sentences of that length."""
        self.mention_lengths: Counter[int] = Counter()
        self.texts = array("q")
        """A hash of each sentence's text."""
        self._annotated = array("q")

    def add(self, row: Row) -> None:
        """Count a row."""
        self.rows += 1
        sentence = row.sentence
        if sentence is None:
            return
        self.sentences += 1
        self.lengths[len(sentence.text)] += 1
        self.texts.append(hash(sentence.text))
        self._annotated.append(hash((sentence.text, sentence.entities)))
        if sentence.entities is None:
            return
        self.labelled = True
        self.mentions += len(sentence.entities)
        self.bare += not sentence.entities
        reached = 0
        for entity in sentence.entities:
            self.mention_lengths[len(entity.text)] += 1
            self.overlapping += entity.start is not None and entity.start < reached
            reached = max(reached, entity.end or 0)

    @property
    def dropped(self) -> int:
        """Rows with problems."""
        return self.rows - self.sentences

    def duplicates(self) -> tuple[int, int]:
        """How many sentences repeat an earlier one, and how many of these are annotated differently."""
        texts = _distinct(self.texts)
        return self.sentences - texts, _distinct(self._annotated) - texts


def _distinct(hashes: array[int]) -> int:
    """How many different numbers there are, in less memory than a set of them takes."""
    return len(hashes[:1]) + sum(before != after for before, after in itertools.pairwise(sorted(hashes)))


def quantile(lengths: Counter[int], share: float) -> int:
    """The smallest length that at least this share of the counted things does not exceed."""
    below = 0
    needed = share * lengths.total()
    for length, count in sorted(lengths.items()):
        below += count
        if below >= needed:
            return length
    return 0


def spread(lengths: Counter[int]) -> str:
    """A distribution of lengths in words."""
    places: Iterable[tuple[str, int]] = (
        ("shortest", min(lengths)),
        ("median", quantile(lengths, 0.5)),
        ("95 % up to", quantile(lengths, 0.95)),
        ("longest", max(lengths)),
    )
    return ", ".join(f"{name} {length}" for name, length in places)
