"""The lexicons (lexicon.txt, words.tsv), and a class that makes entity surfaces from them."""

import random
from pathlib import Path

FOLDER = Path(__file__).parent
CHARACTER_LISTS = ("surnames", "given", "brand_chars")


def read_lists(path: Path = FOLDER / "lexicon.txt") -> dict[str, list[str]]:
    """Return the hand-written lists by name. Three of them are lists of characters."""
    lists: dict[str, list[str]] = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        if line.startswith("["):
            name = line.strip("[]")
            lists[name] = []
        elif line and not line.startswith("#"):
            lists[name] += list(line) if name in CHARACTER_LISTS else line.split()
    return lists


LISTS = read_lists()


class Words:
    """The committed vocabulary by group: noun, verb, adjective, adverb, idiom, place, institution, person, ..."""

    def __init__(self, path: Path = FOLDER / "words.tsv") -> None:
        self.group: dict[str, list[str]] = {}
        for line in path.read_text(encoding="utf-8").splitlines():
            if not line.startswith("#"):
                group, word = line.split("\t")
                self.group.setdefault(group, []).append(word)
        self.everything = [word for words in self.group.values() for word in words]
        self.characters = sorted({char for word in self.everything for char in word})
        places, institutions = self.group["place"], self.group["institution"]
        scenic = tuple("山湖寺塔园宫庙峰岛峡瀑洞泉陵观桥")
        business = ("公司", "银行", "集团", "厂", "证券", "保险", "企业", "商场", "饭店")
        official = ("局", "部", "政府", "法院", "检察院", "厅", "委员会", "国务院", "海关", "署", "中央", "人大")
        self.scenes = [w for w in places if w.endswith(scenic) and len(w) > 2]
        self.places = [w for w in places if not w.endswith(scenic) and len(w) > 1]
        self.companies = [w for w in institutions if w.endswith(business)]
        self.governments = [w for w in institutions if w.endswith(official)]
        self.organizations = [w for w in institutions if not w.endswith(business + official) and len(w) > 2]


class Maker:
    """Makes surfaces, with one method per entity type. All random choices come from ``rng``."""

    def __init__(self, rng: random.Random, words: Words) -> None:
        self.rng, self.words = rng, words
        self.pick = rng.choice

    def surface(self, label: str) -> str:
        """Return a surface of that label."""
        made: str = getattr(self, label)()
        return made

    def chance(self, probability: float) -> bool:
        """Return True with that probability."""
        return self.rng.random() < probability

    def of(self, name: str) -> str:
        """Return an entry of the hand-written list of that name."""
        return self.pick(LISTS[name])

    def chars(self, low: int, high: int) -> str:
        """Return low..high random characters of the vocabulary."""
        return "".join(self.rng.choices(self.words.characters, k=self.rng.randint(low, high)))

    def syllables(self, low: int, high: int) -> str:
        """Return a foreign-sounding word of low..high syllables."""
        return "".join(self.rng.choices(LISTS["syllables"], k=self.rng.randint(low, high)))

    def word(self, group: str) -> str:
        """Return a word of that group."""
        return self.pick(self.words.group[group])

    def latin(self) -> str:
        """Return an English-looking word or abbreviation."""
        kind = self.rng.random()
        if kind < 0.4:
            return "".join(self.rng.choices("ABCDEFGHIJKLMNOPQRSTUVWXYZ", k=self.rng.randint(2, 5)))
        letters = "".join(
            self.pick("bcdfghklmnprstvwz") + self.pick("aeiou") for _ in range(self.rng.randint(1, 3))
        ) + self.pick(["", "n", "s", "r", "x"])
        return letters.capitalize() if kind < 0.8 else letters

    def brand(self) -> str:
        """Return the distinguishing part of a company's name."""
        kind = self.rng.random()
        if kind < 0.4:
            return self.of("brand_chars") + self.of("brand_chars")
        if kind < 0.55:
            return self.word("brand")
        if kind < 0.7:
            return self.syllables(2, 3)
        if kind < 0.85:
            return self.chars(2, 3)
        return self.word("noun")

    def place(self) -> str:
        """Return a place that other names can start with."""
        kind = self.rng.random()
        if kind < 0.3:
            return self.of("cities")
        if kind < 0.45:
            return self.of("provinces")
        if kind < 0.6:
            return self.of("countries")
        if kind < 0.7:
            return self.of("foreign_cities")
        return self.pick(self.words.places) if kind < 0.9 else self.chars(1, 2) + self.pick("市县区州镇")

    def name(self) -> str:
        """Return a person's name."""
        kind = self.rng.random()
        if kind < 0.5:
            surname = self.of("double_surnames") if self.chance(0.03) else self.of("surnames")
            given = self.rng.randint(1, 2) if self.chance(0.85) else 2
            pool = LISTS["given"] if self.chance(0.75) else self.words.characters
            return surname + "".join(self.rng.choices(pool, k=given))
        if kind < 0.72:
            first = self.syllables(1, 3) if self.chance(0.8) else self.word("foreign")
            if len(first) < 2:
                first += self.of("syllables")
            return first + (self.pick("·.-·") + self.syllables(1, 4) if self.chance(0.2) else "")
        if kind < 0.82:
            return self.word("person")
        if kind < 0.88:
            return self.word("foreign")
        if kind < 0.93:
            return self.pick(["小", "老", "阿", "大"]) + self.of("surnames")
        if kind < 0.97:
            return self.of("surnames") + self.pick("某总氏姐哥嫂婆伯叔")
        return self.of("en_names")

    def address(self) -> str:
        """Return a place name or a street address."""
        kind = self.rng.random()
        if kind < 0.55:
            return self.place()
        if kind < 0.65:
            return self.of("provinces") + self.pick(["", "省"]) + self.of("cities") + self.pick(["", "市"])
        stem = self.chars(1, 2) if self.chance(0.4) else self.of("brand_chars") + self.of("brand_chars")
        local = stem + self.of("address_tails")
        if self.chance(0.15):
            local += f"{self.rng.randint(1, 999)}号"
        return (self.place() if self.chance(0.3) else "") + local

    def company(self) -> str:
        """Return a company's name."""
        kind = self.rng.random()
        if kind < 0.3:
            return self.of("companies")
        if kind < 0.36:
            return self.pick(self.words.companies)
        if kind < 0.42:
            return self.latin() + self.pick(["", "公司", "集团"])
        if kind < 0.5:
            return self.syllables(2, 4) + self.pick(["", "", "公司", "集团", "银行"])
        head = self.place() if self.chance(0.3) else ""
        industry = self.of("industries") if self.chance(0.7) else ""
        tail = self.of("company_tails") if not industry or self.chance(0.5) else ""
        return head + self.brand() + industry + tail

    def organization(self) -> str:
        """Return a club, school, association, party, band..."""
        kind = self.rng.random()
        if kind < 0.25:
            return self.of("teams")
        if kind < 0.4:
            return self.of("organizations")
        if kind < 0.47:
            return self.pick(self.words.organizations)
        if kind < 0.5:
            return self.latin() + self.pick(["", "战队", "乐队", "组织"])
        stem = self.place() if self.chance(0.65) else self.brand()
        middle = self.word("noun") if self.chance(0.2) else ""
        return stem + middle + self.of("org_tails")

    def team(self) -> str:
        """Return the name of a team as in match reports, which is often only a place."""
        kind = self.rng.random()
        if kind < 0.4:
            return self.of("teams")
        if kind < 0.6:
            return self.pick(LISTS["foreign_cities"] + LISTS["cities"] + LISTS["countries"])
        if kind < 0.85:
            return self.syllables(2, 4)
        return self.place() + self.pick(["队", "男篮", "女排", "俱乐部", "联队", "国奥队"])

    def government(self) -> str:
        """Return a government body."""
        kind = self.rng.random()
        if kind < 0.35:
            return self.of("governments")
        if kind < 0.42:
            return self.pick(self.words.governments)
        head = self.place() + (self.pick(["市", "县", "区", "省"]) if self.chance(0.3) else "")
        return (head if self.chance(0.85) else "国家" + self.word("noun")) + self.of("gov_tails")

    def position(self) -> str:
        """Return a position or title."""
        if self.chance(0.55):
            return self.of("positions")
        middle = self.word("noun") if self.chance(0.2) else ""
        return (self.of("position_heads") if self.chance(0.7) else "") + middle + self.of("position_tails")

    def scene(self) -> str:
        """Return a sight."""
        kind = self.rng.random()
        if kind < 0.3:
            return self.of("scenes")
        if kind < 0.5:
            return self.pick(self.words.scenes)
        stem = self.chars(1, 2) if self.chance(0.5) else self.pick([self.brand, self.place])()
        return stem + self.of("scene_tails")

    def title(self, known: str, tails: str) -> str:
        """Return the title of a work: from the list ``known``, or composed, in part with an ending from ``tails``."""
        kind = self.rng.random()
        if kind < 0.2:
            return self.of(known) + (self.pick("23") if self.chance(0.1) else "")
        if kind < 0.35:
            return self.word("idiom")
        if kind < 0.5:
            return self.word("adjective") + "的" + self.word("noun")
        if kind < 0.6:
            return self.word("noun") + self.pick("与和") + self.word("noun")
        if kind < 0.7:
            return self.chars(2, 5)
        if kind < 0.75:
            return self.syllables(2, 4)
        stem = self.pick([lambda: self.word("noun"), lambda: self.word("verb"), self.brand, self.place])()
        return stem + (self.of(tails) if self.chance(0.8) else self.word("noun"))

    def book(self) -> str:
        """Return a book title in title marks."""
        return "《" + self.title("books", "book_tails") + "》"

    def movie(self) -> str:
        """Return a film title in title marks."""
        return "《" + self.title("movies", "movie_tails") + "》"

    def game(self) -> str:
        """Return the title of a game, in most cases without title marks."""
        title = self.of("games") if self.chance(0.3) else self.title("games", "game_tails")
        if self.chance(0.08):
            title = self.latin()
        return f"《{title}》" if self.chance(0.4) else title
