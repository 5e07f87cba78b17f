"""The confidence of each mention, from the probabilities of the answer's tokens.

The confidence of a mention is the product of the probabilities of the tokens that name it, each given all tokens before
it:

    confidence = exp(sum of log p(token | prompt, tokens before))

It is the model's probability of writing exactly this mention at this place of the answer. This is the sequence
probability of Malinin & Gales 2021, "Uncertainty Estimation in Autoregressive Structured Prediction", ICLR, section 3,
for a part of the sequence. The answer format defines which characters name a mention (`Named.ranges`), and a token
counts if it writes one of them. docs/evaluation.md has measurements.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Iterable
from itertools import accumulate
from typing import NamedTuple

from entitune.prompting.answer_formats.named import Range


class Token(NamedTuple):
    """A token of an answer: the text that it adds, and the natural logarithm of its probability."""

    text: str
    logprob: float


class TokenProbabilities:
    """The tokens of one answer with their places in its text."""

    def __init__(self, raw: str, tokens: Iterable[Token]) -> None:
        """Find each token in the text of the answer.

        A token without text, such as a part of a character, is counted with the next token that has text. Tokens after
        the text, such as the end of the turn, are not counted.
        """
        self._ends: list[int] = []  # where each token with text ends in the answer
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
        """Multiply the probabilities of the tokens that write characters of these ranges, each counted once.

        Args:
            ranges: half-open offsets in the answer, in ascending order.

        Returns:
            0 to 1, or None if the tokens do not cover the ranges.
        """
        total, behind = 0.0, 0  # behind: the index after the last counted token
        for start, end in ranges:
            first, last = bisect_right(self._ends, start), bisect_right(self._ends, end - 1)
            if last == len(self._ends):
                return None
            total += self._sums[last + 1] - self._sums[max(first, behind)]
            behind = last + 1
        return round(math.exp(min(total, 0.0)), 6)


def _end_of(raw: str, position: int, text: str) -> int:
    """Return where a token ends that is expected at a position. Return the position if the token is not there.

    The text of an answer may differ from its tokens in white space, and in characters that are not UTF-8.
    """
    if raw.startswith(text, position):
        return position + len(text)
    text = text.strip()
    start = raw.find(text, position, position + len(text) + 8) if text else -1
    return position if start < 0 else start + len(text)
