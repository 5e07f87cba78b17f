"""The page: how it shows an answer or a missing answer, and which requests it accepts."""

from __future__ import annotations

import html
import json
import re
import socket
import threading
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from browser import window
from helpers import ROOT, unused_address
from run_files import finish

from entitune.records import Mention
from entitune.serving.demo_page import divided, listen, preferred_language, result
from entitune.serving.demo_page_template import EXAMPLES, WORDS
from entitune.serving.extraction import Extraction
from entitune.serving.finished_runs import FinishedRun
from entitune.serving.run_requests import Answer
from entitune.serving.texts import Document
from entitune.study import read_study


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FinishedRun:
    monkeypatch.chdir(tmp_path)
    return finish(read_study(conf=ROOT / "conf"), "demo")


@pytest.fixture
def page(run: FinishedRun, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The page of a finished run whose server does not run."""
    monkeypatch.setattr("entitune.serving.demo_page.SECONDS_OF_PATIENCE", 0.1)
    with listen([run], unused_address(), None, 0) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield f"127.0.0.1:{server.server_port}"
        server.shutdown()


def get(page: str, **headers: str) -> tuple[str, Any]:
    with urllib.request.urlopen(urllib.request.Request(f"http://{page}/", headers=headers)) as answer:
        return answer.read().decode("utf-8"), answer.headers


def post(page: str, fields: dict[str, str] | bytes, **headers: str) -> str:
    body = fields if isinstance(fields, bytes) else urllib.parse.urlencode(fields).encode()
    with urllib.request.urlopen(urllib.request.Request(f"http://{page}/", body, headers)) as answer:
        return str(answer.read().decode("utf-8"))


def refused(page: str, fields: dict[str, str] | bytes | None = None, path: str = "/", **headers: str) -> int:
    body = urllib.parse.urlencode(fields).encode() if isinstance(fields, dict) else fields
    with pytest.raises(urllib.error.HTTPError) as caught:
        urllib.request.urlopen(urllib.request.Request(f"http://{page}{path}", body, headers))
    return caught.value.code


def test_the_page_loads_nothing_from_elsewhere(page: str) -> None:
    document, headers = get(page)
    policy = headers["Content-Security-Policy"]
    assert policy.startswith("default-src 'none'")
    assert re.search(r"script-src 'sha256-[^']+'$", policy)
    assert not re.search(r"<link|src=|https?://|@import|url\(", document)
    assert document.count("<script") == 1
    assert "<option selected>demo</option>" in document


def test_the_page_refuses_other_hosts_and_sites(page: str) -> None:
    assert refused(page, Host="evil.example") == 403
    assert refused(page, {"text": "温格"}, Host="evil.example") == 403
    assert refused(page, {"text": "温格"}, Origin="http://evil.example") == 403
    assert refused(page, {"text": "温格"}, Origin="null") == 403
    own = f"http://{page}"
    assert "温格" in post(page, {"text": "温格"}, Origin=own)


def test_invalid_requests_are_refused(page: str) -> None:
    assert refused(page, path="/favicon.ico") == 404
    assert refused(page, b"text=" + b"x" * 70_000) == 413
    for length in ("x", "-1", "1e3", "²"):
        connection = socket.create_connection(tuple(page.split(":")), timeout=300)  # type: ignore[arg-type]
        with connection, connection.makefile("rb") as answer:
            head = f"POST / HTTP/1.1\r\nHost: {page}\r\nContent-Length: {length}\r\n\r\n"
            connection.sendall(head.encode("latin-1"))
            assert b" 413 " in answer.readline()


@pytest.mark.parametrize(
    ("header", "language"),
    [
        ("en-GB,en;q=0.9,zh-CN;q=0.8", "en"),
        ("zh-CN,zh;q=0.9,en;q=0.8", "zh"),
        ("de-DE,de;q=0.9,en;q=0.8", "en"),
        ("de", "zh"),
        ("", "zh"),
        (None, "zh"),
    ],
)
def test_the_page_is_in_the_browsers_language(header: str | None, language: str) -> None:
    assert preferred_language(header) == language


def test_both_languages_have_the_same_texts() -> None:
    assert WORDS["zh"].keys() == WORDS["en"].keys()
    assert all(text.strip() for words in WORDS.values() for text in words.values())
    chinese = re.compile(r"[\u4e00-\u9fff]")
    assert [key for key, text in WORDS["en"].items() if chinese.search(text)] == []


def test_typed_text_is_kept_when_the_server_cannot_be_reached(page: str) -> None:
    typed = "\n\n  温格 <b>\r\n\t战胜曼联 & \n"
    document = post(page, {"text": typed, "language": "en", "run": "demo"})
    assert WORDS["en"]["away"] in document
    assert "HTTPConnection" not in document
    kept = re.search(r"<textarea[^>]*>\n(.*?)</textarea>", document, re.DOTALL)
    assert kept
    assert html.unescape(kept[1]) == typed.replace("\r\n", "\n")


def test_the_language_can_be_switched_and_is_kept(page: str) -> None:
    assert 'lang="en"' in post(page, {"text": "", "language": "zh", "lang": "English"})
    assert WORDS["en"]["hint"] in post(page, {"text": " ", "language": "en"}, **{"Accept-Language": "zh"})
    assert WORDS["zh"]["hint"] in post(page, {"text": " ", "language": "xx"}, **{"Accept-Language": "zh"})


def test_there_are_examples_to_click(page: str) -> None:
    document = html.unescape(get(page)[0])
    assert len(EXAMPLES) >= 3
    assert all(f'<button name="text" value="{example}"' in document for example in EXAMPLES)


# --- an answer -------------------------------------------------------------------------------------------------------


def mention(label: str, text: str, start: int | None = None) -> Mention:
    return Mention(label, text, start, None if start is None else start + len(text))


def shown(
    run: FinishedRun,
    text: str,
    entities: Sequence[Mention],
    language: str = "en",
    raw: str = "[]",
    status: str = "ok",
    error: str | None = None,
) -> str:
    answer = Answer(tuple(entities), raw, "stop", status, error)
    return str(result(run, Extraction(Document(1, text, whole=True), [answer]), 0.123, language))


def plain(markup: str) -> str:
    return " ".join(html.unescape(re.sub(r"<[^>]*>", " ", markup)).split())


def test_typed_text_and_answers_are_escaped(run: FinishedRun) -> None:
    document = shown(run, "a<i>", [mention("<b>", "<i>", 1)], raw="<u>", status="repaired")
    assert not re.search("<[biu]>", document)
    assert "&lt;i&gt;<small>&lt;b&gt;</small></mark>" in document


def test_the_text_is_shown_as_it_was_typed(run: FinishedRun) -> None:
    assert '<p class="text">  甲\n\n乙 </p>' in shown(run, "  甲\n\n乙 ", [])


def test_the_legend_counts_every_label(run: FinishedRun) -> None:
    entities = [mention("name", "甲", 0), mention("name", "乙", 1), mention("name", "丁"), mention("动物", "丙", 2)]
    legend = re.search(r'<p class="legend.*?</p>', shown(run, "甲乙丙", entities), re.DOTALL)
    assert legend
    expected = [f"{label} {3 if label == 'name' else 0}" for label in run.labels]
    assert re.findall(r"<mark[^>]*>(.*?)</mark>", legend[0]) == [*expected, "动物 1"]


@pytest.mark.parametrize("language", ["zh", "en"])
def test_mentions_that_cannot_be_highlighted_are_listed(run: FinishedRun, language: str) -> None:
    entities = [mention("organization", "北京大学", 0), mention("address", "北京", 0), mention("name", "无")]
    document = shown(run, "北京大学", entities, language)
    words = WORDS[language]
    sentence = plain(document[: document.index('<p class="soft"')])
    assert sentence == f"北京大学 organization {words['overlapping']} 北京 address {words['missing']} 无 name"
    assert f"无 {words['not_found']}" in plain(document)


def test_the_page_shows_run_base_and_time(run: FinishedRun) -> None:
    about = plain(re.findall(r'<p class="soft" id="about">.*?</p>', shown(run, "甲", []), re.DOTALL)[0])
    assert about == "Run demo · base model entitune-tiny · time 0.12 s · the answer has the correct format"


def test_the_confidence_is_shown_if_there_is_one(run: FinishedRun) -> None:
    entities = [Mention("name", "甲", 0, 1, 0.98765), mention("name", "乙", 1)]
    assert "confidence" not in plain(shown(run, "甲乙", entities[1:])).split("Copy JSON")[0]
    rows = re.findall(r"<tr>.*?</tr>", shown(run, "甲乙", entities), re.DOTALL)
    assert [plain(row).split() for row in rows] == [
        ["label", "entity", "start", "end", "confidence"],
        ["name", "甲", "0", "1", "98.8", "%"],
        ["name", "乙", "1", "2"],
    ]


def test_the_json_is_the_record(run: FinishedRun) -> None:
    document = shown(run, "甲", [mention("name", "甲", 0)])
    found = re.search(r'<pre id="json">(.*?)</pre>', document, re.DOTALL)
    assert found
    assert json.loads(html.unescape(found[1]))["entities"] == [mention("name", "甲", 0).to_dict()]


def test_a_text_without_an_answer_is_not_shown_as_one_without_entities(run: FinishedRun) -> None:
    reasons = {
        status: plain(shown(run, "甲", [], status=status, error="no", raw="")) for status in ("too_long", "refused")
    }
    assert reasons == {"too_long": f"甲 {WORDS['en']['too_long']}", "refused": "甲 The server refused this text: no"}


def test_sentences_of_a_document_without_an_answer_are_listed_once(run: FinishedRun) -> None:
    long = Answer((), "", None, "too_long", "x")
    fine = Answer((mention("name", "乙", 0),), "[", "length", "truncated")
    found = Extraction(Document("page", "甲\n乙\n丙"), [long, fine, long])
    document = plain(str(result(run, found, 0.1, "en")))
    assert document.count(WORDS["en"]["too_long"]) == 1
    assert WORDS["en"]["truncated"] in document
    assert "name 乙 2 3" in document


def test_marks_never_overlap() -> None:
    mentions = [Mention("a", "乙丙", 1, 3), Mention("a", "甲乙", 0, 2), Mention("b", "丁"), Mention("c", "甲乙", 0, 2)]
    marked, overlapping, missing = divided(mentions)
    assert [(one.start, one.end) for one in marked] == [(0, 2)]
    assert len(overlapping) == 2
    assert missing == [Mention("b", "丁")]


# --- in a browser ----------------------------------------------------------------------------------------------------


@pytest.mark.browser
def test_the_page_works_in_a_browser_without_the_server(page: str, tmp_path: Path) -> None:
    with window(tmp_path / "profile") as opened:
        opened.open(f"http://{page}/")
        opened.follow("input[value=English]")
        opened.find("html[lang=en]")
        opened.type("#text", "  温格")
        opened.press_control_enter("#text")
        assert opened.texts("[role=alert]") == [WORDS["en"]["away"]]
        assert opened.run("return document.getElementById('text').value") == "  温格"
        opened.follow("input[value=中文]")
        opened.find("html[lang=zh-CN]")
        assert opened.texts("[role=alert]") == [WORDS["zh"]["away"]]
        assert opened.run("return document.getElementById('text').value") == "  温格"
