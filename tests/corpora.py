"""Corpora for tests: sentences drawn by Hypothesis, and functions that write them in raw formats."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from hypothesis import strategies as st

from entitune.corpus.formats import read_split
from entitune.corpus.options import CorpusOptions
from entitune.corpus.rows import Note, Row
from entitune.corpus.sources import Source
from entitune.records import Entity, Sentence

LABELS = ("name", "book", "game")

# Characters of texts: everything that UTF-8 can represent except control characters. Drawn often: characters that look
# like line breaks to some programs (U+2028), and characters beyond the basic plane.
CHARACTERS = st.one_of(
    st.sampled_from("温格的球队书《》\u2028\u3000 a1𠀀😀"),
    st.characters(exclude_categories=("Cc", "Cs"), exclude_characters="\ufffe\uffff"),
)


@st.composite
def sentences(draw: st.DrawFn, disjoint: bool = False, characters: st.SearchStrategy[str] = CHARACTERS) -> Sentence:
    """Draw a labelled sentence; `disjoint` mentions do not overlap, as tags and marks require."""
    text = "".join(draw(st.lists(characters, min_size=1, max_size=12).filter(lambda found: "".join(found).strip())))
    if disjoint:
        cuts = sorted(draw(st.sets(st.integers(0, len(text)), max_size=6)))
        spans = {(start, end): draw(st.sampled_from(LABELS)) for start, end in zip(cuts[::2], cuts[1::2], strict=False)}
        triples = {(start, end, label) for (start, end), label in spans.items()}
    else:
        offset = st.integers(0, len(text) - 1)
        spans_of_any_kind = st.sets(st.tuples(offset, offset, st.sampled_from(LABELS)), max_size=5)
        triples = {(min(a, b), max(a, b) + 1, label) for a, b, label in draw(spans_of_any_kind)}
    return Sentence(
        "", text, tuple(Entity(label, text[start:end], start, end) for start, end, label in sorted(triples))
    )


def places(sentence: Sentence) -> list[tuple[int, int, str]]:
    """Return (start, end, label) of each entity."""
    found = []
    for entity in sentence.entities or ():
        assert entity.start is not None
        assert entity.end is not None
        found.append((entity.start, entity.end, entity.label))
    return found


def with_ids(corpus: Iterable[Sentence]) -> list[Sentence]:
    """Give each sentence an id."""
    return [Sentence(f"id-{number}", sentence.text, sentence.entities) for number, sentence in enumerate(corpus)]


def as_lines(rows: Iterable[Any]) -> str:
    """Return each value as a line of JSON."""
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def to_cluener(sentence: Sentence) -> str:
    label: dict[str, dict[str, list[list[int]]]] = {}
    for start, end, name in places(sentence):
        label.setdefault(name, {}).setdefault(sentence.text[start:end], []).append([start, end - 1])
    return json.dumps({"id": sentence.id, "text": sentence.text, "label": label}, ensure_ascii=False) + "\n"


def tags_of(sentence: Sentence, scheme: str = "bio") -> list[str]:
    """Return the tag of each character."""
    first, inside, last, single = list({"bio": "BIIB", "bmes": "BMES", "bioes": "BIES"}[scheme])
    tags = ["O"] * len(sentence.text)
    for start, end, label in places(sentence):
        size = end - start
        prefixes = single if size == 1 else first + inside * (size - 2) + last
        tags[start:end] = [f"{prefix}-{label}" for prefix in prefixes]
    return tags


def to_conll(sentence: Sentence, scheme: str) -> str:
    tags = tags_of(sentence, scheme)
    return "".join(f"{character}\t{tag}\n" for character, tag in zip(sentence.text, tags, strict=True)) + "\n"


def read(
    path: Path | Sequence[Path],
    raw: str | bytes | None,
    raw_format: str = "cluener",
    labels: Sequence[str] | None = LABELS,
    **options: Any,
) -> list[Row]:
    """Write the content `raw` to a file and return its rows. Without content, read the files that exist."""
    paths = [path] if isinstance(path, Path) else path
    if raw is not None:
        paths[0].write_bytes(raw if isinstance(raw, bytes) else raw.encode())
    return list(read_split(Source.of(paths), raw_format, "train", labels, CorpusOptions.model_validate(options))[1])


def notes(path: Path, raw_format: str = "cluener", labels: Sequence[str] = LABELS, **options: Any) -> list[Note]:
    """Return the notes about a file."""
    reading, rows = read_split(Source.of([path]), raw_format, "train", labels, CorpusOptions.model_validate(options))
    list(rows)
    return reading.notes


def reasons(rows: Iterable[Row]) -> list[tuple[int, str]]:
    """Return line and reason of every problem."""
    return [(problem.line, problem.reason) for row in rows for problem in row.problems]


def found(rows: Iterable[Row]) -> list[tuple[str, list[tuple[int, int, str]]]]:
    """Return text and entities of every row; all rows must be valid."""
    result = []
    for row in rows:
        assert row.sentence is not None, row.problems
        result.append((row.sentence.text, places(row.sentence)))
    return result
