"""seqeval's report of a run: strict mode, IOB2 tags, one tag per character.

It agrees with the scoring `spans` for entities that BIO tags can express. The others are left out, and the report lists
their sentences.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

from seqeval.metrics import classification_report
from seqeval.scheme import IOB2

from entitune.bio_tags import OUTSIDE, Reason, write_bio
from entitune.cli import InputError
from entitune.evaluation.error_categories import distinct
from entitune.evaluation.scoring import gold_of
from entitune.records import Entity, Mention, Prediction

REASONS: dict[Reason, str] = {
    "overlap": "overlap another one that begins earlier or is longer",
    "no place": "are not in their sentence, or are named more often than they occur in it",
    "label": "have a label that a tag cannot express: empty, not printable, or with a hyphen at an end",
}


def seqeval_report(predictions: Iterable[Prediction], labels: Sequence[str]) -> str:
    """Return the report, followed by the list of entities that it leaves out.

    Raises InputError if a sentence is unlabelled, has a gold label that is not among `labels`, or has an entity that
    ends after the sentence.
    """
    left_out: defaultdict[tuple[str, Reason], list[str]] = defaultdict(list)  # (side, reason): an id per entity
    tags: dict[str, list[list[str]]] = {"gold": [], "predicted": []}
    for prediction in predictions:
        sides: list[tuple[str, Sequence[Entity | Mention]]] = [
            ("gold", gold_of(prediction, labels)),
            ("predicted", prediction.pred),
        ]
        for side, entities in sides:
            if any(one.end is not None and one.end > len(prediction.text) for one in entities):
                raise InputError(f"sentence {prediction.id}: a {side} entity ends after the end of the sentence")
            written, reasons = write_bio(distinct(entities), len(prediction.text))
            tags[side].append(written)
            for reason in reasons:
                left_out[side, reason].append(prediction.id)
    if any(tag != OUTSIDE for side in tags.values() for sentence in side for tag in sentence):
        report = classification_report(
            tags["gold"], tags["predicted"], mode="strict", scheme=IOB2, digits=4, zero_division=0
        )
    else:
        report = "There are no gold entities and no predictions.\n"
    return f"{report}\n{_coverage(left_out)}"


def _coverage(left_out: Mapping[tuple[str, Reason], Sequence[str]]) -> str:
    if not left_out:
        return (
            "BIO tags can express all entities of this split and run, so micro avg and each label equal `spans`.\n"
            "macro avg is over the labels that occur; EntiTune's macro is over all labels of the dataset.\n"
        )
    lines = ["Left out, because BIO tags cannot express them (`spans` counts them, so its values differ from these):"]
    for (side, reason), ids in left_out.items():
        sentences = ", ".join(dict.fromkeys(ids))
        lines.append(f"- {len(ids)} {side} entities that {REASONS[reason]}; in sentences {sentences}")
    return "\n".join(lines) + "\n"
