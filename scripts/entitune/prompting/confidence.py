"""How sure a model is of each mention, from the probabilities of the tokens that it answered with.

The confidence of a mention is the product of the probabilities of the tokens that name it, each given all before it:

    confidence = exp(sum of log p(token | prompt, tokens before))

It is the probability, in the model, that it writes exactly this mention where it wrote it (the sequence probability of
Malinin & Gales 2021, "Uncertainty Estimation in Autoregressive Structured Prediction", ICLR, section 3, for a part of
the sequence). An answer's format says which characters name a mention (`Named.ranges`); a token counts if it writes
one of them. docs/evaluation.md says what was measured.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from itertools import accumulate
from typing import NamedTuple, TypeAlias

from entitune.prompting.answer_formats.named import Range


class Token(NamedTuple):
    """A token of an answer: the text that it adds, and the natural logarithm of its probability."""

    text: str
    logprob: float


Tokens: TypeAlias = Sequence[Token]


class TokenProbabilities:
    """The tokens of one answer, found in its text."""

    def __init__(self, raw: str, tokens: Iterable[Token]) -> None:
        """Find each token in the text of the answer.

        A token without a text of its own, as a part of a character, counts with the next one that has a text. What
        follows the text, as the token that ends a turn, counts nowhere.
        """
        self._ends: list[int] = []  # in the answer, of the tokens that have a text
        logprobs: list[float] = []
        position, waiting = 0, 0.0
        for text, logprob in tokens:
            waiting += logprob
            end = _end_of(raw, position, text)
            if end > position:
                position = end
                self._ends.append(end)
                logprobs.append(waiting)
                waiting = 0.0
        self._sums = [0.0, *accumulate(logprobs)]

    def confidence(self, ranges: Iterable[Range]) -> float | None:
        """The product of the probabilities of the tokens that write characters of these ranges, each counted once.

        Args:
            ranges: in ascending order.

        Returns:
            0 to 1, or None where the tokens do not write all of the ranges.
        """
        total, behind = 0.0, 0  # the index behind the last token that is counted
        for start, end in ranges:
            first, last = bisect_right(self._ends, start), bisect_right(self._ends, end - 1)
            if last == len(self._ends):
                return None
            total += self._sums[last + 1] - self._sums[max(first, behind)]
            behind = last + 1
        return round(math.exp(min(total, 0.0)), 6)


def _end_of(raw: str, position: int, text: str) -> int:
    """Where a token ends whose text is to follow at a position; that position where it is not there.

    A tokenizer may write white space without its token, and a character that is no UTF-8.
    """
    if raw.startswith(text, position):
        return position + len(text)
    text = text.strip()
    start = raw.find(text, position, position + len(text) + 8) if text else -1
    return position if start < 0 else start + len(text)
