"""The labels of the written sentences (labels.tsv): names and definitions in two languages.

All mentions of the labels of a set are marked in the sentences of a file. The set `cluener` has the ten labels of
written/, and each other set has those of label_sets/SET.txt. The set `coarse` combines labels of `cluener`.
"""

import csv
from pathlib import Path
from typing import NamedTuple

TABLE = Path(__file__).with_name("labels.tsv")
TEN = "cluener"
COARSE = "coarse"


class Label(NamedTuple):
    """A label as a prompt can list it."""

    chinese: tuple[str, ...]
    """Names in Chinese, the usual one first."""
    english: tuple[str, ...]
    """Names in English, the usual one first."""
    definitions: tuple[str, str]
    """Definitions in Chinese and in English."""
    marked: tuple[str, ...]
    """The labels in the sentences that this label covers."""


def read_label_sets(path: Path = TABLE) -> dict[str, list[Label]]:
    """Return the labels of each set, in the order of the table."""
    sets: dict[str, list[Label]] = {}
    with path.open(encoding="utf-8", newline="") as stream:
        for row in csv.DictReader(stream, delimiter="\t", quoting=csv.QUOTE_NONE):
            sets.setdefault(row["set"], []).append(
                Label(
                    chinese=tuple(row["chinese"].split("、")),
                    english=tuple(row["english"].split("、")),
                    definitions=(row["definition"], row["english_definition"]),
                    marked=tuple(row["marked"].split(",")),
                )
            )
    return sets
