"""Chat rows for pre-training: plain language, copying, and naming the types of spans in other formats than the task's.

The JSON keys and label values of the pipeline's answer ({"label": "company", "text": ...}) are never used to mark up a
sentence: they occur only as material to be copied, so that their tokens are trained but the task is left to LoRA.
"""

import json
import random
from collections.abc import Iterator

from lexicon import Maker, Words
from sentences import Mention, Writer

LABELS = ["address", "book", "company", "game", "government", "movie", "name", "organization", "position", "scene"]
TYPES = {
    "name": ["人名", "人物", "姓名"], "address": ["地址", "地名", "地点"], "company": ["公司", "企业"],
    "organization": ["组织", "组织机构", "团体"], "government": ["政府", "政府机构", "官方机构"],
    "position": ["职位", "职务", "头衔"], "scene": ["景点", "景区", "名胜"], "book": ["书名", "书籍", "图书"],
    "movie": ["电影", "影片", "片名"], "game": ["游戏", "游戏名"],
}  # fmt: skip
ASK = ["找出", "抽取", "列出", "找出句中的"]

Row = dict[str, str]


class Teacher:
    """Writes rows {"user", "assistant"}; an empty "user" means plain text whose every token is learnt."""

    def __init__(self, seed: int, words: Words) -> None:
        self.rng = random.Random(seed)
        self.maker = Maker(self.rng, words)
        self.writer = Writer(self.maker)
        self.tasks = [
            (0.68, self.spans), (0.05, self.plain), (0.10, self.random_copy), (0.03, self.sentence_copy),
            (0.06, self.between), (0.04, self.type_of), (0.04, self.json_copy),
        ]  # fmt: skip

    def row(self) -> Row:
        """Return one row of a task drawn by weight."""
        tasks = [task for _, task in self.tasks]
        user, assistant = self.rng.choices(tasks, [weight for weight, _ in self.tasks])[0]()
        return {"user": user, "assistant": assistant}

    def spans(self) -> tuple[str, str]:
        """All mentions of a sentence, in text order, in one of several formats."""
        rng = self.rng
        text, mentions = self.writer.sentence()
        names = {
            label: rng.choice(synonyms) if rng.random() < 0.2 else synonyms[0] for label, synonyms in TYPES.items()
        }
        wanted = list(names)
        if rng.random() < 0.12:
            wanted = rng.sample(wanted, rng.randint(1, 9))
            mentions = [m for m in mentions if m[0] in wanted]
            asked = "、".join(names[label] for label in wanted)
        else:
            asked = "实体" if rng.random() < 0.8 else rng.choice("、，,").join(names.values())
        pairs = [(names[label], text[start:end]) for label, start, end in mentions]
        style = rng.random()
        if style < 0.08:
            return f"用方括号标出{asked}\n{text}", self.inline(text, mentions, names)
        if style < 0.18:
            ask, answer = "，分号隔开", "；".join(f"{t}：{s}" for t, s in pairs) or "无"
        elif style < 0.35:
            ask, answer = "，列表", json.dumps([[t, s] for t, s in pairs], ensure_ascii=False)
        else:
            rows = [{"type": t, "span": s} for t, s in pairs]
            answer = json.dumps(rows, ensure_ascii=False)
            ask = "，JSON" if rng.random() < 0.8 else '。输出JSON：[{"type": "类型", "span": "原文"}]'
        return f"{rng.choice(ASK)}{asked}{ask}\n{text}", answer

    def inline(self, text: str, mentions: list[Mention], names: dict[str, str]) -> str:
        """Return the sentence with its mentions marked as [surface|type]."""
        out, last = "", 0
        for label, start, end in mentions:
            out += f"{text[last:start]}[{text[start:end]}|{names[label]}]"
            last = end
        return out + text[last:]

    def plain(self) -> tuple[str, str]:
        """Plain text: a sentence, or words by group."""
        if self.rng.random() < 0.6:
            return "", self.writer.sentence()[0]
        return "", "、".join(self.maker.word(self.rng.choice(list(self.maker.words.group))) for _ in range(8))

    def random_copy(self) -> tuple[str, str]:
        """Random characters to be repeated, which leaves nothing to rely on but copying."""
        text = self.maker.chars(3, 30)
        if self.rng.random() < 0.3:
            text += self.maker.latin() + self.writer.number() + self.maker.chars(1, 5)
        return f"重复\n{text}", text

    def sentence_copy(self) -> tuple[str, str]:
        """A sentence to be repeated."""
        text, _ = self.writer.sentence()
        return f"重复\n{text}", text

    def between(self) -> tuple[str, str]:
        """The part of a text between two of its characters, or what stands in quotes."""
        text = self.writer.sentence()[0] + self.maker.chars(2, 6)
        start = self.rng.randrange(len(text) - 2)
        end = min(len(text), start + self.rng.randint(2, 10))
        before, after = text[max(0, start - 2) : start], text[end : end + 2]
        return f"“{before}”和“{after}”之间\n{text}", text[start:end]

    def type_of(self) -> tuple[str, str]:
        """The types of bare surfaces."""
        labels = self.rng.choices(list(TYPES), k=self.rng.randint(1, 5))
        surfaces = [getattr(self.maker, label)() for label in labels]
        return "各是什么\n" + "，".join(surfaces), "，".join(TYPES[label][0] for label in labels)

    def json_copy(self) -> tuple[str, str]:
        """A random list in the pipeline's answer format, to be repeated: trains its tokens, not the task."""
        pairs = [
            {"label": self.rng.choice(LABELS), "text": self.maker.chars(1, 6)} for _ in range(self.rng.randint(0, 4))
        ]
        text = json.dumps(pairs, ensure_ascii=False)
        if self.rng.random() < 0.2:
            text = ", ".join(self.rng.sample(LABELS, 10))
        return f"重复\n{text}", text


def rows(seed: int, count: int, words: Words | None = None) -> Iterator[Row]:
    """Yield ``count`` rows; the same seed yields the same rows."""
    teacher = Teacher(seed, words or Words())
    for _ in range(count):
        yield teacher.row()
