"""Read the mentions that tags in the schemes BIO, BMES and BIOES mark."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from entitune.corpus.options import Scheme
from entitune.corpus.rows import Kind, quote

# The prefixes of a mention's first, inner and last token, and of a mention of one token. BIO lacks the last two.
_PREFIXES: dict[Scheme, tuple[str, str, str | None, str | None]] = {
    "bio": ("B", "I", None, None),
    "bmes": ("B", "M", "E", "S"),
    "bioes": ("B", "I", "E", "S"),
}

SCHEMES: tuple[Scheme, ...] = tuple(_PREFIXES)


class Span(NamedTuple):
    """A mention: the tokens from `start` up to, but not including, `end`."""

    start: int
    end: int
    label: str


class TagProblem(NamedTuple):
    """A problem with the tag of a token."""

    token: int
    kind: Kind
    reason: str


class Marked(NamedTuple):
    """The mentions that the tags of a sentence mark, and the problems, both in order."""

    spans: list[Span]
    problems: list[TagProblem]
    repaired: int
    """How many I- tags that continue no mention were read as B-."""


def read_tags(tags: Sequence[str], scheme: Scheme, repair_iob1: bool = False) -> Marked:
    """Read the tags of a sentence. With `repair_iob1`, a BIO tag I- that continues no mention is read as B-."""
    begin, inside, last, single = _PREFIXES[scheme]
    spans: list[Span] = []
    problems: list[TagProblem] = []
    repaired = 0
    label, start = None, 0  # of the open mention, if there is one
    for position, tag in enumerate(tags):
        if tag == "O" and label is None:
            continue
        prefix, _, name = tag.partition("-")
        if tag != "O" and not (name and prefix in (begin, inside, last, single)):
            known = ", ".join(f"{known}-LABEL" for known in _PREFIXES[scheme] if known)
            problems.append(TagProblem(position, Kind.TAG, f"tag {quote(tag)}; the scheme {scheme} has O, {known}"))
            prefix = "O"
        if prefix in (inside, last) and name == label:
            if prefix == last:
                spans.append(Span(start, position + 1, name))
                label = None
            continue
        if prefix == inside and repair_iob1 and last is None:
            prefix = begin
            repaired += 1
        elif prefix in (inside, last):
            after = f"after {quote(tags[position - 1])}" if position else "at a sentence's start"
            reason = f"tag {quote(tag)} {after}; a mention begins with {begin}-{name}"
            problems.append(TagProblem(position, Kind.SEQUENCE, reason))
        elif label is not None and last is not None:
            reason = f"tag {quote(tag)} after {quote(tags[position - 1])}; a mention ends with {last}-{label}"
            problems.append(TagProblem(position, Kind.SEQUENCE, reason))
        if label is not None and last is None:
            spans.append(Span(start, position, label))
        label = None
        if prefix in (begin, inside):  # after a wrong tag, reading continues as if the mention had begun
            label, start = name, position
        elif prefix == single:
            spans.append(Span(position, position + 1, name))
    if label is not None and last is None:
        spans.append(Span(start, len(tags), label))
    elif label is not None:
        reason = f"the sentence ends after {quote(tags[-1])}; a mention ends with {last}-{label}"
        problems.append(TagProblem(len(tags) - 1, Kind.SEQUENCE, reason))
    return Marked(spans, problems, repaired)
