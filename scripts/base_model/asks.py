r"""The pipeline's task: a prompt that lists labels, and the answer with exactly these labels.

The names, order and number of the labels, the words of the prompt and the form of the answer vary, so the model can
only rely on the list. The words of half of the prompts are those of conf/prompts (a test compares them).
"""

import json
import random
import re
from collections.abc import Sequence
from typing import Literal, NamedTuple

from label_table import Label

Form = Literal["json", "brackets"]
Kind = Literal["short", "free", "long", "definitions", "unlisted"]
Mention = tuple[str, int, int]
"""(label, start, end) of a sentence."""

SHORT: dict[Form, str] = {
    "json": '你是实体识别专家。按顺序列出句中每处{labels}，格式：[{"label": "类别", "text": "原文"}]，没有则[]。',
    "brackets": "你是实体识别专家。照抄句子，把其中每处{labels}写成[原文|类别]，句子原有的[、]、|、\\前加\\。",
}
LONG_JSON = """你是一位文本实体识别专家，请从给定的句子中找出属于指定类别的全部实体。

实体类别：{labels}

要求：
1. 只提取上述类别的实体，忽略其他内容。
2. 以 JSON 格式输出，每个实体给出两项：label 为实体类别，必须严格使用上面的原始标识；text 为实体在句子中的原文。

输出格式：
```json
[{"label": "实体类别", "text": "实体原文"}]
```

句子："""
LONG_BRACKETS = """你是一位文本实体识别专家，请在给定的句子中标出属于指定类别的全部实体。

实体类别：{labels}

要求：
1. 只标注上述类别的实体，忽略其他内容。
2. 原样抄写整个句子，把其中每个实体写成 [实体原文|实体类别]，实体类别必须严格使用上面的原始标识；\
一个实体里还有实体时，嵌套标注。
3. 句子里原有的 [、]、|、\\ 前面各加一个 \\。

输出格式：
……[实体原文|实体类别]……

句子："""
LONG: dict[Form, str] = {"json": LONG_JSON, "brackets": LONG_BRACKETS}
LONG_DEFINITIONS = LONG_JSON.replace("{labels}", "\n{definitions}").replace("上面的原始", "上面冒号前的原始")
DEFINITIONS: dict[Form, str] = {
    "json": "你是实体识别专家。类别：\n{definitions}\n"
    '按顺序列出句中每处，格式：[{"label": "类别", "text": "原文"}]，没有则[]。',
    "brackets": "你是实体识别专家。类别：\n{definitions}\n照抄句子，把其中每处写成[原文|类别]。",
}
FREE: dict[Form, tuple[str, ...]] = {
    "json": ("找出{labels}，JSON", "抽取{labels}，JSON", "列出句中的{labels}，JSON", "JSON：{labels}"),
    "brackets": ("用方括号标出{labels}", "标出句中的{labels}：[原文|类别]", "方括号：{labels}"),
}
UNLISTED: dict[Form, str] = {"json": "列出实体，JSON", "brackets": "用方括号标出实体"}
CODES = ("ABCDEFGHIJ", "甲乙丙丁戊己庚辛壬癸", "1234567890")


class Ask(NamedTuple):
    """A prompt, and the form of its answer."""

    prompt: str
    names: dict[str, str]
    """Label in the sentences -> label in the prompt's list."""
    form: Form

    def row(self, text: str, mentions: Sequence[Mention]) -> tuple[str, str]:
        """Return the user turn and the answer for a sentence with its mentions in text order."""
        asked = [(self.names[label], start, end) for label, start, end in mentions if label in self.names]
        write = _json if self.form == "json" else _brackets
        return f"{self.prompt}\n{text}", write(text, asked)


def ask(rng: random.Random, labels: Sequence[Label], kinds: dict[Kind, float]) -> Ask:
    """Return a prompt that asks for ``labels`` in this order. ``kinds`` has the weights of the kinds of prompts."""
    kind = rng.choices(list(kinds), list(kinds.values()))[0]
    form: Form = rng.choice(("json", "brackets"))
    if kind == "unlisted":
        return Ask(UNLISTED[form], _by_mark(labels, [label.chinese[0] for label in labels]), form)
    names = _names(rng, labels, codes=kind == "definitions")
    listed = rng.choice((", ", ", ", ", ", "、")).join(names)
    if kind == "definitions":
        english = rng.random() < 0.25
        lines = [f"- {name}：{label.definitions[english]}" for name, label in zip(names, labels, strict=True)]
        template = LONG_DEFINITIONS if form == "json" and rng.random() < 0.25 else DEFINITIONS[form]
        return Ask(template.replace("{definitions}", "\n".join(lines)), _by_mark(labels, names), form)
    template = SHORT[form] if kind == "short" else LONG[form] if kind == "long" else rng.choice(FREE[form])
    return Ask(template.replace("{labels}", listed), _by_mark(labels, names), form)


def draw(rng: random.Random, labels: Sequence[Label], every: float) -> list[Label]:
    """Return all labels with the probability ``every``, else some, in the set's order, sorted by name, or shuffled."""
    chosen = list(labels)
    if rng.random() >= every and len(chosen) > 1:
        some = rng.sample(range(len(chosen)), rng.randint(1, len(chosen) - 1))
        chosen = [labels[i] for i in sorted(some)]
    order = rng.random()
    if order < 0.3:
        rng.shuffle(chosen)
    elif order < 0.7:
        chosen.sort(key=lambda label: label.english[0])
    return chosen


def _names(rng: random.Random, labels: Sequence[Label], codes: bool) -> list[str]:
    """Return distinct names for the labels in a prompt."""
    style = rng.random()
    if codes and style < 0.15:
        return list(rng.choice(CODES)[: len(labels)])
    if style < 0.55:
        return [label.english[0] for label in labels]
    if style < 0.8:
        return [label.chinese[0] for label in labels]
    language = rng.random()
    pools = [label.english if language < 0.45 else label.chinese if language < 0.9 else label.english + label.chinese
             for label in labels]  # fmt: skip
    names = [rng.choice(pool) for pool in pools]
    return names if len({*names}) == len(names) else [pool[0] for pool in pools]


def _by_mark(labels: Sequence[Label], names: Sequence[str]) -> dict[str, str]:
    return {mark: name for label, name in zip(labels, names, strict=True) for mark in label.marked}


def _json(text: str, mentions: Sequence[Mention]) -> str:
    return json.dumps([{"label": label, "text": text[start:end]} for label, start, end in mentions], ensure_ascii=False)


def _brackets(text: str, mentions: Sequence[Mention]) -> str:
    out, last = "", 0
    for label, start, end in mentions:
        out += f"{_escape(text[last:start])}[{_escape(text[start:end])}|{label}]"
        last = end
    return out + _escape(text[last:])


def _escape(text: str) -> str:
    return re.sub(r"([\[\]|\\])", r"\\\1", text)
