"""The raw formats of corpora: a reader for each, and a writer for those that annotation tools import."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple, TypeAlias

from entitune.cli import InputError
from entitune.corpus.brat import read_brat
from entitune.corpus.cluener import read_cluener
from entitune.corpus.conll import read_conll
from entitune.corpus.huggingface import read_huggingface
from entitune.corpus.inline import read_boson
from entitune.corpus.label_studio import read_label_studio, write_label_studio
from entitune.corpus.mention_lists import DIALECTS, SENTENCE_ID, read_mention_lists, write_mention_lists
from entitune.corpus.options import CorpusOptions
from entitune.corpus.parallel import read_parallel
from entitune.corpus.rows import Kind, Reading, Row
from entitune.corpus.sources import Source, other_encoding
from entitune.corpus.tags import SCHEMES
from entitune.records import Sentence

Reader: TypeAlias = Callable[[Source, Reading], Iterator[Row]]
Writer: TypeAlias = Callable[[Iterable[Sentence]], Iterator[dict[str, Any]]]

EVERY_FORMAT = frozenset(("rename", "max_dropped"))
"""The options that every format takes."""


class Dialect(NamedTuple):
    """A raw format."""

    about: str
    """A short description, for messages and pages."""
    labels: str
    """Where the file has its labels, for messages."""
    read: Reader
    options: frozenset[str] = frozenset()
    """The keys of `CorpusOptions` that it takes, in addition to EVERY_FORMAT."""
    write: Writer | None = None
    """Makes the JSON rows of sentences; None if sentences are not written in this format."""
    array: bool = False
    """Whether the rows are written as one JSON array rather than as JSON lines."""


def _scheme(reading: Reading) -> Any:
    return reading.options.scheme or "bio"


def _write_doccano(sentences: Iterable[Sentence]) -> Iterator[dict[str, Any]]:
    for row in write_mention_lists(sentences, DIALECTS["doccano"][0]):
        yield {**row, SENTENCE_ID: row["id"]} if "id" in row else row


_TAGGED = frozenset(("columns", "spaces"))
_LISTS = {
    "doccano": "doccano's export",
    "entity-list": "JSON rows with entity_list",
    "cmeee": "CMeEE's JSON",
    "ccks": "the JSON rows of CCKS (originalText)",
    "spans": "spans of spaCy or prodigy",
    "entitune": "EntiTune's own canonical file",
}

FORMATS: Mapping[str, Dialect] = {
    "cluener": Dialect("CLUENER's JSON lines", "the key 'label'", read_cluener),
    **{
        f"conll-{scheme}": Dialect(
            f"a token and its {scheme.upper()} tag per line",
            "the column of tags",
            partial(read_conll, scheme=scheme),
            _TAGGED | {"repair_iob1"} if scheme == "bio" else _TAGGED,
        )
        for scheme in SCHEMES
    },
    **{
        name: Dialect(
            about,
            "the key " + " or ".join(dict.fromkeys(repr(one.mapping.mentions) for one in DIALECTS[name])),
            partial(read_mention_lists, dialects=DIALECTS[name]),
            write=_write_doccano if name == "doccano" else partial(write_mention_lists, dialect=DIALECTS[name][0]),
        )
        for name, about in _LISTS.items()
    },
    "json": Dialect(
        "JSON rows of another dialect", "the key that the mapping names", read_mention_lists, frozenset({"mapping"})
    ),
    "label-studio": Dialect(
        "Label Studio's export",
        "'annotations' (or, with use_predictions: true, 'predictions')",
        read_label_studio,
        frozenset({"text_key", "use_predictions"}),
        write_label_studio,
        array=True,
    ),
    "huggingface": Dialect(
        "tokens and ner_tags (Hugging Face)",
        "the key 'ner_tags', or the one that columns names",
        lambda source, reading: read_huggingface(source, reading, _scheme(reading)),
        _TAGGED | {"scheme", "repair_iob1", "tag_names"},
    ),
    "parallel": Dialect(
        "a file of sentences and a file of tags",
        "the file of tags",
        lambda source, reading: read_parallel(source, reading, _scheme(reading)),
        frozenset({"scheme", "repair_iob1", "spaces"}),
    ),
    "brat": Dialect("brat's .txt and .ann files", "the .ann files", read_brat),
    "boson": Dialect("Boson's marks, {{label:text}}", "the marks", read_boson),
}
"""The name of each format -> its reader and writer."""


def check_options(name: str, options: CorpusOptions) -> None:
    """Raise ValueError if the format does not take an option that is given, or lacks one that it needs."""
    dialect = FORMATS[name]
    for key in sorted(options.model_fields_set - dialect.options - EVERY_FORMAT):
        takers = ", ".join(other for other, one in FORMATS.items() if key in one.options)
        raise ValueError(f"{key}: not an option of format {name}; it is for {takers}")
    if "mapping" in dialect.options and options.mapping is None:
        raise ValueError(f"mapping: format {name} needs the keys of text, mentions, start, end and label in its rows")
    if options.repair_iob1 and (options.scheme or "bio") != "bio":
        raise ValueError(f"repair_iob1: IOB1 is a form of bio, not of {options.scheme}")
    for key, place in options.columns or ():
        wanted: tuple[type, str] = (str, "a key") if name == "huggingface" else (int, "the number of a column")
        if place is not None and not isinstance(place, wanted[0]):
            raise ValueError(f"columns: {key}: {place!r}; expected {wanted[1]}")


def read_split(
    source: Source,
    name: str,
    split: str,
    labels: Sequence[str] | None = None,
    options: CorpusOptions | None = None,
) -> tuple[Reading, Iterator[Row]]:
    """Read a raw split.

    Args:
        source: the files of the split.
        name: its format, a key of FORMATS.
        split: its name, which becomes part of the ids.
        labels: the dataset's labels; None accepts any label.
        options: those of the dataset's entry.

    Returns:
        The reading, whose notes are complete when all rows have been read, and the rows. The rows raise InputError
        where the rest of a file cannot be read.
    """
    reading = Reading(split, labels, options, source.name)
    return reading, _check_encoding(FORMATS[name].read(source, reading), source)


def _check_encoding(rows: Iterator[Row], source: Source) -> Iterator[Row]:
    """Yield the rows. Raises InputError if one is not UTF-8 because the file has another encoding."""
    checked = False
    for row in rows:
        if not checked and any(problem.kind is Kind.ENCODING for problem in row.problems):
            checked = True
            for path, file in zip(source.paths, source.names, strict=False):
                if path.is_file() and (encoding := other_encoding(path)):
                    raise InputError(f"{file}: the file is {encoding}")
        yield row
