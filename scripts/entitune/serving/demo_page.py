"""A page on which a person types a sentence and sees its entities: plain HTML, no script, nothing beside it."""

from __future__ import annotations

import html
import urllib.parse
from collections.abc import Sequence
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from markupsafe import Markup

from entitune.cli import InputError
from entitune.html_pages import highlight, hues_of, page
from entitune.records import Mention
from entitune.serving.client import Client
from entitune.serving.finished_runs import FinishedRun

MAX_BODY = 64 * 1024
TITLE = "EntiTune 实体识别"
STYLE = (
    "textarea {width: 100%; max-width: 60em; font: inherit; display: block; margin: .5rem 0}"
    " select, button {font: inherit; padding: .2rem .8rem} #sentence {font-size: 20px; line-height: 2}"
    " .error {color: #a00} body {max-width: 60em}"
)
POLICY = "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; frame-ancestors 'none'"


def form(runs: Sequence[FinishedRun], chosen: str, sentence: str) -> str:
    """The field for a sentence, with a choice of model where there are several."""
    options = "".join(
        f"<option{' selected' if run.name == chosen else ''}>{html.escape(run.name)}</option>" for run in runs
    )
    return (
        f'<form method="post" action="/"><label for="text">句子 Sentence</label>'
        f'<textarea id="text" name="text" rows="4" required autofocus>{html.escape(sentence)}</textarea>'
        f'<label>模型 Model <select name="run">{options}</select></label> <button>识别 Extract</button></form>'
    )


def result(run: FinishedRun, sentence: str, prediction: dict[str, Any]) -> str:
    """A sentence with its entities in colour, and all of them as a table."""
    entities = prediction["entities"]
    hues = hues_of(list(dict.fromkeys([*run.labels, *(entity["label"] for entity in entities)])))
    rows = "".join(
        f"<tr><td>{html.escape(one['label'])}<td>{html.escape(one['text'])}"
        f"<td>{'' if one['start'] is None else one['start']}<td>{'' if one['end'] is None else one['end']}"
        for one in entities
    )
    found = f"<table><tr><th>label<th>text<th>start<th>end{rows}</table>" if rows else "<p>没有实体 No entities.</p>"
    return (
        f'<p id="sentence">{highlight(sentence, [Mention.from_dict(one) for one in entities], hues)}</p>{found}'
        f"<details><summary>{html.escape(prediction['status'])}</summary><pre>{html.escape(prediction['raw'])}</pre>"
        "</details>"
    )


def listen(runs: Sequence[FinishedRun], url: str, key: str | None, port: int) -> ThreadingHTTPServer:
    """A server of the page, bound to a port of this machine; its serve_forever() is the caller's to call.

    It asks the model server at `url` itself, so a browser never sees the key.
    """
    by_name = {run.name: run for run in runs}

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.is_own_host():
                self.answer(HTTPStatus.OK, form(runs, runs[0].name, ""))

        def do_POST(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            if not self.is_own_host():
                return
            if not 0 < length <= MAX_BODY:
                self.answer(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"<p class=error>1 to {MAX_BODY} bytes, please.</p>")
                return
            fields = dict(urllib.parse.parse_qsl(self.rfile.read(length).decode("utf-8", "replace")))
            run, sentence = by_name.get(fields.get("run", ""), runs[0]), " ".join(fields.get("text", "").split())
            try:
                with Client(url, run, key) as client:
                    shown = result(run, sentence, client.ask(sentence))
            except InputError as error:
                shown = f"<p class=error>{html.escape(str(error))}</p>"
            self.answer(HTTPStatus.OK, form(runs, run.name, sentence) + shown)

        def is_own_host(self) -> bool:
            """Whether the browser means this machine: another site's name may be made to lead here."""
            if self.headers.get("Host") in [f"{name}:{server.server_port}" for name in ("127.0.0.1", "localhost")]:
                return True
            self.answer(HTTPStatus.FORBIDDEN, "<p class=error>This page is for this machine's own browser.</p>")
            return False

        def answer(self, status: HTTPStatus, body: str) -> None:
            content = page(TITLE, Markup(body), STYLE).encode("utf-8")
            self.send_response(status)
            self.send_header("Content-Type", "text/html; charset=utf-8")
            self.send_header("Content-Length", str(len(content)))
            self.send_header("Content-Security-Policy", POLICY)
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, format: str, *args: Any) -> None:
            """Nothing: what people type is theirs."""

    server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
    return server
