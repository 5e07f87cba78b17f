"""Chat rows for pre-training: plain language, copying, and naming the types of spans in Chinese.

An answer in the pipeline's form names the types in Chinese. In the course of written sentences a prompt may list them
in English, by the pipeline's labels, and an answer in another form does so where it is asked to. So one thing is left
to LoRA: to answer in the pipeline's form with the labels that the prompt lists.
"""

import json
import random
from collections.abc import Iterator

from lexicon import Maker, Words
from news import TAILS, Clause
from sentences import Mention, Writer
from written import Variations

LABELS = ["address", "book", "company", "game", "government", "movie", "name", "organization", "position", "scene"]
TYPES = {
    "name": ["人名", "人物", "姓名"], "address": ["地址", "地名", "地点"], "company": ["公司", "企业"],
    "organization": ["组织", "组织机构", "团体"], "government": ["政府", "政府机构", "官方机构"],
    "position": ["职位", "职务", "头衔"], "scene": ["景点", "景区", "名胜"], "book": ["书名", "书籍", "图书"],
    "movie": ["电影", "影片", "片名"], "game": ["游戏", "游戏名"],
}  # fmt: skip
ENGLISH = "（英文）"
NEWS_LABELS = ["name", "address", "position", *TAILS]
ASK = ["找出", "抽取", "列出", "找出句中的"]
TASK = '你是实体识别专家。按顺序列出句中每处{}，格式：[{{"label": "类别", "text": "原文"}}]，没有则[]。'

Row = dict[str, str]


class Teacher:
    """Writes rows {"user", "assistant"}; an empty "user" means plain text whose every token is learnt."""

    def __init__(self, course: str, seed: int, news: list[Clause], words: Words) -> None:
        self.rng = random.Random(seed)
        self.maker = Maker(self.rng, words)
        self.writer = Writer(self.maker)
        self.news = news
        self.news_with_spans = [clause for clause in news if clause.spans]
        self.written = Variations(self.maker)
        # First what any sentence teaches: to copy, and the forms of names. Then sentences as people write them.
        courses = {
            "general": [
                (0.48, self.spans), (0.18, self.news_spans), (0.03, self.plain), (0.09, self.news_plain),
                (0.05, self.segment), (0.05, self.random_copy), (0.03, self.sentence_copy), (0.04, self.type_of),
                (0.05, self.json_copy),
            ],
            "written": [
                (0.53, self.written_spans), (0.13, self.spans), (0.11, self.news_spans), (0.03, self.written_plain),
                (0.03, self.news_plain), (0.02, self.segment), (0.03, self.random_copy), (0.07, self.type_of),
                (0.05, self.json_copy),
            ],
        }  # fmt: skip

        self.weights, self.tasks = zip(*courses[course], strict=True)
        self.english = course == "written"

    def row(self) -> Row:
        """Return one row of a task drawn by weight."""
        user, assistant = self.rng.choices(self.tasks, self.weights)[0]()
        return {"user": user, "assistant": assistant}

    def spans(self) -> tuple[str, str]:
        """All mentions of a made-up sentence, or those of some types."""
        text, mentions = self.writer.sentence()
        some = self.rng.random() < 0.12
        return self.mark_up(
            text, mentions, self.rng.sample(list(TYPES), self.rng.randint(1, 9)) if some else list(TYPES)
        )

    def written_spans(self) -> tuple[str, str]:
        """The mentions of a written sentence, of all types or of some."""
        text, mentions = self.written.sentence().placed()
        some = self.rng.random() < 0.08
        return self.mark_up(
            text, mentions, self.rng.sample(list(TYPES), self.rng.randint(1, 9)) if some else list(TYPES)
        )

    def written_plain(self) -> tuple[str, str]:
        """A written sentence as plain text."""
        return "", self.written.sentence().placed()[0]

    def news_spans(self) -> tuple[str, str]:
        """The mentions of a clause of the news. Works and sights are not tagged there, so they are not asked for."""
        clause = self.rng.choice(self.news_with_spans if self.rng.random() < 0.75 else self.news)
        asked = NEWS_LABELS if self.rng.random() < 0.5 else self.rng.sample(NEWS_LABELS, self.rng.randint(1, 5))
        return self.mark_up(clause.text, clause.spans, asked)

    def mark_up(self, text: str, mentions: list[Mention], asked: list[str]) -> tuple[str, str]:
        """The mentions of the types asked for, in text order, in one of several formats."""
        rng = self.rng
        every = len(asked) == len(TYPES)
        listed = not every or rng.random() < 0.5
        synonyms = listed and rng.random() < 0.3
        names = {label: rng.choice(TYPES[label]) if synonyms else TYPES[label][0] for label in asked}
        if rng.random() < 0.5:
            names = dict(sorted(names.items()))
        style = rng.random()
        shown = names if self.english and rng.random() < 0.5 else names.values()
        what = rng.choice(["、", "，", ", "]).join(shown) if listed else "实体"
        ask = f"{rng.choice(ASK)}{what}"
        if self.english and style >= 0.72 and rng.random() < 0.6:
            names = {label: label for label in names}
            what += ENGLISH
            ask += ENGLISH
        pairs = [(names[label], text[start:end]) for label, start, end in mentions if label in names]
        if style < 0.72:
            rows = [{"label": label, "text": surface} for label, surface in pairs]
            ask = TASK.format(what) if rng.random() < 0.5 else f"{ask}，JSON"
            return f"{ask}\n{text}", json.dumps(rows, ensure_ascii=False)
        if style < 0.80:
            rows = [{"type": label, "span": surface} for label, surface in pairs]
            return f'{ask}。输出JSON：[{{"type": "类型", "span": "原文"}}]\n{text}', json.dumps(
                rows, ensure_ascii=False
            )
        if style < 0.87:
            return f"{ask}，列表\n{text}", json.dumps(pairs, ensure_ascii=False)
        if style < 0.94:
            return f"{ask}，分号隔开\n{text}", "；".join(f"{t}：{s}" for t, s in pairs) or "无"
        return f"用方括号标出{what}\n{text}", self.inline(text, [m for m in mentions if m[0] in names], names)

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
        text = self.rng.choice(self.news).text if self.rng.random() < 0.5 else self.writer.sentence()[0]
        return f"重复\n{text}", text

    def news_plain(self) -> tuple[str, str]:
        """A clause of the news as plain text."""
        return "", self.rng.choice(self.news).text

    def segment(self) -> tuple[str, str]:
        """A clause of the news, to be cut into its words."""
        clause = self.rng.choice(self.news)
        return f"分词\n{clause.text}", "/".join(clause.words)

    def type_of(self) -> tuple[str, str]:
        """The types of bare surfaces."""
        labels = self.rng.choices(list(TYPES), k=self.rng.randint(1, 5))
        surface = self.written.surface if self.english else self.maker.surface
        surfaces = [surface(label) for label in labels]
        if self.english and self.rng.random() < 0.5:
            return f"各是什么{ENGLISH}\n" + "，".join(surfaces), "，".join(labels)
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


def rows(course: str, seed: int, count: int, news: list[Clause], words: Words | None = None) -> Iterator[Row]:
    """Yield ``count`` rows of a course; the same seed and news yield the same rows."""
    teacher = Teacher(course, seed, news, words or Words())
    for _ in range(count):
        yield teacher.row()
