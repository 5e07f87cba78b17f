"""HTML pages: values are escaped, and every entity of a sentence is shown once."""

from __future__ import annotations

import re

import pytest
from jinja2 import UndefinedError
from markupsafe import Markup

from entitune.html_pages import highlight, hues_of, page, render
from entitune.records import Entity, Mention

HOSTILE = """<b a="1" b='2'>&amp;{{ 7 * 7 }}"""
ESCAPED = "&lt;b a=&#34;1&#34; b=&#39;2&#39;&gt;&amp;amp;{{ 7 * 7 }}"


def plain(markup: str) -> str:
    """Return the visible text: each label in brackets after its entity."""
    return str(Markup(re.sub("<small>(.*?)</small>", r"[\1]", markup)).striptags())


def test_values_are_escaped_unless_they_are_markup() -> None:
    assert render("<i>{{ one }}</i>{{ other }}", one=HOSTILE, other=Markup("<u>")) == f"<i>{ESCAPED}</i><u>"


def test_a_missing_value_is_an_error() -> None:
    with pytest.raises(UndefinedError, match="other"):
        render("{{ one }}{{ other }}", one=1)


def test_a_page_escapes_its_title_and_a_body_that_is_no_markup() -> None:
    document = page(HOSTILE, Markup("<p>"), "a > b {color: red}")
    assert document.count(ESCAPED) == 2
    assert "<p>" in document
    assert "a > b {color: red}" in document
    assert document.endswith("</html>\n")
    unsafe: str = HOSTILE
    assert HOSTILE not in page("title", unsafe)  # type: ignore[arg-type]


def test_sentence_label_and_text_are_escaped() -> None:
    entity = Mention(HOSTILE, HOSTILE, 1, 1 + len(HOSTILE))
    shown = highlight(f"a{HOSTILE}{HOSTILE}", [entity], {HOSTILE: 0})
    assert shown == f'a<mark style="--hue: 0">{ESCAPED}<small>{ESCAPED}</small></mark>{ESCAPED}'


def test_overlapping_entities_and_those_without_a_place_follow_the_sentence() -> None:
    entities = [Mention("b", "丁"), Mention("a", "乙", 1, 2), Mention("b", "甲乙", 0, 2)]
    shown = highlight("甲乙丙", entities, hues_of(["a", "b"]))
    assert plain(shown) == "甲乙[b]丙 + 乙[a] 丁[b]"


def test_only_the_error_is_framed() -> None:
    entities = [Entity("a", "甲", 0, 1), Entity("a", "甲", 1, 2)]
    shown = highlight("甲甲", entities, {"a": 0}, error=Entity("a", "甲", 1, 2))
    assert re.findall("<mark[^>]*?( class=wrong)?>", shown) == ["", " class=wrong"]
