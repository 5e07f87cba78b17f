"""Chat rows for pre-training: the pipeline's task, plain text, copying, and the types of surfaces.

An answer uses the labels that its prompt lists. If the prompt lists none ("列出实体"), the answer uses the usual
Chinese names of all ten labels.
"""

import random
from collections.abc import Iterator

from asks import Ask, Kind, Mention, ask, draw
from label_table import COARSE, TEN, Label, read_label_sets
from lexicon import Maker, Words
from news import TAILS, Clause
from sentences import Writer
from written import LABEL_SETS, WRITTEN, Variations, read_sentences

NEWS_LABELS = {"name", "address", "position", *TAILS}
"""The labels to ask for in news. Works and sights are not tagged there."""
KINDS: dict[str, dict[Kind, float]] = {
    "general": {"short": 0.3, "free": 0.3, "unlisted": 0.35, "definitions": 0.05},
    "written": {"short": 0.5, "free": 0.26, "unlisted": 0.06, "long": 0.04, "definitions": 0.14},
}
"""Course -> the weights of its kinds of prompts. Short prompts need few tokens."""

Row = dict[str, str]


class Teacher:
    """Writes rows {"user", "assistant"}. An empty "user" means plain text in which all tokens have a loss."""

    def __init__(self, course: str, seed: int, news: list[Clause], words: Words) -> None:
        self.rng = random.Random(seed)
        self.maker = Maker(self.rng, words)
        self.writer = Writer(self.maker)
        self.news = news
        self.news_with_spans = [clause for clause in news if clause.spans]
        self.label_sets = read_label_sets()
        self.names = [name for labels in self.label_sets.values() for label in labels for name in label.english]
        self.written = Variations(self.rng, read_sentences(WRITTEN)[0], self.maker.surface)
        self.others = [
            (self.label_sets[path.stem], Variations(self.rng, read_sentences(path)[0]))
            for path in sorted(LABEL_SETS.glob("*.txt"))
        ]
        self.kinds = KINDS[course]
        # First what all sentences teach: copying and the forms of names. Then sentences as people write them.
        courses = {
            "general": [
                (0.48, self.spans), (0.18, self.news_spans), (0.03, self.plain), (0.09, self.news_plain),
                (0.05, self.segment), (0.05, self.random_copy), (0.03, self.sentence_copy), (0.05, self.type_of),
                (0.04, self.answer_copy),
            ],
            "written": [
                (0.48, self.written_spans), (0.14, self.other_spans), (0.10, self.spans), (0.09, self.news_spans),
                (0.03, self.written_plain), (0.03, self.news_plain), (0.02, self.segment), (0.03, self.random_copy),
                (0.05, self.type_of), (0.03, self.answer_copy),
            ],
        }  # fmt: skip
        self.weights, self.tasks = zip(*courses[course], strict=True)

    def row(self) -> Row:
        """Return a row of a task that is drawn by weight."""
        user, assistant = self.rng.choices(self.tasks, self.weights)[0]()
        return {"user": user, "assistant": assistant}

    def ask(self, labels: list[Label], every: float) -> Ask:
        """Return a prompt for these labels: with the probability ``every`` for all, else for some of them."""
        chosen = draw(self.rng, labels, every)
        kinds = dict(self.kinds)
        if labels is not self.label_sets[TEN] or len(chosen) < len(labels):
            kinds.pop("unlisted", None)  # a prompt without a list asks for all ten labels
        return ask(self.rng, chosen, kinds)

    def ask_ten(self) -> Ask:
        """Return a prompt for the ten labels, or for coarser labels that combine them."""
        return self.ask(self.label_sets[COARSE if self.rng.random() < 0.1 else TEN], 0.85)

    def spans(self) -> tuple[str, str]:
        """Return a task to find the mentions of a generated sentence."""
        text, mentions = self.writer.sentence()
        return self.ask_ten().row(text, mentions)

    def written_spans(self) -> tuple[str, str]:
        """Return a task to find the mentions of a written sentence."""
        text, mentions = self.written.sentence().placed()
        return self.ask_ten().row(text, mentions)

    def other_spans(self) -> tuple[str, str]:
        """Return a task to find the mentions of a sentence that is marked with another set of labels."""
        labels, variations = self.rng.choice(self.others)
        text, mentions = variations.sentence().placed()
        return self.ask(labels, 0.6).row(text, mentions)

    def news_spans(self) -> tuple[str, str]:
        """Return a task to find the mentions of a clause of the news."""
        clause = self.rng.choice(self.news_with_spans if self.rng.random() < 0.75 else self.news)
        labels = [label for label in self.label_sets[TEN] if NEWS_LABELS.issuperset(label.marked)]
        return self.ask(labels, 0.5).row(clause.text, clause.spans)

    def written_plain(self) -> tuple[str, str]:
        """Return a written sentence as plain text."""
        return "", self.written.sentence().placed()[0]

    def plain(self) -> tuple[str, str]:
        """Return plain text: a generated sentence, or random words."""
        if self.rng.random() < 0.6:
            return "", self.writer.sentence()[0]
        return "", "、".join(self.maker.word(self.rng.choice(list(self.maker.words.group))) for _ in range(8))

    def random_copy(self) -> tuple[str, str]:
        """Return a task to repeat random characters, which needs only copying."""
        text = self.maker.chars(3, 30)
        if self.rng.random() < 0.3:
            text += self.maker.latin() + self.writer.number() + self.maker.chars(1, 5)
        return f"重复\n{text}", text

    def sentence_copy(self) -> tuple[str, str]:
        """Return a task to repeat a sentence."""
        text = self.rng.choice(self.news).text if self.rng.random() < 0.5 else self.writer.sentence()[0]
        return f"重复\n{text}", text

    def news_plain(self) -> tuple[str, str]:
        """Return a clause of the news as plain text."""
        return "", self.rng.choice(self.news).text

    def segment(self) -> tuple[str, str]:
        """Return a task to split a clause of the news into words."""
        clause = self.rng.choice(self.news)
        return f"分词\n{clause.text}", "/".join(clause.words)

    def type_of(self) -> tuple[str, str]:
        """Return a task to label surfaces without context, with the labels that are listed."""
        labels, variations = (self.label_sets[TEN], self.written)
        if self.rng.random() < 0.3:
            labels, variations = self.rng.choice(self.others)
        asked = ask(self.rng, draw(self.rng, labels, 0.85), {"free": 1.0})
        marks = self.rng.choices(list(asked.names), k=self.rng.randint(1, 5))
        surfaces = "，".join(variations.surface(mark) for mark in marks)
        listed = ", ".join(dict.fromkeys(asked.names.values()))
        return f"各属哪类：{listed}\n{surfaces}", "，".join(asked.names[mark] for mark in marks)

    def answer_copy(self) -> tuple[str, str]:
        """Return a task to repeat a random answer, which trains the tokens of answers."""
        mentions: list[Mention] = []
        text = self.maker.chars(0, 4)
        for _ in range(self.rng.randint(0, 4)):
            surface = self.maker.chars(1, 6)
            mentions.append((self.rng.choice(self.names), len(text), len(text) + len(surface)))
            text += surface + self.maker.chars(0, 3)
        names = {label: label for label, _, _ in mentions}
        answer = Ask("", names, self.rng.choice(("json", "brackets"))).row(text, mentions)[1]
        return f"重复\n{answer}", answer


def rows(course: str, seed: int, count: int, news: list[Clause], words: Words | None = None) -> Iterator[Row]:
    """Yield ``count`` rows of a course; the same seed and news yield the same rows."""
    teacher = Teacher(course, seed, news, words or Words())
    for _ in range(count):
        yield teacher.row()
