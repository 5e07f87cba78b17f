"""Read alpaca rows and encoded rows."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError
from typing_extensions import TypedDict

from entitune.cli import InputError
from entitune.files import read_json
from entitune.records import Tokens, read_records


class AlpacaRow(TypedDict):
    """A sentence with its prompt and answer, as docs/contracts.md describes it."""

    id: str
    system: str
    instruction: str
    input: str
    output: str
    history: list[list[str]]


_ROWS = TypeAdapter(list[AlpacaRow])


@dataclass(frozen=True, slots=True)
class EncodedRow(Tokens):
    """A row of an encoded split, with the token ids of its answer."""

    answer_ids: list[int] | None = None
    problem: str | None = None
    """Why the row is used neither for training nor for prediction."""


def read_alpaca(path: str | Path) -> list[dict[str, Any]]:
    """Return the rows of an alpaca file. Raises InputError if it is not as docs/contracts.md describes it."""
    rows: list[dict[str, Any]] = read_json(path)
    try:
        _ROWS.validate_python(rows, strict=True)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = f":{first['loc'][0] + 2}" if first["loc"] and isinstance(first["loc"][0], int) else ""  # "[" is line 1
        raise InputError(
            f"{path}{where}: not alpaca rows ({': '.join(map(str, first['loc'][1:]))} {first['msg']})"
        ) from None
    return rows


def read_encoded(path: str | Path) -> Iterator[EncodedRow]:
    """Return the rows of an encoded split. Raises InputError if one is not as docs/contracts.md describes it."""
    return read_records(path, EncodedRow)


def read_pairs(alpaca: str | Path, tokens: str | Path) -> list[tuple[dict[str, Any], EncodedRow]]:
    """Return each alpaca row with its encoding. Raises InputError if the files do not have the same rows in order."""
    rows, encoded = read_alpaca(alpaca), list(read_encoded(tokens))
    if [row["id"] for row in rows] != [one.id for one in encoded]:
        raise InputError(
            f"{tokens} does not have the rows of {alpaca} in order; delete both and run the same command again"
        )
    return list(zip(rows, encoded, strict=True))
