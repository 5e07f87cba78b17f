"""Read alpaca rows and encoded rows, and list the refused ones in a message."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from entitune.cli import InputError
from entitune.files import read_json
from entitune.prompting.prompt import AlpacaRow
from entitune.records import Tokens, read_records

SHOWN = 20
"""The most rows that a message lists."""
_ROWS = TypeAdapter(list[AlpacaRow])


@dataclass(frozen=True, slots=True)
class EncodedRow(Tokens):
    """A row of an encoded split, with the token ids of its answer."""

    answer_ids: list[int] | None = None
    problem: str | None = None
    """Why the row is used neither for training nor for prediction."""


def read_alpaca(path: str | Path) -> list[AlpacaRow]:
    """Return the rows of an alpaca file. Raises InputError if it is not as docs/contracts.md describes it."""
    rows: list[AlpacaRow] = read_json(path)
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


def read_pairs(alpaca: str | Path, tokens: str | Path) -> list[tuple[AlpacaRow, EncodedRow]]:
    """Return each alpaca row with its encoding. Raises InputError if the files do not have the same rows in order."""
    rows, encoded = read_alpaca(alpaca), list(read_encoded(tokens))
    if [row["id"] for row in rows] != [one.id for one in encoded]:
        raise InputError(
            f"{tokens} does not have the rows of {alpaca} in order; delete both and run the same command again"
        )
    return list(zip(rows, encoded, strict=True))


def listed(problems: Sequence[str]) -> list[str]:
    """Return the problems of rows for a message: the first SHOWN, and the number of the others."""
    more = len(problems) - SHOWN
    return [*problems[:SHOWN], *([f"... and {more} more"] if more > 0 else [])]
