"""Sentences that were written for this project, unchanged or varied: with other surfaces, or only a part.

A line of written/*.txt is a sentence with mentions marked as [surface|label], by the rules of ANNOTATION.md. The files
in label_sets/ have sentences that are marked with other labels, one set per file. Every 25th line of a file is held out
from training, to evaluate the base model.
"""

import random
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

WRITTEN = Path(__file__).with_name("written")
LABEL_SETS = Path(__file__).with_name("label_sets")
MARK = re.compile(r"\[([^\[\]|]+)\|([a-z_]+)\]")
HELD_OUT = 25
CUT = re.compile(r"[，。！？；]")


class Sentence(NamedTuple):
    """A sentence as a sequence of pieces: (characters, label or None)."""

    pieces: tuple[tuple[str, str | None], ...]

    def placed(self) -> tuple[str, list[tuple[str, int, int]]]:
        """Return the text and its spans (label, start, end) in text order."""
        text, spans = "", []
        for piece, label in self.pieces:
            if label:
                spans.append((label, len(text), len(text) + len(piece)))
            text += piece
        return text, spans


def read_sentence(line: str) -> Sentence:
    """Return the sentence of a marked line."""
    pieces: list[tuple[str, str | None]] = []
    last = 0
    for found in MARK.finditer(line):
        pieces += [(line[last : found.start()], None), (found[1], found[2])]
        last = found.end()
    pieces.append((line[last:], None))
    return Sentence(tuple(piece for piece in pieces if piece[0]))


def read_sentences(where: Path) -> tuple[list[Sentence], list[Sentence]]:
    """Return the sentences of a file or a folder: those to train on, and those held out."""
    sentences: list[Sentence] = []
    held_out: list[Sentence] = []
    for path in sorted(where.glob("*.txt")) if where.is_dir() else [where]:
        for i, line in enumerate(path.read_text(encoding="utf-8").splitlines()):
            (sentences if i % HELD_OUT else held_out).append(read_sentence(line))
    return sentences, held_out


class Variations:
    """Draws written sentences, most of them varied with surfaces of other sentences and of ``make``."""

    def __init__(
        self, rng: random.Random, sentences: Sequence[Sentence], make: Callable[[str], str] | None = None
    ) -> None:
        self.rng = rng
        self.sentences = sentences
        self.make = make
        self.surfaces: dict[str, list[str]] = {}
        for sentence in sentences:
            for piece, label in sentence.pieces:
                if label:
                    self.surfaces.setdefault(label, []).append(piece)

    def surface(self, label: str) -> str:
        """Return a surface of that label: from a written sentence, or made by ``make``."""
        if self.make and self.rng.random() < 0.4:
            return self.make(label)
        return self.rng.choice(self.surfaces[label])

    def sentence(self) -> Sentence:
        """Return a written sentence, unchanged or varied."""
        sentence = self.rng.choice(self.sentences)
        if self.rng.random() < 0.2:
            sentence = self._part(sentence)
        if self.rng.random() < 0.6:
            share = self.rng.random()
            pieces: list[tuple[str, str | None]] = []
            for piece, label in sentence.pieces:
                # Surfaces of one character are mostly next to others (中美), where no other surface fits.
                if label and len(piece) > 1 and self.rng.random() < share:
                    piece = self.surface(label)
                pieces.append((piece, label))
            sentence = Sentence(tuple(pieces))
        return sentence

    def _part(self, sentence: Sentence) -> Sentence:
        """Return the part before or after a punctuation mark outside the mentions, or the complete sentence."""
        places = [
            (i, found.end()) for i, (piece, label) in enumerate(sentence.pieces) if not label
            for found in CUT.finditer(piece)
        ]  # fmt: skip
        if not places:
            return sentence
        i, at = self.rng.choice(places)
        piece = sentence.pieces[i][0]
        left = (*sentence.pieces[:i], (piece[:at], None))
        right = ((piece[at:], None), *sentence.pieces[i + 1 :])
        part = Sentence(tuple(one for one in (left if self.rng.random() < 0.5 else right) if one[0]))
        return part if len(part.placed()[0]) >= 8 else sentence
