"""``tokens`` and ``ner_tags``, as in the datasets of Hugging Face: JSON lines, a JSON array, or parquet.

Tags are names or numbers. The names of numbers are those of the option `tag_names`, or of the ClassLabel that the
library `datasets` stores in parquet files.
"""

from __future__ import annotations

import contextlib
import itertools
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import yaml

from entitune.cli import InputError
from entitune.corpus.conll import read_tagged
from entitune.corpus.json_objects import Json, JsonRow, is_array, read_objects
from entitune.corpus.options import Scheme
from entitune.corpus.rows import ABSENT, Draft, Ids, Kind, Reading, Row, quote
from entitune.corpus.sources import Source

_BATCH = 1000
_INFOS = ("dataset_infos.json", "dataset_info.json")


def read_huggingface(source: Source, reading: Reading, scheme: Scheme) -> Iterator[Row]:
    """Read rows of tokens and tags. A file in which no row has tags is unlabelled.

    Raises InputError if a file is damaged, or if tags are numbers without names.
    """
    columns = reading.options.columns
    token_key = str(columns.token) if columns and columns.token is not None else "tokens"
    tag_key = str(columns.tag) if columns and columns.tag is not None else "ner_tags"
    names: Sequence[str] | None = reading.options.tag_names
    if is_parquet(source.path):
        keys, known_names = _read_parquet_schema(source)
        labelled = tag_key in keys
        names = names or known_names.get(tag_key)
        if token_key not in keys:
            raise InputError(f"{source.name}: there is no column {token_key!r}; the columns are {', '.join(keys)}")
        rows = _read_parquet(source, [key for key in ("id", token_key, tag_key) if key in keys])
        unit = "row"
    else:
        labelled = any(tag_key in (row.value or ()) for row in read_objects(source))
        rows = read_objects(source, reading)
        unit = "row" if is_array(source.path) else "line"
    ids = Ids(reading.split, unit)
    for row in rows:
        draft = row.draft(reading)
        name = ""
        if row.value is not None:
            name = ids.name(row.number, row.value.get("id", ABSENT), draft)
            _read_row(row.value, token_key, tag_key if labelled else None, names, scheme, draft, reading, source.name)
            if draft.problems and not row.raw:  # parquet has no raw text for a row
                draft.raw = json.dumps(row.value, ensure_ascii=False, default=str).encode()
        yield draft.finish(name, labelled)


def read_parquet_head(source: Source, count: int) -> tuple[dict[str, list[str]], list[Json]]:
    """Return the names of numbers in a parquet file (column -> names), and its first rows."""
    keys, names = _read_parquet_schema(source)
    rows = itertools.islice(_read_parquet(source, keys), count)
    return names, [row.value for row in rows if row.value is not None]


def is_parquet(path: Path) -> bool:
    """Return whether a file is parquet, by its first bytes."""
    with path.open("rb") as stream:
        return stream.read(4) == b"PAR1"


def _read_row(
    row: Json,
    token_key: str,
    tag_key: str | None,
    names: Sequence[str] | None,
    scheme: Scheme,
    draft: Draft,
    reading: Reading,
    file: str,
) -> None:
    tokens = row.get(token_key)
    if not isinstance(tokens, list) or not all(token and isinstance(token, str) for token in tokens):
        found = f"{token_key} {quote(tokens)}" if token_key in row else f"missing key {token_key!r}"
        draft.problem(Kind.VALUE if token_key in row else Kind.KEY, f"{found}; expected a list of non-empty strings")
        return
    tags: Any = row.get(tag_key) if tag_key else ["O"] * len(tokens)
    if not isinstance(tags, list):
        found = f"{tag_key} {quote(tags)}" if tag_key in row else f"missing key {tag_key!r}, which other rows have"
        draft.problem(Kind.VALUE if tag_key in row else Kind.KEY, f"{found}; expected a list of tags")
        return
    if len(tags) != len(tokens):
        draft.problem(Kind.LENGTHS, f"{len(tokens)} tokens, but {len(tags)} tags")
        return
    if tags and isinstance(tags[0], int):
        if names is None:
            raise InputError(
                f"{file}:{draft.line}: {tag_key} are numbers; add their names in order: tag_names: [O, B-..., ...]"
            )
        if wrong := [tag for tag in tags if type(tag) is not int or not 0 <= tag < len(names)]:
            draft.problem(Kind.TAG, f"tag {quote(wrong[0])}; expected a number from 0 to {len(names) - 1}")
            return
        tags = [names[tag] for tag in tags]
    if wrong := [tag for tag in tags if not isinstance(tag, str)]:
        draft.problem(Kind.TAG, f"tag {quote(wrong[0])}; expected a string")
        return
    read_tagged(tokens, tags, scheme, draft, reading)


def _find_names(features: Any) -> dict[str, list[str]]:
    """Return the names of ClassLabels in the features of the library `datasets`: column -> names.

    Features are an object in files, and a list in dataset cards.
    """
    if isinstance(features, list):
        features = {feature.get("name"): feature for feature in features if isinstance(feature, dict)}
    columns = features.items() if isinstance(features, dict) else ()
    return {key: names for key, feature in columns if (names := _names_in(feature))}


def _names_in(feature: Any) -> list[str]:
    """Return the names of the first ClassLabel in a feature, or an empty list."""
    if isinstance(feature, list):
        feature = dict(enumerate(feature))
    if not isinstance(feature, dict):
        return []
    names = feature.get("names")
    if isinstance(names, dict):
        names = list(names.values())
    if isinstance(names, list) and all(isinstance(name, str) for name in names):
        return names
    return next(filter(None, map(_names_in, feature.values())), [])


def names_near(source: Source) -> dict[str, list[str]]:
    """Return the names of tags (key -> names) from the dataset card or the infos in a file's folder or its parent."""
    folder = source.path.resolve().parent
    for path in (one / name for one in (folder, folder.parent) for name in ("README.md", *_INFOS)):
        with contextlib.suppress(OSError, ValueError, LookupError, TypeError, yaml.YAMLError):
            text = path.read_text(encoding="utf-8")
            info = (
                json.loads(text) if path.suffix == ".json" else yaml.safe_load(text.split("---\n")[1])["dataset_info"]
            )
            configs = [info] if "features" in info else info.values() if isinstance(info, dict) else info
            for config in configs:
                if names := _find_names(config["features"]):
                    return names
    return {}


def _read_parquet_schema(source: Source) -> tuple[list[str], dict[str, list[str]]]:
    """Return the columns of a file, and the names of numbers in them (column -> names)."""
    with _open_parquet(source) as file:
        schema = file.schema_arrow
        features = None
        with contextlib.suppress(KeyError, TypeError, ValueError):
            features = json.loads(schema.metadata[b"huggingface"])["info"]["features"]
        return schema.names, _find_names(features)


def _read_parquet(source: Source, columns: list[str]) -> Iterator[JsonRow]:
    number = 0
    with _open_parquet(source) as file:
        for batch in file.iter_batches(_BATCH, columns=columns):
            for value in batch.to_pylist():
                number += 1
                yield JsonRow(number, number, b"", value)


@contextlib.contextmanager
def _open_parquet(source: Source) -> Iterator[Any]:
    """Open a parquet file. Only this function imports pyarrow. Raises InputError if the file is damaged."""
    import pyarrow
    from pyarrow import parquet

    try:
        # With pre_buffer, pyarrow would keep the columns of the whole file in memory.
        with parquet.ParquetFile(source.path, pre_buffer=False) as file:
            yield file
    except (pyarrow.ArrowException, OSError) as error:
        raise InputError(f"{source.name}: the parquet file is damaged ({error})") from None
