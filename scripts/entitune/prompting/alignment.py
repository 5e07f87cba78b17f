"""Align the characters of a changed copy of a text with those of the original.

`difflib` takes quadratic time in the length n, and cubic time on some texts. This takes time in O(n log n): it first
aligns unambiguous pieces, and compares exhaustively only in small gaps. Characters in large gaps may stay unaligned.
"""

from __future__ import annotations

import unicodedata
from bisect import bisect_left
from collections.abc import Iterator

UNKNOWN = -1

_ANCHOR_SIZES = (16, 6)
"""Lengths of the pieces that are searched for in both texts: first long ones, which rarely repeat by chance."""
_SMALL_GAP = 4096
"""The largest product of both lengths at which a gap is compared character by character."""

_Gap = tuple[int, int, int, int]
"""Start and end in the copy, start and end in the original."""


def align(copy: str, original: str) -> list[int]:
    """Return the offset in `original` of each character of `copy`, or UNKNOWN. The offsets ascend.

    Aligned characters are equal, or equal after NFKC (full-width and half-width forms).
    """
    copy, original = _fold(copy), _fold(original)
    offsets = [UNKNOWN] * len(copy)
    gaps = list(_strip((0, len(copy), 0, len(original)), copy, original, offsets))
    for size in _ANCHOR_SIZES:
        gaps = [
            inner
            for gap in gaps
            for part in _split_at_anchors(gap, copy, original, size, offsets)
            for inner in _strip(part, copy, original, offsets)
        ]
    for gap in gaps:
        if (gap[1] - gap[0]) * (gap[3] - gap[2]) <= _SMALL_GAP:
            _compare(gap, copy, original, offsets)
    return offsets


def _fold(text: str) -> str:
    """Replace characters by their NFKC form if that is a single character, so that offsets do not change."""
    if unicodedata.is_normalized("NFKC", text):
        return text
    return "".join(form if len(form := unicodedata.normalize("NFKC", char)) == 1 else char for char in text)


def _strip(gap: _Gap, copy: str, original: str, offsets: list[int]) -> Iterator[_Gap]:
    """Align the common beginning and end of both sides of a gap. Yield the rest, unless one side of it is empty."""
    a, a_end, b, b_end = gap
    while a < a_end and b < b_end and copy[a] == original[b]:
        offsets[a] = b
        a, b = a + 1, b + 1
    while a < a_end and b < b_end and copy[a_end - 1] == original[b_end - 1]:
        a_end, b_end = a_end - 1, b_end - 1
        offsets[a_end] = b_end
    if a < a_end and b < b_end:
        yield a, a_end, b, b_end


def _split_at_anchors(gap: _Gap, copy: str, original: str, size: int, offsets: list[int]) -> Iterator[_Gap]:
    """Align pieces of `size` characters that occur once on each side, in the same order. Yield the gaps between."""
    a, a_end, b, b_end = gap
    in_original = _unique_pieces(original, b, b_end, size)
    pairs = [
        (offset, in_original[piece])
        for piece, offset in _unique_pieces(copy, a, a_end, size).items()
        if piece in in_original
    ]
    for offset, target in _longest_ascending(pairs):
        if offset < a or target < b:  # within the previous anchor
            continue
        yield a, offset, b, target
        for step in range(size):
            offsets[offset + step] = target + step
        a, b = offset + size, target + size
    yield a, a_end, b, b_end


def _unique_pieces(text: str, start: int, end: int, size: int) -> dict[str, int]:
    """Return the pieces of `size` characters that occur once between two offsets: piece -> offset, ascending."""
    found: dict[str, int] = {}
    repeated = set()
    for offset in range(start, end - size + 1):
        piece = text[offset : offset + size]
        if piece in found:
            repeated.add(piece)
        found[piece] = offset
    return {piece: offset for piece, offset in found.items() if piece not in repeated}


def _longest_ascending(pairs: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Return the longest subsequence of `pairs` whose second values ascend. The first values of `pairs` ascend."""
    lasts: list[int] = []  # for each length, the smallest second value that ends an ascending subsequence
    ends: list[int] = []  # the index of that pair
    before: list[int] = []
    for index, (_, value) in enumerate(pairs):
        length = bisect_left(lasts, value)
        before.append(ends[length - 1] if length else -1)
        lasts[length : length + 1] = [value]
        ends[length : length + 1] = [index]
    chain = []
    index = ends[-1] if ends else -1
    while index >= 0:
        chain.append(pairs[index])
        index = before[index]
    return chain[::-1]


def _compare(gap: _Gap, copy: str, original: str, offsets: list[int]) -> None:
    """Align a longest common subsequence of both sides of a gap."""
    a, a_end, b, b_end = gap
    width = b_end - b
    best = [
        [0] * (width + 1)
    ]  # best[i][j]: length for the last i characters of the copy and the last j of the original
    for i in range(1, a_end - a + 1):
        above, row, char = best[-1], [0], copy[a_end - i]
        for j in range(1, width + 1):
            row.append(above[j - 1] + 1 if char == original[b_end - j] else max(above[j], row[-1]))
        best.append(row)
    i, j = a_end - a, width
    while i and j:
        if copy[a_end - i] == original[b_end - j]:
            offsets[a_end - i] = b_end - j
            i, j = i - 1, j - 1
        elif best[i - 1][j] >= best[i][j - 1]:
            i -= 1
        else:
            j -= 1
