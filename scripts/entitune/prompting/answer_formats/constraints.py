"""What structured decoding allows as an answer. Whatever it allows is read as `ok`, and no white space can repeat."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from entitune.files import to_json
from entitune.prompting.answer_formats import AnswerFormat
from entitune.prompting.answer_formats.markup import escape


@dataclass(frozen=True, slots=True)
class Regex:
    """The answers that structured decoding allows, as a regular expression that an answer matches as a whole."""

    pattern: str

    def to_vllm(self) -> dict[str, str]:
        """The argument of vLLM's `StructuredOutputsParams`, and the value of `structured_outputs` in a request."""
        return {"regex": self.pattern}


@dataclass(frozen=True, slots=True)
class Grammar:
    """The answers that structured decoding allows, as a grammar in xgrammar's EBNF that begins at `root`."""

    ebnf: str

    def to_vllm(self) -> dict[str, str]:
        """The argument of vLLM's `StructuredOutputsParams`, and the value of `structured_outputs` in a request."""
        return {"grammar": self.ebnf}


Constraint: TypeAlias = Regex | Grammar
"""What structured decoding holds an answer to. Both kinds go to vLLM in the same way, in a batch and over HTTP."""


def constraint_of(answer_format: AnswerFormat, labels: Sequence[str], text: str) -> Constraint:
    """What an answer in that format to the sentence `text` may be, with these labels."""
    return _CONSTRAINTS[answer_format](labels, text)


# --- structured decoding: exactly what to_json can write ----------------------------------------------------------
#
# A JSON schema would not do: vLLM lets a grammar made from one have any white space between tokens, in which a model
# can loop until max_tokens, or no white space at all (`disable_any_whitespace`), which is not the form that a model has
# learned from to_json. A regular expression allows one space after each comma and colon, as to_json writes it.

_SPACE = r"[ \u00a0\u3000]|\\[nrt]"
_OTHER = r'[^"\\\u0000-\u0020\u00a0\u3000]|\\["\\bf]|\\u00[01][0-9a-f]'
_MENTION_TEXT = f'"(?:(?:{_SPACE}){{0,3}}(?:{_OTHER}))+(?:{_SPACE}){{0,3}}"'
"""A mention's text: not empty, and no more than three white spaces in a row, for a loop could be in there as well."""


def _json(labels: Sequence[str], _: str) -> Regex:
    return _array_of(f'"label": {_one_of(labels)}, "text": {_MENTION_TEXT}')


def _occurrence(labels: Sequence[str], _: str) -> Regex:
    return _array_of(f'"label": {_one_of(labels)}, "text": {_MENTION_TEXT}, "occurrence": [1-9][0-9]{{0,3}}')


def _array_of(members: str) -> Regex:
    """An array of objects, each with `members`: a regular expression without the braces."""
    return Regex(rf"\[(?:\{{{members}\}}(?:, \{{{members}\}})*)?\]")


def _one_of(words: Sequence[str]) -> str:
    """A regular expression of one of these words as a JSON string."""
    return f"(?:{'|'.join(_quote(to_json(word)) for word in words)})"


def _quote(text: str) -> str:
    """A regular expression of a text itself. re.escape escapes more than other engines than Python's understand."""
    return re.sub(r"([\\.^$*+?{}\[\]|()/])", r"\\\1", text)


# --- brackets: the sentence with marks ----------------------------------------------------------------------------

_GRAMMAR_DEPTH = 2
"""Mentions in mentions that the grammar allows. Compiling takes time in proportion: 10 to 25 ms for a CLUENER sentence
at this depth, with a vocabulary of 150,000 tokens."""


def _brackets(labels: Sequence[str], text: str) -> Grammar:
    """The sentence itself with marks in it: a grammar for each sentence. It has an end, so a model cannot loop."""
    return Grammar("\n".join(_rules(labels, text)))


def _rules(labels: Sequence[str], text: str) -> Iterator[str]:
    """The rules of the grammar: `d{depth}_{offset}` writes the rest of the sentence from a character on.

    `o{depth}_{offset}` does the same where a mark has just been opened, so that it cannot be empty.
    """
    yield "root ::= d0_0"
    yield "mark ::= " + " | ".join(_literal(f"|{escape(label)}]") for label in labels)
    for offset in range(len(text) + 1):
        for depth in range(_GRAMMAR_DEPTH + 1):
            going_on = []
            if offset < len(text):
                going_on.append(f"{_literal(escape(text[offset]))} d{depth}_{offset + 1}")
                if depth < _GRAMMAR_DEPTH:
                    going_on.append(f'"[" o{depth + 1}_{offset}')
                if depth:
                    yield f"o{depth}_{offset} ::= " + " | ".join(going_on)
            elif not depth:
                going_on.append('""')
            closing = [f"mark d{depth - 1}_{offset}"] if depth else []
            yield f"d{depth}_{offset} ::= " + " | ".join(going_on + closing)


def _literal(text: str) -> str:
    """A text as a string of xgrammar's EBNF."""
    return '"' + "".join(_literal_character(character) for character in text) + '"'


def _literal_character(character: str) -> str:
    if character in '"\\':
        return f"\\{character}"
    return character if character.isprintable() else f"\\U{ord(character):08x}"


_CONSTRAINTS: dict[AnswerFormat, Callable[[Sequence[str], str], Constraint]] = {
    "json": _json,
    "brackets": _brackets,
    "occurrence": _occurrence,
}
