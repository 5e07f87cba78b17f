"""What kind of error each false positive and false negative of scoring `spans` is.

Each false positive and each false negative gets exactly one category, so the numbers add up to those of the scores. A
wrong prediction and the missed mention that it stands for are one error, counted on both sides:

1. `wrong_label`: the same characters under another label.
2. `shorter`, `longer`, `shifted`: the right label, and characters that lie within the mention, contain it, or do
   neither but overlap it. Those with the longest overlap are put together first.
3. `wrong_label_and_boundary`: another label, and characters that overlap the mention.

What has no counterpart is, as a prediction, `hallucinated` (its text is not in the sentence), `repeated` (named more
often than the sentence has it) or `spurious`; as a mention, `unparseable` or `truncated` where the answer was, else
`missed`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from entitune.prompting.grounding import occurs
from entitune.records import Record

CATEGORIES = (
    *("wrong_label", "shorter", "longer", "shifted", "wrong_label_and_boundary"),
    *("missed", "unparseable", "truncated"),
    *("spurious", "hallucinated", "repeated"),
)

EntityDict: TypeAlias = dict[str, Any]


@dataclass(frozen=True)
class Error:
    """One error: a missed mention, a wrong prediction, or both in one. At least one of the two is there."""

    category: str
    gold: EntityDict | None
    pred: EntityDict | None


def distinct(entities: Sequence[EntityDict]) -> list[EntityDict]:
    """The entities that `spans` counts: each span once, a mention without a place as often as it is named."""
    spans: dict[tuple[str, int, int], EntityDict] = {}
    for one in entities:
        if one["start"] is not None:
            spans.setdefault((one["label"], one["start"], one["end"]), one)
    return [*spans.values(), *(one for one in entities if one["start"] is None)]


def errors_of(record: Record) -> list[Error]:
    """The errors of one sentence: those with both sides, then missed mentions, then wrong predictions."""
    gold, predicted = distinct(record["gold"]), distinct(record["pred"])
    right = {_key(one) for one in gold} & {_key(one) for one in predicted}
    missed = {number: one for number, one in enumerate(gold) if _key(one) not in right}
    wrong = {number: one for number, one in enumerate(predicted) if _key(one) not in right}
    found = []
    for _, number, other in sorted(_overlaps(missed, wrong)):
        if number in missed and other in wrong:
            mention, prediction = missed.pop(number), wrong.pop(other)
            found.append(Error(_category(mention, prediction), mention, prediction))
    absent = record["status"] if record["status"] in ("unparseable", "truncated") else "missed"
    found += [Error(absent, mention, None) for mention in missed.values()]
    found += [Error(_category_alone(prediction, record["text"]), None, prediction) for prediction in wrong.values()]
    return found


def _key(entity: EntityDict) -> tuple[str, int | None, int | None]:
    return entity["label"], entity["start"], entity["end"]


def _overlaps(
    missed: dict[int, EntityDict], wrong: dict[int, EntityDict]
) -> Iterator[tuple[tuple[int, int], int, int]]:
    """(how soon to put together, mention, prediction) of each two that share characters."""
    for number, mention in missed.items():
        for other, prediction in wrong.items():
            if prediction["start"] is None:
                continue
            shared = min(mention["end"], prediction["end"]) - max(mention["start"], prediction["start"])
            if shared > 0:
                same_span = (mention["start"], mention["end"]) == (prediction["start"], prediction["end"])
                same_label = mention["label"] == prediction["label"]
                yield (0 if same_span else 1 if same_label else 2, -shared), number, other


def _category(mention: EntityDict, prediction: EntityDict) -> str:
    start, end = prediction["start"] - mention["start"], prediction["end"] - mention["end"]
    if mention["label"] != prediction["label"]:
        return "wrong_label" if start == end == 0 else "wrong_label_and_boundary"
    if start >= 0 and end <= 0:
        return "shorter"
    return "longer" if start <= 0 and end >= 0 else "shifted"


def _category_alone(prediction: EntityDict, text: str) -> str:
    if prediction["start"] is not None:
        return "spurious"
    return "repeated" if occurs(prediction["text"], text) else "hallucinated"
