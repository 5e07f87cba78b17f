"""A model's answer read as mentions, whatever the model wrote around or instead of the JSON that was asked for.

An answer is first read strictly, by the standard library. What is not exactly the asked-for array is read by a small
tolerant reader of its own. The repair library json-repair was measured and left out: it completes a cut-off element
(EntiTune must drop it), keeps only the last of several objects that follow each other, and takes time that grows with
the square of the length on unbalanced quotes (14 s for 30,000 characters), where this reader is linear. The tests
compare the two where both apply.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

Status = Literal["ok", "repaired", "unparseable"]
Mention: TypeAlias = tuple[str, str]

# In order of preference. `entity` names the text, unless another key does: {"entity": "name", "text": "温格"}.
# `name` is also a label of CLUENER, so it names the text only beside a key that names the label.
_TEXT_KEYS = ("text", "mention", "surface", "span", "word", "value", "entity", "name", "文本", "实体")
_LABEL_KEYS = ("label", "type", "entity_type", "category", "class", "tag", "entity", "标签", "类型", "类别")
_FIELD_KEYS = (frozenset(_TEXT_KEYS) | frozenset(_LABEL_KEYS)) - {"name"}

_MAX_DEPTH = 32  # {"result": {"name": {"温格": [[0, 1]]}}} needs 5; what is deeper is noise and is not descended into

# A quote closes a string only where JSON could go on: this lets the unescaped quotes of "他说"好"的" pass.
# Every repetition is possessive and a string without an end runs to the end of the answer: linear time.
_CLOSES = r"(?=\s*+(?:[,:\]}，：]|\Z)|[^\S\n]*+\n|\s++[\"'])"
_TOKEN = re.compile(
    rf"""
    (?P<open>[\[{{]) | (?P<close>[\]}}]) | (?P<comma>[,，]) | (?P<colon>[:：])
    | "(?P<double>(?:[^"\\]++|\\.|"(?!{_CLOSES}))*+)(?P<double_end>")?
    | '(?P<single>(?:[^'\\]++|\\.|'(?!{_CLOSES}))*+)(?P<single_end>')?
    | “(?P<curly>[^”]*+)(?P<curly_end>”)?
    | (?P<bare>[^\s\[\]{{}},:，："'“\\]++)
    | [\s\\]++
    """,
    re.VERBOSE | re.DOTALL,
)
_OPENER = re.compile(r"[\[{]")
_ESCAPE = re.compile(r"\\(u[0-9a-fA-F]{4}|.)", re.DOTALL)
_ESCAPED = {"n": "\n", "t": "\t", "r": "\r", "b": "\b", "f": "\f"}
_LONE_SURROGATE = re.compile(r"[\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class Answer:
    """The mentions that an answer names, as (label, text) in the answer's order, duplicates kept, and how it was read.

    `ok`: the answer is the JSON array of {"label", "text"} that was asked for. `repaired`: read in spite of something.
    `unparseable`: nothing in it can be read as an array of entities, so `mentions` is empty.
    """

    mentions: tuple[Mention, ...]
    status: Status


def read_answer(raw: str) -> Answer:
    """Read the mentions of an answer. Never raises; takes time linear in the answer's length.

    Of a cut-off answer the complete elements are kept and the cut one is dropped; that it was cut off is known from
    the engine's finish reason only, so the status `truncated` is the caller's to give. Unknown labels are kept as they
    are. A number is read as the text that stands there; null, true and false name nothing. Half a surrogate pair
    becomes U+FFFD, because no UTF-8 file could hold it.
    """
    strict = _read_strictly(raw)
    if strict is not None:
        return Answer(strict, "ok")
    nodes = _parse(raw)
    mentions = tuple((_clean(label), _clean(text)) for node in nodes for label, text in _walk(node, None))
    if mentions:
        return Answer(mentions, "repaired")
    return Answer((), "repaired" if any(_is_empty(node) for node in nodes) else "unparseable")


def _read_strictly(raw: str) -> tuple[Mention, ...] | None:
    """The mentions if `raw` is exactly what was asked for, else None."""
    try:
        elements = json.loads(raw, object_pairs_hook=tuple)  # pairs: a repeated key must not vanish
    except (ValueError, RecursionError):
        return None
    if not isinstance(elements, list):
        return None
    mentions = []
    for element in elements:
        match element:
            case (("label", str(label)), ("text", str(text))) | (("text", str(text)), ("label", str(label))):
                if _LONE_SURROGATE.search(label + text):
                    return None
                mentions.append((label, text))
            case _:
                return None
    return tuple(mentions)


# --- the tolerant reader: text -> nodes ---------------------------------------------------------------------------


class _Bare(str):
    """A scalar without quotes: a number, null, or an unquoted word."""

    __slots__ = ()


@dataclass(slots=True)
class _Array:
    """`complete`: not cut off by the end of the answer."""

    items: list[Any] = field(default_factory=list)
    complete: bool = True


@dataclass(slots=True)
class _Object:
    """Pairs in order, so that a repeated key loses nothing. `key` is the one that waits for its colon and value."""

    pairs: list[tuple[str, Any]] = field(default_factory=list)
    complete: bool = True
    key: str | None = None
    has_colon: bool = False

    def add(self, value: Any) -> None:
        if self.has_colon and self.key is not None:
            self.pairs.append((self.key, value))
            self.key, self.has_colon = None, False
        elif isinstance(value, str):
            self.key = str(value)


def _parse(raw: str) -> list[_Array | _Object]:
    """Every array and object that stands at top level; text around them is skipped."""
    nodes: list[_Array | _Object] = []
    stack: list[_Array | _Object] = []
    ignored = 0  # brackets open beyond _MAX_DEPTH
    position = 0

    def put(value: Any) -> None:
        top = stack[-1]
        if isinstance(top, _Array):
            top.items.append(value)
        else:
            top.add(value)

    def close() -> None:
        value = stack.pop()
        if stack:
            put(value)
        else:
            nodes.append(value)

    while position < len(raw):
        if not stack:
            found = _OPENER.search(raw, position)
            if found is None:
                break
            position = found.start()
        token = _TOKEN.match(raw, position)
        if token is None:  # every character belongs to one of the alternatives
            raise AssertionError(f"no token at {position}")
        position = token.end()
        kind = token.lastgroup
        if kind == "open":
            if len(stack) >= _MAX_DEPTH:
                ignored += 1
                continue
            if token["open"] == "{" and stack and isinstance(stack[-1], _Object) and not stack[-1].has_colon:
                stack[-1].complete = bool(stack[-1].pairs)
                close()  # a missing closing brace: {"label": …, "text": … {"label": …
            stack.append(_Array() if token["open"] == "[" else _Object())
        elif kind == "close":
            if ignored:
                ignored -= 1
                continue
            wanted = _Array if token["close"] == "]" else _Object
            if any(isinstance(node, wanted) for node in stack):
                while not isinstance(stack[-1], wanted):
                    close()
                close()
        elif ignored:
            continue
        elif kind == "comma":
            if isinstance(stack[-1], _Object):
                stack[-1].key, stack[-1].has_colon = None, False
        elif kind == "colon":
            if isinstance(stack[-1], _Object):
                stack[-1].has_colon = stack[-1].key is not None
        elif kind == "bare":
            put(_Bare(token["bare"]))
        elif kind in ("double_end", "single_end", "curly_end"):
            put(_unescape(token[kind.removesuffix("_end")]))
        # else: white space, or a string that the end of the answer cut off
    while stack:
        stack[-1].complete = False
        close()
    return nodes


def _unescape(body: str) -> str:
    """The text of a JSON or Python string literal, given what stands between its quotes."""
    if "\\" not in body:
        return body

    def replace(match: re.Match[str]) -> str:
        code = match[1]
        return chr(int(code[1:], 16)) if len(code) > 1 else _ESCAPED.get(code, code)

    text = _ESCAPE.sub(replace, body)
    # \ud83d\ude00 are two escapes of one character
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _clean(text: str) -> str:
    return _LONE_SURROGATE.sub("\ufffd", str(text))


# --- nodes -> mentions --------------------------------------------------------------------------------------------


def _walk(node: Any, label: str | None) -> Iterator[Mention]:
    """The mentions of a node. `label` is the key under which the node stands, for answers grouped by label."""
    if isinstance(node, _Array):
        for item in node.items:
            if isinstance(item, str):
                if label is not None:
                    yield from _named(label, item)
            else:
                yield from _walk(item, label)
    elif isinstance(node, _Object):
        keys = {key for key, _ in node.pairs}
        text_key = next((key for key in _TEXT_KEYS if key in keys), None)
        label_key = next((key for key in _LABEL_KEYS if key in keys and key != text_key), None)
        if text_key is not None and (label_key is not None or (label is not None and text_key in _FIELD_KEYS)):
            texts = [value for key, value in node.pairs if key == text_key]
            # {"label": …, "text": …, "label": …, "text": …} is two mentions in one object
            labels = [value for key, value in node.pairs if key == label_key] or [label] * len(texts)
            if node.complete:
                for one_label, one_text in zip(labels, texts, strict=False):
                    if isinstance(one_label, str):
                        yield from _named(one_label, one_text)
            if all(isinstance(one_label, str) for one_label in labels):
                return  # else it is a whole record of the corpus: {"text": …, "label": {"name": {"温格": [[0, 1]]}}}
        for key, value in node.pairs:
            if isinstance(value, _Object) and _holds_spans(value):
                for surface, spans in value.pairs:
                    count = sum(isinstance(span, _Array) for span in spans.items) or min(1, len(spans.items))
                    yield from [(key, surface)] * count
            elif isinstance(value, _Array | _Object):
                yield from _walk(value, key)
            elif node.complete and key not in _FIELD_KEYS and not isinstance(value, _Bare):
                yield from _named(key, value)


def _named(label: str, text: Any) -> Iterator[Mention]:
    """The mentions of one label: one for a scalar, one for each scalar of an array."""
    if isinstance(text, _Array):
        for item in text.items:
            if isinstance(item, str):
                yield from _named(label, item)
    elif (
        isinstance(text, str)
        and text
        and not (isinstance(text, _Bare) and text in ("null", "None", "true", "True", "false", "False"))
    ):
        yield label, text


def _holds_spans(node: _Object) -> bool:
    """Whether an object has the form {surface: [[start, end], …]} of CLUENER."""
    return bool(node.pairs) and all(isinstance(value, _Array) and _is_numeric(value) for _, value in node.pairs)


def _is_numeric(node: _Array) -> bool:
    return all(
        _is_numeric(item) if isinstance(item, _Array) else isinstance(item, _Bare) and item.lstrip("-").isdigit()
        for item in node.items
    )


def _is_empty(node: _Array | _Object) -> bool:
    """Whether a node says that there is no entity: [], {}, {"name": []}."""
    if not node.complete:
        return False
    if isinstance(node, _Array):
        return not node.items
    return all(isinstance(value, _Array | _Object) and _is_empty(value) for _, value in node.pairs)
