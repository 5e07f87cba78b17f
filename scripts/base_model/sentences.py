"""Sentences with marked mentions, made from clause templates in several registers.

The slots of a template are in angle brackets: one-letter codes are entities (see ``ENTITIES``), words are fillers.
"""

import re
from collections.abc import Callable

from lexicon import LISTS, Maker

ENTITIES = {
    "N": "name", "A": "address", "C": "company", "O": "organization", "T": "organization", "G": "government",
    "P": "position", "S": "scene", "B": "book", "M": "movie", "Y": "game",
}  # fmt: skip

FINANCE = """
<C><P><N>表示，|<C>公布<year>年<n>报告，|<C>的股价<d>上涨<pct>，|据<C>介绍，|<C>与<C>签署了<n>协议，|<C>旗下的<n>业务<v>，|<C><P><N>在接受采访时说，|<N>曾任<C><P>，
|<N>出任<C><P>，|<N>辞去<C><P>一职，|<C>以<money>收购<C>，|<C>、<C>和<C>等公司<v>，|<C>在<A>的<n>项目<v>，|<C>发行了“<n>”系列<n>，|<C>净利润同比增长<pct>，
|<C>收盘报<num>元，|包括<C>在内的<num>家企业<v>，|<C>发布的研究报告认为，|<C>首席执行官<N>透露，|<C>（<num>）今日<v>，|<A>的<C><v>，|<G>批准<C>的<n>申请，|<G>宣布上调<n>，
|<G>近日下发<show>，|<G>有关负责人<v>，|<G><P><N>表示，|在<G>的<n>下，|根据<G>的规定，|<C>分析师<N>认为，|<P><N>指出，|<C>A股<v>，|<C>将在<A>开设<n>，|记者从<C>获悉，
|<A><n>市场<v>，|<A><n>价格<d><v>，|<C>推出的<n>服务<d><v>，|<C>等<n>板块领涨，|投资者<v><C>的<n>，|<C>在<A>上市，|<C>中国区<P><N>说，|来自<C>的<N>，|<N>（<C><P>）：
|建议关注<C>、<C>、<C>，|<C>前三季度营业收入<money>，|<C>创始人<N><v>，|基金方面，<C>旗下<n>基金<v>，|<C>评级机构将<A>的<n>下调，|<O>发布的<n>指数<v>，|<O><P><N>认为，
"""
SPORTS = """
<T><num>比<num>战胜<T>，|<T>vs<T>，|<T>VS<T>|<T>主场迎战<T>，|<T>客场挑战<T>，|<T>做客<A>，|<T>的<n>受伤缺阵，|<T><P><N>表示，|<N>为<T>打进<num>球，|<N>率领<T><v>，|<T>近<num>轮<v>，
|<T>在<A>进行<n>，|<N>的传球<v>，|<N>接到<N>的传球，|<N>、<N>和<N>首发出场，|<P><N>换下<N>，|<T>球迷<v>，|<N>加盟<T>，|<T>签下了<N>，|欧洲赔率看好<T>，|亚洲盘口<T>让<num>球，
|<O>宣布，|<O><P><N><v>，|<T>队长<N><v>，|<T>与<T>的比赛<v>，|半场结束，<T><v>，|<N>得到<num>分<num>个篮板，|<N>在<S>夺冠，|<T>排名联赛第<num>，|<T>获得小组第<num>，|<N>转会<T>，
|<T>此役<v>，|<T>本赛季<v>，|<P><N>的球队<v>，|门将<N>扑出<N>的点球，|<T>锋线<v>，|<N>和<N>搭档<n>，|<T>赢得<n>，|从<T>到<T>，|<T>不敌<T>，|<T>逼平<T>，|<A><n>赛场，<N><v>，
|<N>退役后<v>，|面对<T>的<n>，<T><v>，|效力于<T>的<N>，|<T>主帅<N>认为，|<O>主席<N>说，|本场比赛在<S>举行，|<T>青年队<P><N>，
"""
GAMES = """
<Y>是一款<adj>的<n>游戏，|<Y>玩家<v>，|玩<Y>的时候，|<C>代理的<Y>，|<C>推出网游<Y>，|<Y>公测<v>，|<Y>的<n>系统<v>，|在<Y>中，|游戏<Y><v>，|《<n>》和<Y>的<n>，|<Y>新版本“<n>”<v>，
|<O>战队在<Y>比赛中<v>，|<Y>服务器<v>，|<Y>职业<P><v>，|喜欢<Y>、<Y>的玩家，|<Y>制作人<N><v>，|<N>主持开发的<Y>，|<Y>资料片<v>，|下载<Y>客户端，|<Y>副本<v>，|从<Y>到<Y>，|<C>的<Y><v>，
|我在<Y>里<v>，|公会<O><v>，|<Y>图文攻略：|<Y>的画面<d><adj>，|推出<Y>的<C>，|<Y>（<en>）<v>，|《<n>》不如<Y>，|<P><v>技能，|<Y>中的<P><v>，|<P>、<P>与<P>组队<v>，|<Y>的<P><N>，
|PS3版<Y>|<Y>即将登陆Xbox，|以<Y>为主题的<n>，|MMORPG<Y>今日<v>，|<Y>的开发商<C>，|<N>和<N>在<Y>比赛中<v>，
"""
CULTURE = """
<N>主演的<M>，|<M>票房<v>，|导演<N>的新片<M>，|<M>在<A>上映，|影片<M><v>，|<M>获得<n>奖，|看完<M>之后，|<N>在<M>中饰演<P>，|<N>的<B>，|作家<N>出版<B>，|读<B>，|<B>一书<v>，|<B>作者<N><v>，
|翻开<B>，|<O>出版的<B>，|在<B>里，<N>写道，|<song>《<n>》<v>，|<N>演唱的《<n>》，|电视剧《<n>》，|据《<n>》报道，|<show>《<n>》<v>，|根据<B>改编的<M>，|<N>凭<M><v>，|<M>的<n><d><adj>，
|<M>、<M>等影片<v>，|<B>和<B>是<n>，|<C>出品的<M>，|<P><N>携<M>亮相<A>，|<O>在<S>演出，|<N>的小说<B>，|<B>畅销<num>万册，|<M>续集<v>，|好莱坞大片<M>，|《<n>》专栏记者<N>，|<N>翻译了<B>，
|<O><P><N>在<S><v>，|<O><n>系<P><N>，|在<O><v>期间，|毕业于<O>，|<O>招生<v>，|报考<O>，|<N>（<O>）|<N>和<N>的<n>，|明星<N>现身<A>，|<N>与<N>离婚，|<N>微博<v>，|网友“<n>”说，
|<P><N>编著的<B>，|<n>电影<M>，|由<N>、<N>联袂主演的<M>，|<N>执导，<N>主演，
"""
SOCIETY = """
<A>发生<n>，|<A><n>现场，|<A><A>的<n><v>，|家住<A>的<N>，|<G>民警<v>，|<G>接到报警，|<G>通报，|<G><P><N>介绍，|<num>岁的<N><v>，|<N>说，|<N>告诉记者，|记者来到<A>，|位于<A>的<C>，
|位于<A>的<S>，|<S>游客<v>，|参观<S>，|从<A>出发，途经<A>到<A>，|<A>至<A>的<n>，|<A>以北<num>公里，|<S>门票<num>元，|<S>附近的<n>，|在<S><v>，|<A>著名的<S>，|<S>、<S>和<S>，|游览<S>，
|<date>，<N>在<A><v>，|<A><P><N>会见<A><P><N>，|<A>总统<N><v>，|<G>发言人<N><v>，|<G>、<G>联合<v>，|<A>军队<v>，|<A>和<A>的<n>，|<A>首都<A>，|据<A>媒体报道，|<A><G><v>，|<A>人<N>，
|地址：<A>|地点：<A><S>|项目位于<A>，紧邻<S>，|<A><n>楼盘<v>，|<A>地铁<num>号线，|<A>的房价<v>，|<A>业主<v>，|<C>开发的楼盘<v>，|<P>们<v>，|一名<P><v>，|他是<O>的<P>，|担任<P>，|<G>要求<v>，
|<N>向<G>投诉，|市民<N><v>，|<n>专家<N>提醒，|<O>的志愿者<v>，|<O>和<O><v>，|<A>留学<v>，|<A>考生<v>，|<G>公布<n>分数线，|<A>家装<n>，|设计师<N>的作品，|<N><P>说，|<N>等人<v>，
|当地<G><v>，|<N>案<v>，|被告人<N><v>，|<N>、<N>夫妇<v>，|<P>：<N>|<A>旅游<v>，|前往<A>的航班，|<S>的<n><adj>，|<n>（<S>）|<A><S>的<n>，
"""
PLAIN = """
<n><v>，|<n><d><v>，|<d><adj>的<n>，|<idiom>，|<n>和<n><v>，|这是<adj>的<n>，|我<d><v>，|他们<v>了<n>，|<v><n>，|<date>，|<num>年来，|其中，|同时，|另外，|“<n>”<v>，|为了<v><n>，|如果<n><v>，|<n>不是<n>，
|<num>%的<n>，|第<num>次<v>，|<en>的<n>，|在<n>方面，|虽然<n><adj>，但<n><adj>，|不过，|有人<v>，|对于<n>，|可以<v><n>，|<v>的<n>，|大家<d><v>，|《<n><show>》<v>，|<adj>！|<n>？|该<n><v>，
|随着<n>的<v>，|目前，<n><d><v>，|因此<v>，|而<n>则<v>，|通过<n><v>，|在<n>的<v>下，|<n>达到<num>，|价格：<num>元，|最<adj>的<n>，|没有<n>，|只有<v>才能<v>，|到底<v>，
"""
REGISTERS = [[t for t in text.replace("\n", "").split("|") if t] for text in (FINANCE, SPORTS, GAMES, CULTURE, SOCIETY)]
PLAIN_TEMPLATES = [t for t in PLAIN.replace("\n", "").split("|") if t]
SLOT = re.compile(r"<([A-Za-z]+)>")

Mention = tuple[str, int, int]


class Writer:
    """Writes sentences with surfaces of ``maker``."""

    def __init__(self, maker: Maker) -> None:
        self.maker = maker
        self.compiled = {t: SLOT.split(t) for register in [*REGISTERS, PLAIN_TEMPLATES] for t in register}
        self.entity: dict[str, Callable[[], str]] = {
            "N": maker.name, "A": maker.address, "C": maker.company, "O": maker.organization, "T": maker.team,
            "G": maker.government, "P": maker.position, "S": maker.scene, "B": maker.book, "M": maker.movie,
            "Y": maker.game,
        }  # fmt: skip

    def number(self) -> str:
        """Return a number as in news."""
        rng = self.maker.rng
        kind = rng.random()
        if kind < 0.6:
            return str(rng.randint(1, 99))
        return f"{rng.uniform(0, 100):.{rng.randint(1, 2)}f}" if kind < 0.8 else str(rng.randint(100, 9999))

    def filler(self, slot: str) -> str:
        """Return plain text for a filler slot."""
        maker, rng = self.maker, self.maker.rng
        if slot == "n":
            return maker.word("noun") if rng.random() < 0.75 else maker.word("verb") + maker.word("noun")
        if slot == "v":
            kind = rng.random()
            verb = maker.word("verb")
            if kind < 0.3:
                return verb
            if kind < 0.6:
                return verb + rng.choice(["了", "", "着", "过"]) + maker.word("noun")
            return maker.word("adverb") + verb if kind < 0.8 else maker.word("idiom")
        if slot == "num":
            return self.number()
        if slot == "pct":
            return self.number() + rng.choice(["%", "％", "个百分点"])
        if slot == "money":
            return self.number() + rng.choice(["亿元", "万美元", "亿美元", "万元", "元", "亿欧元"])
        if slot == "year":
            return str(rng.randint(1990, 2025))
        if slot == "date":
            return rng.choice(["", f"{rng.randint(1990, 2025)}年"]) + f"{rng.randint(1, 12)}月{rng.randint(1, 31)}日"
        if slot == "en":
            return maker.latin() if rng.random() < 0.8 else rng.choice(LISTS["en_names"])
        if slot == "song":
            return rng.choice(LISTS["songs"])
        if slot == "show":
            return rng.choice(LISTS["shows"])
        return maker.word({"adj": "adjective", "d": "adverb", "idiom": "idiom"}[slot])

    def salad(self) -> list[str]:
        """Return a template of random words and entities, in which the context gives no clue. Odd pieces are slots."""
        rng = self.maker.rng
        pieces = [""]
        for _ in range(rng.randint(2, 6)):
            if rng.random() < 0.45:
                pieces += [
                    rng.choice("NACOGPSBMY"),
                    rng.choice(["，", "、", "的", "和", "是", "在", " ", "：", "与", ""]),
                ]
            else:
                pieces[-1] += rng.choice(
                    self.maker.words.everything if rng.random() < 0.7 else ["，", "了", "被", "将"]
                )
                if rng.random() < 0.2:
                    pieces[-1] += self.maker.chars(1, 4)
        return pieces

    def sentence(self) -> tuple[str, list[Mention]]:
        """Return a sentence of one to four clauses and its mentions (label, start, end) in text order."""
        rng = self.maker.rng
        kind = rng.random()
        if kind < 0.15:
            clauses = [self.salad()]
        else:
            register = rng.choice(REGISTERS)
            plain = 0.25 if kind < 0.9 else 1.0
            clauses = [
                self.compiled[rng.choice(PLAIN_TEMPLATES if rng.random() < plain else register)]
                for _ in range(rng.choice((1, 2, 2, 3, 3, 4)))
            ]
        text, mentions = "", []
        used: dict[str, str] = {}
        for clause in clauses:
            for i, piece in enumerate(clause):
                if i % 2 == 0:
                    text += piece
                elif piece in self.entity:
                    label = ENTITIES[piece]
                    surface = used[label] if label in used and rng.random() < 0.08 else self.entity[piece]()
                    used[label] = surface
                    mentions.append((label, len(text), len(text) + len(surface)))
                    text += surface
                else:
                    text += self.filler(piece)
        if text and text[-1] in "，、" and rng.random() < 0.8:
            end = rng.choice(["。", "。", "。", "！", "？", "；", ""])
            text = text[:-1] + end
        return text, [m for m in mentions if m[2] <= len(text)]
