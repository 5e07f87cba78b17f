"""Read mentions from anything that resembles JSON: answers that differ from the array that the prompt asks for.

The library json-repair is not used. It completes a cut-off element (EntiTune must drop it) and keeps only the last of
several consecutive objects. On unbalanced quotes it takes quadratic time (14 s for 30,000 characters), and this reader
linear time. The tests compare the two readers where both apply.

A text is read in two steps: `parse` makes nodes of it, and `_walk` finds mentions in the nodes.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple, TypeAlias

from entitune.prompting.answer_formats.named import Range
from entitune.prompting.answer_formats.surrogates import without_lone_surrogates


class NamedMention(NamedTuple):
    """A mention as an answer names it. `occurrence` is the number under the key `occurrence`, or None.

    `range` is the place in the answer of the object or array that names the mention, from its first value to its end.
    """

    label: str
    text: str
    occurrence: int | None
    range: Range


def read_loosely(raw: str) -> list[NamedMention] | None:
    """Return the mentions in `raw`, in order and with duplicates, or None if there is no answer in it.

    The result is empty if the answer says that there are no mentions. Never raises; takes time linear in the length.
    The complete elements of a cut-off answer are kept. A number is read as text. An object names nothing if its text is
    empty, or if its text or label is null, true or false. Half a surrogate pair becomes U+FFFD, because UTF-8 cannot
    encode it.
    """
    nodes = parse(raw)
    mentions = [
        one._replace(label=without_lone_surrogates(one.label), text=without_lone_surrogates(one.text))
        for node in nodes
        for one in _walk(node, None)
    ]
    if mentions or any(_says_none(node) for node in nodes):
        return mentions
    return None


# --- text -> nodes ------------------------------------------------------------------------------------------------

_MAX_DEPTH = 32  # {"result": {"name": {"温格": [[0, 1]]}}} needs 5; anything deeper is noise and is skipped

# A quote closes a string only where JSON could continue, so "他说"好"的" with unescaped quotes is one string.
# For linear time, every repetition is possessive, and a string without an end extends to the end of the answer.
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


class Bare(str):
    """A scalar without quotes: a number, null, or an unquoted word."""

    __slots__ = ()


@dataclass(slots=True)
class Array:
    """An array. It is not `complete` if the end of the answer cuts it off."""

    items: list[Value] = field(default_factory=list)
    complete: bool = True
    start: int = 0
    """Where the first value begins in the answer."""
    end: int = 0

    def add(self, value: Value, position: int) -> None:
        """Append a value."""
        if not self.items:
            self.start = position
        self.items.append(value)

    def take_comma(self) -> None:
        """Do nothing: the value before the comma has been added."""

    def take_colon(self) -> None:
        """Do nothing: an array has no keys."""


@dataclass(slots=True)
class Object:
    """An object: its pairs in order, repeated keys included. `key` is a key whose value has not been read yet."""

    pairs: list[tuple[str, Value]] = field(default_factory=list)
    complete: bool = True
    key: str | None = None
    has_colon: bool = False
    first_key: int = 0
    """Where the first key begins in the answer."""
    start: int = 0
    """Where the first value begins in the answer."""
    end: int = 0

    def add(self, value: Value, position: int) -> None:
        """Take a value, either as a key or as the value of the last key."""
        if self.has_colon and self.key is not None:
            if not self.pairs:
                self.start = position
            self.pairs.append((self.key, value))
            self.key, self.has_colon = None, False
        elif isinstance(value, str):
            if not self.pairs:
                self.first_key = position
            self.key = value

    def take_comma(self) -> None:
        """End a pair."""
        self.key, self.has_colon = None, False

    def take_colon(self) -> None:
        """Take the next value as the value of the key."""
        self.has_colon = self.key is not None


Node: TypeAlias = Array | Object
Value: TypeAlias = "str | Array | Object"


def parse(raw: str) -> list[Node]:
    """Return every array and object at top level. Text around them is skipped."""
    parser = _Parser()
    position = 0
    while position < len(raw):
        if not parser.open_nodes:
            opener = _OPENER.search(raw, position)
            if opener is None:
                break
            position = opener.start()
        token = _TOKEN.match(raw, position)
        assert token is not None, "every character belongs to one of the alternatives"
        parser.take(token)
        position = token.end()
    return parser.finish()


class _Parser:
    """Makes nodes of tokens. `open_nodes` are those without an end yet, the outermost first."""

    def __init__(self) -> None:
        self.nodes: list[Node] = []
        self.open_nodes: list[Node] = []
        self._too_deep = 0  # the number of open brackets beyond _MAX_DEPTH
        self._position = 0  # in the answer, after the tokens that have been read

    def take(self, token: re.Match[str]) -> None:
        """Take the next token. The first one must be an opening bracket."""
        kind = token.lastgroup
        self._position = token.start()
        if kind == "open":
            self._open(token["open"])
        elif kind == "close":
            self._close(token["close"])
        elif self._too_deep:
            return
        elif kind == "comma":
            self.open_nodes[-1].take_comma()
        elif kind == "colon":
            self.open_nodes[-1].take_colon()
        elif kind == "bare":
            self.open_nodes[-1].add(Bare(token["bare"]), token.start())
        elif kind in ("double_end", "single_end", "curly_end"):
            body = kind.removesuffix("_end")
            self.open_nodes[-1].add(_unescape(token[body]), token.start(body))
        # else: white space, or a string that the end of the answer cuts off
        self._position = token.end()

    def finish(self) -> list[Node]:
        """Return the nodes after the last token. Nodes that are still open have been cut off."""
        while self.open_nodes:
            self.open_nodes[-1].complete = False
            self._close_innermost()
        return self.nodes

    def _open(self, bracket: str) -> None:
        if len(self.open_nodes) >= _MAX_DEPTH:
            self._too_deep += 1
            return
        innermost = self.open_nodes[-1] if self.open_nodes else None
        if bracket == "{" and isinstance(innermost, Object) and not innermost.has_colon:
            innermost.complete = bool(innermost.pairs)
            self._close_innermost()  # a missing closing brace: {"label": …, "text": … {"label": …
        self.open_nodes.append(Array() if bracket == "[" else Object())

    def _close(self, bracket: str) -> None:
        if self._too_deep:
            self._too_deep -= 1
            return
        wanted = Array if bracket == "]" else Object
        if any(isinstance(node, wanted) for node in self.open_nodes):
            while not isinstance(self.open_nodes[-1], wanted):
                self._close_innermost()
            self._position += len(bracket)
            self._close_innermost()

    def _close_innermost(self) -> None:
        node = self.open_nodes.pop()
        node.end = self._position
        if self.open_nodes:
            self.open_nodes[-1].add(node, node.start)
        else:
            self.nodes.append(node)


def _unescape(body: str) -> str:
    """Decode a JSON or Python string literal, given the text between its quotes."""
    if "\\" not in body:
        return body

    def replace(match: re.Match[str]) -> str:
        code = match[1]
        return chr(int(code[1:], 16)) if len(code) > 1 else _ESCAPED.get(code, code)

    text = _ESCAPE.sub(replace, body)
    # \ud83d\ude00 are two escapes of one character
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


# --- nodes -> mentions --------------------------------------------------------------------------------------------

# In order of preference. `entity` is the key of the text, unless there is another one: {"entity": "name", "text":
# "温格"}. `name` is also a label of CLUENER, so it is the key of the text only if another key has the label.
_TEXT_KEYS = ("text", "mention", "surface", "span", "word", "value", "entity", "name", "文本", "实体")
_LABEL_KEYS = ("label", "type", "entity_type", "category", "class", "tag", "entity", "标签", "类型", "类别")
_FIELD_KEYS = (frozenset(_TEXT_KEYS) | frozenset(_LABEL_KEYS)) - {"name"}
_OCCURRENCE_KEY = "occurrence"
_NOTHING = frozenset(("null", "None", "true", "True", "false", "False"))


def _names_nothing(value: str) -> bool:
    """Return whether a scalar is null, true or false without quotes."""
    return isinstance(value, Bare) and value in _NOTHING


def _walk(node: Node, label: str | None) -> Iterator[NamedMention]:
    """Yield the mentions of a node. `label` is the key of the node, which is a label in answers grouped by label."""
    if isinstance(node, Array):
        for item in node.items:
            if not isinstance(item, str):
                yield from _walk(item, label)
            elif label is not None:
                yield from _named((node.start, node.end), label, item)
        return
    if (fields := _fields(node, label)) is not None:
        yield from fields
        return
    for key, value in node.pairs:
        if isinstance(value, Object) and _holds_spans(value):
            for surface, spans in value.pairs:
                assert isinstance(spans, Array)
                count = sum(isinstance(span, Array) for span in spans.items) or min(1, len(spans.items))
                for _ in range(count):
                    yield from _named((value.first_key, value.end), key, surface)
        elif not isinstance(value, str):
            yield from _walk(value, key)
        elif node.complete and key not in _FIELD_KEYS and not isinstance(value, Bare):
            yield from _named((node.start, node.end), key, value)


def _fields(node: Object, label: str | None) -> list[NamedMention] | None:
    """Return the mentions of an object with fields for text and label, or None if it has no such fields.

    The label may also be the key of the object. An object that was cut off has no mentions.
    """
    keys = {key for key, _ in node.pairs}
    text_key = next((key for key in _TEXT_KEYS if key in keys), None)
    label_key = next((key for key in _LABEL_KEYS if key in keys and key != text_key), None)
    if text_key is None or (label_key is None and (label is None or text_key not in _FIELD_KEYS)):
        return None
    texts = [value for key, value in node.pairs if key == text_key]
    # {"label": …, "text": …, "label": …, "text": …} is two mentions in one object
    labels: list[Value | None] = [value for key, value in node.pairs if key == label_key]
    labels = labels or [label] * len(texts)
    if any(isinstance(value, Object) or (isinstance(value, Array) and not _is_flat(value)) for value in labels):
        return None  # it is a record of the corpus: {"text": …, "label": {"name": {"温格": [[0, 1]]}}}
    if not node.complete:
        return []
    numbers = [_number(value) for key, value in node.pairs if key == _OCCURRENCE_KEY]
    if len(numbers) != len(texts):
        numbers = [None] * len(texts)
    return [
        mention
        for one_label, text, number in zip(labels, texts, numbers, strict=False)
        for label_word in (one_label.items if isinstance(one_label, Array) else [one_label])
        if isinstance(label_word, str)
        for mention in _named((node.start, node.end), label_word, text, number)
    ]


def _named(place: Range, label: str, text: Value, occurrence: int | None = None) -> Iterator[NamedMention]:
    """Yield the mentions of one label at a place: one for a scalar text, or one for each scalar of an array."""
    if isinstance(text, Array):
        for item in text.items:
            if isinstance(item, str):
                yield from _named(place, label, item, occurrence)
    elif isinstance(text, str) and text and not _names_nothing(text) and not _names_nothing(label):
        yield NamedMention(label, text, occurrence, place)


def _number(value: Value) -> int | None:
    """Return a scalar, with or without quotes, as a whole number of at least 1, or None if it is not such a number."""
    return int(value) if isinstance(value, str) and re.fullmatch(r"[1-9][0-9]{0,8}", value) else None


def _is_flat(node: Array) -> bool:
    return all(isinstance(item, str) for item in node.items)


def _holds_spans(node: Object) -> bool:
    """Return whether an object has the form {surface: [[start, end], …]} of CLUENER."""
    return bool(node.pairs) and all(isinstance(value, Array) and _is_numeric(value) for _, value in node.pairs)


def _is_numeric(node: Array) -> bool:
    return all(
        _is_numeric(item) if isinstance(item, Array) else isinstance(item, Bare) and item.lstrip("-").isdigit()
        for item in node.items
    )


def _says_none(node: Value) -> bool:
    """Return whether a node says that there is no entity: [], {}, {"name": []}."""
    if isinstance(node, str) or not node.complete:
        return False
    if isinstance(node, Array):
        return not node.items
    return all(_says_none(value) for _, value in node.pairs)
