"""Audit a corpus before training: distributions, duplicates, leakage, doubtful annotation.

Every figure is a tuple (measure, label, value); docs/contracts.md explains the measures and their labels.
"""

from __future__ import annotations

import bisect
import itertools
import math
import statistics
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from typing import TypeAlias

from entitune.corpus.same_text import normalise
from entitune.evaluation.bins import ENTITY_LENGTHS, ENTITY_NUMBERS, SENTENCE_LENGTHS, Buckets, bucket, names
from entitune.evaluation.near_duplicates import near_duplicates
from entitune.records import Entity, Sentence, Tokens

Figure: TypeAlias = tuple[str, str, int | float]
ALL = "all"


def audit_split(sentences: Sequence[Sentence], labels: Sequence[str]) -> Iterator[Figure]:
    """Yield the figures of one split. Those about annotation are left out for an unlabelled split."""
    yield "sentences", ALL, len(sentences)
    lengths = [len(sentence.text) for sentence in sentences]
    yield from _spread("sentence_length", lengths)
    yield from _histogram("sentences_of_length", lengths, SENTENCE_LENGTHS)
    yield from _duplicates(sentences)
    if all(sentence.entities is not None for sentence in sentences):
        yield from _annotation(sentences, labels)


def _spread(measure: str, values: Sequence[int]) -> Iterator[Figure]:
    yield measure, "min", min(values)
    yield measure, "mean", statistics.fmean(values)
    yield measure, "median", float(statistics.median(values))
    yield measure, "p95", sorted(values)[math.ceil(0.95 * len(values)) - 1]  # nearest rank
    yield measure, "max", max(values)


def _histogram(measure: str, values: Sequence[int], buckets: Buckets) -> Iterator[Figure]:
    counts = Counter(bucket(value, buckets) for value in values)
    for name in names(buckets):
        yield measure, name, counts[name]


def _duplicates(sentences: Sequence[Sentence]) -> Iterator[Figure]:
    first: dict[str, Sentence] = {}
    conflicts = 0
    for sentence in sentences:
        conflicts += first.setdefault(sentence.text, sentence).entities != sentence.entities
    yield "duplicates", "exact", len(sentences) - len(first)
    yield "duplicates", "other_annotation", conflicts
    texts = [normalise(sentence.text) for sentence in sentences]
    yield "duplicates", "normalised", len(texts) - len(set(texts))
    yield "duplicates", "near", len(near_duplicates(texts))


def _annotation(sentences: Sequence[Sentence], labels: Sequence[str]) -> Iterator[Figure]:
    annotated = [(sentence.text, entities_of(sentence)) for sentence in sentences]
    mentions = [entity for _, entities in annotated for entity in entities]
    pairs = Counter(label for _, entities in annotated for label, _ in {(one.label, one.text) for one in entities})
    lengths = defaultdict(list)
    surfaces = defaultdict(set)
    for entity in mentions:
        lengths[entity.label].append(len(entity.text))
        surfaces[entity.label].add(entity.text)
    without = sum(not entities for _, entities in annotated)
    yield "sentences_without_entities", ALL, without
    yield "share_without_entities", ALL, without / len(sentences)
    yield from _histogram("sentences_with_entities", [len(entities) for _, entities in annotated], ENTITY_NUMBERS)
    for label in labels:
        yield "mentions", label, len(lengths[label])
        yield "pairs", label, pairs[label]
        yield "surfaces", label, len(surfaces[label])
        if lengths[label]:
            yield "share_of_mentions", label, len(lengths[label]) / len(mentions)
            yield "mention_length_mean", label, statistics.fmean(lengths[label])
    yield "mentions", ALL, len(mentions)
    yield "pairs", ALL, pairs.total()
    yield "surfaces", ALL, len(set().union(*surfaces.values()))
    if mentions:
        yield from _spread("mention_length", [len(entity.text) for entity in mentions])
        yield from _histogram("mentions_of_length", [len(entity.text) for entity in mentions], ENTITY_LENGTHS)

    labels_of = defaultdict(set)
    for entity in mentions:
        labels_of[entity.text].add(entity.label)
    several = {surface for surface, names_of in labels_of.items() if len(names_of) > 1}
    yield "surfaces_with_several_labels", ALL, len(several)
    yield "mentions_with_such_a_surface", ALL, sum(entity.text in several for entity in mentions)
    doubts: Counter[str] = Counter()
    for text, entities in annotated:
        doubts.update(_doubts(text, entities))
    for measure in (
        *("repeated_pairs", "unmarked_pairs", "unmarked_occurrences", "unmarked_occurrences_in_mentions"),
        *("surfaces_with_several_labels_in_a_sentence", "sentences_with_overlapping_mentions"),
    ):
        yield measure, ALL, doubts[measure]


def _doubts(text: str, entities: Sequence[Entity]) -> Iterator[str]:
    """Yield the measure that counts it, for each possible annotation error in one sentence."""
    marks = defaultdict(set)
    labels_of = defaultdict(set)
    for entity in entities:
        marks[entity.label, entity.text].add(entity.start)
        labels_of[entity.text].add(entity.label)
    occurrences_of = _occurrence_finder(text)
    ordered = sorted(entities, key=lambda one: (one.start, one.end))
    starts = [entity.start for entity in ordered]
    reaches = list(itertools.accumulate((entity.end for entity in ordered), max))
    for (_, surface), marked in marks.items():
        if len(marked) > 1:
            yield "repeated_pairs"
        unmarked = [start for start in occurrences_of(surface) if start not in marked]
        if unmarked:
            yield "unmarked_pairs"
        for start in unmarked:
            yield "unmarked_occurrences"
            before = bisect.bisect(starts, start)  # how many mentions begin here or earlier
            if before and reaches[before - 1] >= start + len(surface):
                yield "unmarked_occurrences_in_mentions"
    for names_of in labels_of.values():
        if len(names_of) > 1:
            yield "surfaces_with_several_labels_in_a_sentence"
    if any(one.end > following.start for one, following in itertools.pairwise(ordered)):
        yield "sentences_with_overlapping_mentions"


def _occurrence_finder(text: str) -> Callable[[str], Iterator[int]]:
    """Return a function that finds the starts of a surface in `text`, including overlapping occurrences.

    It tries the places of the surface's rarest character, so the text is not scanned again for each surface.
    """
    positions = defaultdict(list)
    for position, character in enumerate(text):
        positions[character].append(position)

    def occurrences_of(surface: str) -> Iterator[int]:
        rarest = min(surface, key=lambda character: len(positions[character]))
        offset = surface.index(rarest)
        for position in positions[rarest]:
            if position >= offset and text.startswith(surface, position - offset):
                yield position - offset

    return occurrences_of


def audit_against(
    sentences: Sequence[Sentence], other: Sequence[Sentence], name: str, labels: Sequence[str]
) -> Iterator[Figure]:
    """Yield how many sentences of a split are also in the split `name`, and how many mentions are not."""
    texts = {sentence.text for sentence in other}
    yield f"sentences_in_{name}", "exact", sum(sentence.text in texts for sentence in sentences)
    normalised, theirs = [normalise(one.text) for one in sentences], [normalise(one.text) for one in other]
    known = set(theirs)
    yield f"sentences_in_{name}", "normalised", sum(text in known for text in normalised)
    yield f"sentences_in_{name}", "near", len(near_duplicates(normalised, theirs))
    if any(sentence.entities is None for sentence in (*sentences, *other)):
        return
    seen = {entity.text for sentence in other for entity in entities_of(sentence)}
    mentions = [entity for sentence in sentences for entity in entities_of(sentence)]
    marked = Counter(entity.label for entity in mentions)
    unseen = Counter(entity.label for entity in mentions if entity.text not in seen)
    counts = [(label, unseen[label], marked[label]) for label in labels]
    for label, missing, total in (*counts, (ALL, unseen.total(), marked.total())):
        yield f"mentions_unseen_in_{name}", label, missing
        if total:
            yield f"share_unseen_in_{name}", label, missing / total


def audit_tokens(rows: Sequence[Tokens], name: str, cutoff: int) -> Iterator[Figure]:
    """Yield the lengths of prompt and answer together, in tokens, of one encoded split, compared with `cutoff`."""
    lengths = [row.length for row in rows]
    yield "tokens_mean", name, statistics.fmean(lengths)
    yield "tokens_max", name, max(lengths)
    yield "tokens_cutoff", name, cutoff
    yield "sentences_above_90_percent_of_cutoff", name, sum(length > 0.9 * cutoff for length in lengths)
    yield "sentences_above_cutoff", name, sum(length > cutoff for length in lengths)


def entities_of(sentence: Sentence) -> tuple[Entity, ...]:
    """Return the entities of a labelled sentence."""
    return sentence.entities or ()
