"""The answers that structured decoding allows. They are all read as `ok`, and limit repeated white space."""

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
    """The answers that structured decoding allows, as a regular expression that must match the complete answer."""

    pattern: str

    def to_vllm(self) -> dict[str, str]:
        """Return the arguments of vLLM's `StructuredOutputsParams`, which a request has as `structured_outputs`."""
        return {"regex": self.pattern}


@dataclass(frozen=True, slots=True)
class Grammar:
    """The answers that structured decoding allows, as a grammar in xgrammar's EBNF with the start symbol `root`."""

    ebnf: str

    def to_vllm(self) -> dict[str, str]:
        """Return the arguments of vLLM's `StructuredOutputsParams`, which a request has as `structured_outputs`."""
        return {"grammar": self.ebnf}


Constraint: TypeAlias = Regex | Grammar
"""A constraint on answers. vLLM takes both kinds in the same form, in a batch and over HTTP."""


def constraint_of(answer_format: AnswerFormat, labels: Sequence[str], text: str) -> Constraint:
    """Return the constraint on answers to the sentence `text`, in a format and with labels."""
    return _CONSTRAINTS[answer_format](labels, text)


# --- structured decoding: exactly what to_json can write ----------------------------------------------------------
#
# A JSON schema does not work here. With it, vLLM allows either any white space between tokens, so that a model can loop
# until max_tokens, or none at all (`disable_any_whitespace`), which is not what a model learns from to_json. A regular
# expression allows one space after each comma and colon, as to_json writes it.

_SPACE = r"[ \u00a0\u3000]|\\[nrt]"
_OTHER = r'[^"\\\u0000-\u0020\u00a0\u3000]|\\["\\bf]|\\u00[01][0-9a-f]'
_MENTION_TEXT = f'"(?:(?:{_SPACE}){{0,3}}(?:{_OTHER}))+(?:{_SPACE}){{0,3}}"'
"""A mention's text: not empty, and at most three white spaces in a row, because a model could loop here too."""


def _json(labels: Sequence[str], _: str) -> Regex:
    return _array_of(f'"label": {_one_of(labels)}, "text": {_MENTION_TEXT}')


def _occurrence(labels: Sequence[str], _: str) -> Regex:
    return _array_of(f'"label": {_one_of(labels)}, "text": {_MENTION_TEXT}, "occurrence": [1-9][0-9]{{0,3}}')


def _array_of(members: str) -> Regex:
    """Return the constraint to an array of objects; `members` is a regular expression of their content."""
    return Regex(rf"\[(?:\{{{members}\}}(?:, \{{{members}\}})*)?\]")


def _one_of(words: Sequence[str]) -> str:
    """Return a regular expression that matches one of these words as a JSON string."""
    return f"(?:{'|'.join(_quote(to_json(word)) for word in words)})"


def _quote(text: str) -> str:
    """Escape a text for a regular expression. re.escape adds escapes that other engines do not understand."""
    return re.sub(r"([\\.^$*+?{}\[\]|()/])", r"\\\1", text)


# --- brackets: the sentence with marks ----------------------------------------------------------------------------

_GRAMMAR_DEPTH = 2
"""How deeply the grammar allows nested mentions. The time to compile is proportional to it: 10 to 25 ms for a CLUENER
sentence at this depth, with a vocabulary of 150,000 tokens."""


def _brackets(labels: Sequence[str], text: str) -> Grammar:
    """Return a grammar that allows the sentence with marks in it. Its answers are finite, so a model cannot loop."""
    return Grammar("\n".join(_rules(labels, text)))


def _rules(labels: Sequence[str], text: str) -> Iterator[str]:
    """Yield the rules of the grammar. `d{depth}_{offset}` writes the rest of the sentence from `offset` on.

    `o{depth}_{offset}` does the same after a mark was opened at `offset`, and does not allow an empty mark.
    """
    yield "root ::= d0_0"
    yield "mark ::= " + " | ".join(_literal(f"|{escape(label)}]") for label in labels)
    for offset in range(len(text) + 1):
        for depth in range(_GRAMMAR_DEPTH + 1):
            choices = []
            if offset < len(text):
                choices.append(f"{_literal(escape(text[offset]))} d{depth}_{offset + 1}")
                if depth < _GRAMMAR_DEPTH:
                    choices.append(f'"[" o{depth + 1}_{offset}')
                if depth:
                    yield f"o{depth}_{offset} ::= " + " | ".join(choices)
            elif not depth:
                choices.append('""')
            closing = [f"mark d{depth - 1}_{offset}"] if depth else []
            yield f"d{depth}_{offset} ::= " + " | ".join(choices + closing)


def _literal(text: str) -> str:
    """Quote a text for xgrammar's EBNF."""
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
