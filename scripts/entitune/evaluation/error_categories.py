"""The error category of each false positive and false negative of the scoring `spans`.

Each false positive and each false negative has exactly one category, so the numbers add up to those of the scores. A
wrong prediction and the missed gold entity that it replaces are one error, which is counted on both sides:

1. `wrong_label`: the same characters with another label.
2. `shorter`, `longer`, `shifted`: the right label, and characters that are within the gold entity, contain it, or only
   overlap it. Pairs with the longest overlap are matched first.
3. `wrong_label_and_boundary`: another label, and characters that overlap the gold entity.

A prediction without a counterpart is `hallucinated` (its text is not in the sentence), `repeated` (named more often
than it occurs in the sentence) or `spurious`. A gold entity without a counterpart has the category `unparseable` or
`truncated` if this is the status of the answer, else `missed`.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Container, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias, TypeVar

from entitune.prompting.grounding import occurring
from entitune.records import Entity, Mention, Prediction

CATEGORIES = (
    *("wrong_label", "shorter", "longer", "shifted", "wrong_label_and_boundary"),
    *("missed", "unparseable", "truncated"),
    *("spurious", "hallucinated", "repeated"),
)

Span: TypeAlias = tuple[str, int | None, int | None]
Named = TypeVar("Named", bound=Entity | Mention)


@dataclass(frozen=True)
class Error:
    """One error: a missed gold entity, a wrong prediction, or both."""

    category: str
    gold: Entity | None
    pred: Mention | None


class _Interval(NamedTuple):
    """A gold entity or a mention in its sentence, identified by `key`."""

    start: int
    end: int
    label: str
    key: int


def span_of(one: Entity | Mention) -> Span:
    """Return what the scoring `spans` compares: (label, start, end)."""
    return one.label, one.start, one.end


def distinct(entities: Sequence[Named]) -> list[Named]:
    """Return the entities that `spans` counts: each span once, and every mention without a place."""
    spans: dict[Span, Named] = {}
    for one in entities:
        if one.start is not None:
            spans.setdefault(span_of(one), one)
    return list(spans.values()) + [one for one in entities if one.start is None]


def errors_of(prediction: Prediction) -> list[Error]:
    """Return the errors of one sentence: those with both sides, then missed entities, then wrong predictions.

    The time grows with the number of mentions and with the number of overlapping pairs of a gold and a predicted one.
    """
    gold, predicted = distinct(prediction.gold or ()), distinct(prediction.pred)
    right = {span_of(one) for one in gold} & {span_of(one) for one in predicted}
    missed = {i: one for i, one in enumerate(gold) if span_of(one) not in right}
    wrong = {j: one for j, one in enumerate(predicted) if span_of(one) not in right}
    found = []
    for mention, counterpart in _counterparts(missed, wrong):
        found.append(Error(_category(mention, counterpart), missed.pop(mention.key), wrong.pop(counterpart.key)))
    absent = prediction.status if prediction.status in ("unparseable", "truncated") else "missed"
    found += [Error(absent, mention, None) for mention in missed.values()]
    somewhere = occurring({one.text for one in wrong.values() if one.start is None}, prediction.text)
    found += [Error(_category_alone(one, somewhere), None, one) for one in wrong.values()]
    return found


_MATCH_KEYS: tuple[Callable[[_Interval], Hashable], ...] = (
    lambda one: (one.start, one.end),
    lambda one: one.label,
    lambda one: None,
)
"""What a missed entity and the prediction that replaces it must have in common, the best match first."""


def _counterparts(missed: Mapping[int, Entity], wrong: Mapping[int, Mention]) -> list[tuple[_Interval, _Interval]]:
    """Match missed entities and wrong predictions one to one."""
    golds = {i: _Interval(one.start, one.end, one.label, i) for i, one in missed.items()}
    preds = {
        j: _Interval(one.start, one.end, one.label, j)
        for j, one in wrong.items()
        if one.start is not None and one.end is not None
    }
    pairs = []
    for match_key in _MATCH_KEYS:
        groups: defaultdict[Hashable, tuple[list[_Interval], list[_Interval]]] = defaultdict(lambda: ([], []))
        for side, intervals in enumerate((golds, preds)):
            for interval in intervals.values():
                groups[match_key(interval)][side].append(interval)
        for group in groups.values():
            for _, i, j in sorted(_overlaps(*group)):
                if i in golds and j in preds:
                    pairs.append((golds.pop(i), preds.pop(j)))
    return pairs


def _overlaps(golds: Sequence[_Interval], preds: Sequence[_Interval]) -> Iterator[tuple[int, int, int]]:
    """Yield (-number of shared characters, key of the gold entity, key of the prediction) for each overlapping pair.

    This sweeps from left to right. An interval overlaps the open intervals of the other side: those that have begun and
    not ended.
    """
    begun: tuple[list[_Interval], list[_Interval]] = ([], [])
    for one, side in sorted([(gold, 0) for gold in golds] + [(pred, 1) for pred in preds]):
        begun[1 - side][:] = [other for other in begun[1 - side] if other.end > one.start]
        for other in begun[1 - side]:
            shared = min(one.end, other.end) - one.start
            yield (-shared, one.key, other.key) if side == 0 else (-shared, other.key, one.key)
        begun[side].append(one)


def _category(mention: _Interval, prediction: _Interval) -> str:
    start, end = prediction.start - mention.start, prediction.end - mention.end
    if mention.label != prediction.label:
        return "wrong_label" if start == end == 0 else "wrong_label_and_boundary"
    if start >= 0 and end <= 0:
        return "shorter"
    return "longer" if start <= 0 and end >= 0 else "shifted"


def _category_alone(prediction: Mention, somewhere: Container[str]) -> str:
    if prediction.start is not None:
        return "spurious"
    return "repeated" if prediction.text in somewhere else "hallucinated"
