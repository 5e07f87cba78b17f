"""The CRF baseline: a linear-chain conditional random field on characters (Lafferty, McCallum & Pereira 2001).

Features of a character c0, with c-2, c-1, c1, c2 around it (a marker beyond the ends of the sentence):

- the characters c-2, c-1, c0, c1, c2;
- the pairs c-2 c-1, c-1 c0, c0 c1, c1 c2, and c-1 c1;
- the triples c-2 c-1 c0, c-1 c0 c1, c0 c1 c2;
- the kinds of c-1, c0, c1, together and alone for c0: digit, Latin letter, Han character, punctuation, space, other.

Tags are IOB2, one per character, with a weight for each pair of adjacent tags. The model has no word list, no
segmentation and no embeddings: it is the baseline that a language model must beat. Needs python-crfsuite (the
environment crf).
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable
from pathlib import Path

from entitune.bio_tags import read_bio, write_bio
from entitune.records import Entity, Sentence

L1, L2 = 0.05, 0.01
"""Weights of the two penalties: L1 removes features, L2 keeps weights small."""
MAX_ITERATIONS = 200
_BEYOND = "\ue000"  # a private-use character as the marker beyond the ends of a sentence
_WINDOWS = {
    **{f"{offset}": (offset,) for offset in (-2, -1, 0, 1, 2)},
    **{f"{offset},{offset + 1}": (offset, offset + 1) for offset in (-2, -1, 0, 1)},
    "-1,1": (-1, 1),
    **{f"{offset},{offset + 1},{offset + 2}": (offset, offset + 1, offset + 2) for offset in (-2, -1, 0)},
}


def features(text: str) -> list[list[str]]:
    """Return the features of each character of a sentence."""
    padded = [_BEYOND, _BEYOND, *text, _BEYOND, _BEYOND]
    kinds = [_kind(character) for character in padded]
    return [
        [
            *(f"{name}={''.join(padded[place + offset] for offset in offsets)}" for name, offsets in _WINDOWS.items()),
            f"kind={kinds[place]}",
            f"kinds={kinds[place - 1]}{kinds[place]}{kinds[place + 1]}",
        ]
        for place in range(2, len(text) + 2)
    ]


def _kind(character: str) -> str:
    if character == _BEYOND:
        return "E"
    category = unicodedata.category(character)
    if category[0] == "N":
        return "N"
    if category == "Lo":
        return "H"  # nearly always Han in Chinese text
    return category[0] if category[0] in "LPZ" else "O"


class Crf:
    """A trained model that tags sentences."""

    def __init__(self, model: Path) -> None:
        import pycrfsuite

        self._tagger = pycrfsuite.Tagger()
        self._tagger.open(str(model))

    def entities(self, text: str) -> list[Entity]:
        """Return the entities of a sentence, in text order."""
        return read_bio(text, self._tagger.tag(features(text)))


def train(sentences: Iterable[Sentence], model: Path) -> int:
    """Train on labelled sentences and write the model. Training is deterministic.

    Returns the number of entities that are left out because BIO tags cannot express them.
    """
    import pycrfsuite

    trainer = pycrfsuite.Trainer(algorithm="lbfgs", verbose=False)
    trainer.set_params({"c1": L1, "c2": L2, "max_iterations": MAX_ITERATIONS})
    left_out = 0
    for sentence in sentences:
        tags, reasons = write_bio(sentence.entities or (), len(sentence.text))
        trainer.append(features(sentence.text), tags)
        left_out += len(reasons)
    trainer.train(str(model))
    return left_out
