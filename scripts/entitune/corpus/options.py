"""The options of a dataset's entry for reading its raw files, where the format leaves a choice."""

from __future__ import annotations

import argparse
from typing import Annotated, Literal, Self, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

Format: TypeAlias = Literal[
    "cluener",
    "conll-bio",
    "conll-bmes",
    "conll-bioes",
    "doccano",
    "entity-list",
    "cmeee",
    "ccks",
    "spans",
    "entitune",
    "json",
    "label-studio",
    "huggingface",
    "parallel",
    "brat",
    "boson",
]
"""The keys of `formats.FORMATS`."""

Scheme: TypeAlias = Literal["bio", "bmes", "bioes"]

Place: TypeAlias = int | str
"""The place of a value in a JSON object or list: a key, a position in a list, or several of them joined by dots."""


class _Options(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class Columns(_Options):
    """The columns of tokens and tags."""

    token: Place | None = Field(
        default=None, description="CoNLL: number of the column from 0 (default 0); huggingface: key (default tokens)"
    )
    tag: Place | None = Field(
        default=None,
        description="CoNLL: number of the column, from 0 or, negative, from the end (default -1); huggingface: key "
        "(default ner_tags)",
    )


class Mapping(_Options):
    """The places of text and mentions in JSON rows. A place is a key, or several keys joined by dots (span.begin)."""

    text: Place = Field(default="text", description="the sentence")
    id: Place = Field(default="id", description="the sentence's id; rows may have none")
    mentions: Place = Field(description="the list of mentions")
    start: Place = Field(description="in a mention: the offset of its first character; a position if it is a list")
    end: Place = Field(description="in a mention: the offset of its end")
    label: Place = Field(description="in a mention: its label, or a list of labels")
    surface: Place | None = Field(default=None, description="in a mention: its text, which offsets are checked against")
    inclusive: bool | None = Field(
        default=None,
        description="whether `end` is the last character rather than the one after; needed without `surface`",
    )

    @model_validator(mode="after")
    def _check_inclusive(self) -> Self:
        if self.surface is None and self.inclusive is None:
            raise ValueError(
                "add inclusive: true or false (whether ends are inclusive), or surface (the place of a mention's text)"
            )
        return self


class CorpusOptions(_Options):
    """Options for reading raw files, in addition to the format. Each format takes some of these keys."""

    columns: Columns | None = Field(default=None, description="where tokens and tags are (CoNLL, huggingface)")
    scheme: Scheme | None = Field(
        default=None, description="how tags mark mentions (parallel, huggingface); default bio"
    )
    repair_iob1: bool = Field(
        default=False,
        description="BIO: an I- tag that continues no mention begins one, as in IOB1, instead of being refused",
    )
    tag_names: Annotated[tuple[str, ...], Field(strict=False, min_length=1)] | None = Field(
        default=None, description="huggingface: names of the tags that the file has as numbers, in order"
    )
    spaces: bool = Field(
        default=False,
        description="CoNLL, parallel, huggingface: join tokens with a space, as English words; default: without",
    )
    mapping: Mapping | None = Field(default=None, description="format json: where rows have text and mentions")
    text_key: str | None = Field(
        default=None, description="label-studio: the key of the text in a task's data; default text"
    )
    use_predictions: bool = Field(
        default=False, description="label-studio: read predictions as if a person had annotated them"
    )
    rename: dict[str, str] = Field(
        default_factory=dict, description="label in the files -> label of the dataset, where they differ"
    )
    max_dropped: float = Field(
        default=0.05,
        ge=0,
        le=1,
        description="on_invalid drop: the largest share of a split's rows that may be dropped",
    )


def parse_options(value: str) -> CorpusOptions:
    """Read options from JSON on a command line, for argparse."""
    try:
        return CorpusOptions.model_validate_json(value)
    except ValidationError as error:
        reasons = (f"{'.'.join(map(str, one['loc'])) or value}: {one['msg']}" for one in error.errors())
        raise argparse.ArgumentTypeError("; ".join(reasons)) from None
