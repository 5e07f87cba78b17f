"""Counts of a split: its rows, sentences and mentions, and the sentences that occur more than once."""

from __future__ import annotations

import itertools
from array import array

from entitune.corpus.rows import Row


class Counts:
    """Counts the rows of a split. Takes 16 bytes per sentence."""

    def __init__(self) -> None:
        self.rows = 0
        self.sentences = 0
        self.mentions = 0
        self.labelled = False
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
        text = hash(sentence.text)
        self.texts.append(text)
        self._annotated.append(hash((text, sentence.entities)))
        if sentence.entities is not None:
            self.labelled = True
            self.mentions += len(sentence.entities)

    @property
    def dropped(self) -> int:
        """Rows with problems."""
        return self.rows - self.sentences

    def duplicates(self) -> tuple[int, int]:
        """Return how many sentences repeat an earlier one, and how many of these have another annotation."""
        texts = _distinct(self.texts)
        return self.sentences - texts, _distinct(self._annotated) - texts


def _distinct(hashes: array[int]) -> int:
    """Count the different numbers, in less memory than a set takes."""
    return len(hashes[:1]) + sum(before != after for before, after in itertools.pairwise(sorted(hashes)))
