"""The demo corpus: its format and variety; train and dev share no sentence and no template."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
from helpers import demo_rows
from predictions import LABELS

SPLITS = ("train", "dev")


def mentions(row: dict[str, Any]) -> list[tuple[int, int, str, str]]:
    """Return a row's mentions as (start, end exclusive, label, surface), in text order."""
    return sorted(
        (start, end + 1, label, surface)
        for label, surfaces in row["label"].items()
        for surface, places in surfaces.items()
        for start, end in places
    )


def skeleton(row: dict[str, Any]) -> str:
    """Return a sentence without its variable parts: mentions, digits, Latin letters, punctuation, white space."""
    text, last = "", 0
    for start, end, _, _ in mentions(row):
        text += row["text"][last:start] + "\0"
        last = end
    text = unicodedata.normalize("NFKC", text + row["text"][last:])
    return re.sub(r"[^\w\0]|[0-9A-Za-z_]", "", text)


def grams(text: str, size: int) -> Iterator[str]:
    """Return the substrings of `size` characters in the parts of a skeleton between its mentions."""
    for part in text.split("\0"):
        yield from (part[i : i + size] for i in range(len(part) - size + 1))


def test_the_demo_corpus_is_large_enough() -> None:
    assert len(demo_rows("train")) >= 400
    assert len(demo_rows("dev")) >= 100


@pytest.mark.parametrize("split", SPLITS)
def test_offsets_and_labels_are_valid(split: str) -> None:
    for row in demo_rows(split):
        assert list(row) == ["text", "label"]
        assert set(row["label"]) <= set(LABELS)
        assert row["text"] == row["text"].strip()
        assert 0 < len(row["text"]) <= 60
        last = 0
        for start, end, _, surface in mentions(row):
            assert row["text"][start:end] == surface
            assert start >= last, f"nested mentions in {row['text']}"
            last = end


@pytest.mark.parametrize("split", SPLITS)
def test_the_demo_corpus_is_varied(split: str) -> None:
    corpus = demo_rows(split)
    texts = [row["text"] for row in corpus]
    assert len(set(texts)) == len(texts)
    count = Counter(label for row in corpus for _, _, label, _ in mentions(row))
    assert all(count[label] >= max(10, len(corpus) / 20) for label in LABELS), count
    assert sum(not row["label"] for row in corpus) >= len(corpus) / 25
    assert sum(len(mentions(row)) >= 3 for row in corpus) >= 10
    assert sum(bool(re.search(r"\d", text)) for text in texts) >= 10
    assert sum(bool(re.search(r"[A-Za-z]", text)) for text in texts) >= 5


def test_evaluation_has_the_hard_cases() -> None:
    corpus = demo_rows("dev")
    repeated = [row for row in corpus if any(len(p) > 1 for s in row["label"].values() for p in s.values())]
    unmarked = [
        row for row in corpus if any(row["text"].count(s) > len(p) for d in row["label"].values() for s, p in d.items())
    ]
    ambiguous = [row for row in corpus if len({s for *_, s in mentions(row)}) < len({m[2:] for m in mentions(row)})]
    assert repeated
    assert unmarked
    assert ambiguous


def test_no_sentence_and_no_template_is_shared() -> None:
    train, dev = demo_rows("train"), demo_rows("dev")
    assert not {row["text"] for row in train} & {row["text"] for row in dev}
    assert not {skeleton(row) for row in train} & {skeleton(row) for row in dev}
    # Nor a part of a template: both splits share no seven consecutive characters outside mentions.
    seen = {gram for row in train for gram in grams(skeleton(row), 7)}
    assert not {gram for row in dev for gram in grams(skeleton(row), 7) if gram in seen}


def test_no_evaluation_sentence_occurs_twice() -> None:
    skeletons = Counter(skeleton(row) for row in demo_rows("dev"))
    assert max(skeletons.values()) == 1


def test_most_evaluation_surfaces_are_new() -> None:
    train = {surface for row in demo_rows("train") for *_, surface in mentions(row)}
    dev = {surface for row in demo_rows("dev") for *_, surface in mentions(row)}
    assert len(train & dev) <= 0.05 * len(dev)
