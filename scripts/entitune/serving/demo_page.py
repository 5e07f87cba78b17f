"""A page on which a person enters a text and sees its entities. The page loads nothing from other servers."""

from __future__ import annotations

import json
import sys
import time
import urllib.parse
from collections import Counter
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from markupsafe import Markup

from entitune.html_pages import STYLE, highlight, hues_of, mark, render
from entitune.records import Mention
from entitune.serving.client import Client, ServerError
from entitune.serving.demo_page_template import EXAMPLES, PAGE, POLICY, RESULT, SCRIPT, WORDS
from entitune.serving.demo_page_template import STYLE as OWN_STYLE
from entitune.serving.extraction import Extraction, extractions
from entitune.serving.finished_runs import FinishedRun
from entitune.serving.run_requests import TOO_LONG, Answer
from entitune.serving.texts import Document

MAX_BODY = 64 * 1024
SECONDS_TO_ASK = 10
"""How long a browser may take to send a request."""
SECONDS_OF_PATIENCE = 3
"""How long requests are repeated while the model server is away or busy."""
CONCURRENCY = 8


def extract_text(text: str, run: FinishedRun, url: str, key: str | None) -> Extraction:
    """Extract the mentions of a text. A text of one line is one sentence; one of several lines is a document.

    Raises ServerError if the server cannot answer.
    """
    with Client(url, run, key, CONCURRENCY, SECONDS_OF_PATIENCE, SECONDS_OF_PATIENCE) as client:
        return next(extractions([Document(1, text, whole="\n" not in text)], client, CONCURRENCY))


def result(run: FinishedRun, found: Extraction, seconds: float, language: str) -> Markup:
    """Return what the page shows for a text: its entities in colour, a legend, a table and the JSON."""
    words, mentions = WORDS[language], found.mentions
    hues = hues_of(list(dict.fromkeys([*run.labels, *(mention.label for mention in mentions)])))
    counts = Counter(mention.label for mention in mentions)
    shown, overlapping, missing = divided(mentions)
    asides = {words["overlapping"]: overlapping, words["missing"]: missing}
    answered = [answer for answer in found.answers if answer.error is None]
    return render(
        RESULT,
        words=words,
        run=run,
        seconds=seconds,
        sentence=highlight(found.document.text, shown, hues),
        asides=[
            (title, Markup(" ").join(mark(one, hues) for one in marks)) for title, marks in asides.items() if marks
        ],
        warnings=list(dict.fromkeys(warning_of(answer, words) for answer in found.answers if answer.error is not None)),
        statuses="; ".join(words[status] for status in dict.fromkeys(answer.status for answer in answered)),
        legend=[(label, hue, counts[label]) for label, hue in hues.items()],
        mentions=[mention.to_dict() for mention in mentions],
        with_confidence=any("confidence" in mention.to_dict() for mention in mentions),
        json=json.dumps(found.to_dict(), ensure_ascii=False, indent=2),
        raws=[answer.raw for answer in answered],
    )


def warning_of(answer: Answer, words: Mapping[str, str]) -> str:
    """Return why a sentence has no answer."""
    return words["too_long"] if answer.status == TOO_LONG else f"{words['refused']} {answer.error}"


def divided(mentions: Sequence[Mention]) -> tuple[list[Mention], list[Mention], list[Mention]]:
    """Return the mentions to mark in the text, those that overlap one of them, and those without a place."""
    shown, overlapping, missing, end = [], [], [], 0
    for mention in sorted(mentions, key=lambda one: (one.start or 0, -(one.end or 0))):
        if mention.start is None or mention.end is None:
            missing.append(mention)
        elif mention.start < end:
            overlapping.append(mention)
        else:
            shown.append(mention)
            end = mention.end
    return shown, overlapping, missing


def preferred_language(header: str | None) -> str:
    """Return the first language in an Accept-Language header that the page has, "zh" by default."""
    for part in (header or "").lower().split(","):
        code = part.split(";")[0].strip()[:2]
        if code in WORDS:
            return code
    return "zh"


def listen(runs: Sequence[FinishedRun], url: str, key: str | None, port: int) -> ThreadingHTTPServer:
    """Return a server of the page that listens on a local port. The caller calls its serve_forever().

    The page's server sends the requests to the model server at `url`, so a browser never sees the key.
    """
    by_name = {run.name: run for run in runs}
    codes = {words["language"]: code for code, words in WORDS.items()}

    class Handler(BaseHTTPRequestHandler):
        timeout = SECONDS_TO_ASK

        def do_GET(self) -> None:
            self.language = preferred_language(self.headers.get("Accept-Language"))
            if not self.is_own_browser():
                return
            if urllib.parse.urlsplit(self.path).path != "/":
                self.send_error(HTTPStatus.NOT_FOUND)
                return
            self.answer(HTTPStatus.OK, runs[0])

        def do_POST(self) -> None:
            self.language = preferred_language(self.headers.get("Accept-Language"))
            if not self.is_own_browser():
                return
            length = self.headers.get("Content-Length") or ""
            if not (length.isascii() and length.isdigit() and 0 < int(length) <= MAX_BODY):
                self.answer(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, runs[0], error="too_large")
                return
            fields = dict(urllib.parse.parse_qsl(self.rfile.read(int(length)).decode("utf-8", "replace")))
            run = by_name.get(fields.get("run", ""), runs[0])
            text = fields.get("text", "").replace("\r\n", "\n")  # browsers send line ends as CRLF
            chosen = codes.get(fields.get("lang", ""), fields.get("language"))
            self.language = chosen if chosen in WORDS else self.language
            if not text.strip():
                self.answer(HTTPStatus.OK, run, text)
                return
            started = time.perf_counter()
            try:
                found = extract_text(text, run, url, key)
            except ServerError as error:
                print(f"page: {error}", file=sys.stderr, flush=True)
                self.answer(HTTPStatus.OK, run, text, error=error.kind)
                return
            shown = result(run, found, time.perf_counter() - started, self.language)
            self.answer(HTTPStatus.OK, run, text, shown)

        def is_own_browser(self) -> bool:
            """Return whether a page of this server on this machine sent the request (against DNS rebinding)."""
            own = [f"{name}:{server.server_port}" for name in ("127.0.0.1", "localhost")]
            origin = self.headers.get("Origin")
            if self.headers.get("Host") in own and origin in (None, *(f"http://{name}" for name in own)):
                return True
            self.answer(HTTPStatus.FORBIDDEN, runs[0], error="own_machine")
            return False

        def answer(
            self, status: HTTPStatus, run: FinishedRun, text: str = "", shown: Markup | str = "", error: str = ""
        ) -> None:
            words = WORDS[self.language]
            content = render(
                PAGE,
                language=self.language,
                languages=[(code, name) for name, code in codes.items()],
                words=words,
                style=Markup(STYLE + OWN_STYLE),
                script=Markup(SCRIPT),
                runs=runs,
                chosen=run,
                text=text,
                result=shown,
                error=words.get(error, words["broken"]) if error else "",
                examples=EXAMPLES,
            ).encode("utf-8")
            self.send_response(status)
            self.send_header("Content-Type", "text/html; charset=utf-8")
            self.send_header("Content-Length", str(len(content)))
            self.send_header("Content-Security-Policy", POLICY)
            self.send_header("X-Content-Type-Options", "nosniff")
            self.send_header("Referrer-Policy", "same-origin")
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, format: str, *args: Any) -> None:
            """Log nothing, because the texts are private."""

    class Server(ThreadingHTTPServer):
        def handle_error(self, request: Any, client_address: Any) -> None:
            if not isinstance(sys.exception(), ConnectionError | TimeoutError):  # these mean that the browser has left
                super().handle_error(request, client_address)

    server = Server(("127.0.0.1", port), Handler)
    return server
