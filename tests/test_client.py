"""The client of a server: its retries, the answers that it accepts, and its outputs."""

from __future__ import annotations

import csv
import json
import re
import shutil
import socket
import threading
from collections.abc import Callable, Generator, Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from helpers import ROOT, Result, read_jsonl, run_script, unused_address
from run_files import finish

from entitune.cli import InputError
from entitune.files import read_json, sha256
from entitune.prompting.windows import split
from entitune.serving.client import Client, ServerError, ask_all, extract, normalised
from entitune.serving.demo_page import extract_text, result
from entitune.serving.finished_runs import FinishedRun
from entitune.serving.run_requests import identity_of, version_of
from entitune.study import read_study

TOO_LONG = "This model's maximum context length is 512 tokens. However, you requested 2200 tokens."


class ScriptedServer:
    """An HTTP server without a model: each test scripts its answers."""

    def __init__(self) -> None:
        self.models: list[dict[str, Any]] = [{"id": "demo"}]
        self.asked: list[str] = []
        self.answer: Callable[[str], tuple[int, Any]] = lambda text: (
            200,
            self.chat(f'[{{"label": "name", "text": "{text[:1]}"}}]'),
        )
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                self.send(200, {"data": outer.models})

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                text = body["messages"][-1]["content"].split("\n", 1)[1]
                outer.asked.append(text)
                self.send(*outer.answer(text))

            def send(self, status: int, content: Any) -> None:
                if status == 0:  # like a server that is killed
                    self.connection.shutdown(socket.SHUT_RDWR)
                    self.close_connection = True
                    return
                data = content if isinstance(content, bytes) else json.dumps(content).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, format: str, *args: Any) -> None: ...

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.server_port}"

    @staticmethod
    def chat(raw: str, finish_reason: str = "stop") -> Any:
        return {"choices": [{"message": {"content": raw}, "finish_reason": finish_reason}]}

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    started = ScriptedServer()
    yield started
    started.close()


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FinishedRun:
    """The finished run `demo`, in an empty folder with the repository's conf/, but with answers in JSON."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(ROOT / "conf", "conf")
    sheet = (ROOT / "conf/runs.tsv").read_text(encoding="utf-8")
    Path("conf/runs.tsv").write_text(sheet.replace("\tner-zh-short-brackets\t", "\tner-zh-short\t"), encoding="utf-8")
    return finish(read_study(), "demo")


@pytest.mark.parametrize(
    ("given", "url"),
    [
        ("http://127.0.0.1:8000", "http://127.0.0.1:8000"),
        ("http://127.0.0.1:8000/", "http://127.0.0.1:8000"),
        ("http://127.0.0.1:8000/v1", "http://127.0.0.1:8000"),
        ("http://127.0.0.1:8000/v1/", "http://127.0.0.1:8000"),
        ("https://host/ner/v1//", "https://host/ner"),
        ("http://[::1]:8000/v1", "http://[::1]:8000"),
    ],
)
def test_an_address_may_end_in_a_slash_or_v1(given: str, url: str) -> None:
    assert normalised(given) == url


@pytest.mark.parametrize(
    "url", ["127.0.0.1:8000", "localhost:8000", "ftp://host", "http://", "http://host:70000", "http://host/?x=1", ""]
)
def test_an_invalid_address_is_refused(url: str) -> None:
    with pytest.raises(InputError, match=r"expected one such as http://127\.0\.0\.1:8000"):
        normalised(url)


def test_a_sentence_that_the_server_refuses_gets_a_status(server: ScriptedServer, run: FinishedRun) -> None:
    answers = {
        "长": (400, {"error": {"message": TOO_LONG}}),
        "大": (413, {"error": {"message": "a request may have 262144 bytes"}}),
        "坏": (422, {"error": {"message": "no"}}),
        "怪": (400, b"<html>"),
    }
    server.answer = lambda text: answers.get(text, (200, server.chat("[]")))
    found = list(extract([*answers, "好"], run, server.url))
    assert [(one["status"], one.get("error")) for one in found] == [
        ("too_long", TOO_LONG),
        ("too_long", "a request may have 262144 bytes"),
        ("refused", "no"),
        ("refused", "<html>"),
        ("ok", None),
    ]
    assert [one["text"] for one in found] == [*answers, "好"]
    assert all((one["entities"], one["raw"], one["finish_reason"]) == ([], "", None) for one in found[:4])


@pytest.mark.parametrize(
    ("status", "content", "kind", "message"),
    [
        (401, {"error": "Unauthorized"}, "key", "requires an API key, or another one"),
        (403, {"error": {"message": "another name"}}, "other", "answers with status 403: another name"),
        (404, {"error": {"message": "no demo"}}, "other", "answers with status 404: no demo"),
        (301, b"", "other", "answers with status 301"),
        (200, b"<html>", "other", "does not answer as a server of OpenAI's API"),
        (200, {"choices": []}, "other", "does not answer as a server of OpenAI's API"),
    ],
)
def test_an_error_that_concerns_every_sentence_ends_the_job(
    server: ScriptedServer, run: FinishedRun, status: int, content: Any, kind: str, message: str
) -> None:
    server.answer = lambda _: (status, content)
    with pytest.raises(ServerError, match=message) as caught:
        list(extract(["温格"] * 50, run, server.url))
    assert caught.value.kind == kind


def test_a_server_of_another_run_or_version_is_refused(server: ScriptedServer, run: FinishedRun) -> None:
    server.models = [{"id": "demo", "version": version_of(run)}]
    assert next(extract(["温格"], run, server.url))["status"] == "ok"
    server.models = [{"id": "demo", "version": "of another adapter"}]
    with pytest.raises(ServerError, match="serves another version of run demo than results/ holds"):
        next(extract(["温格"], run, server.url))
    server.models = [{"id": "a"}, {"id": "b"}]
    with pytest.raises(ServerError, match="does not serve demo; it serves a, b"):
        next(extract(["温格"], run, server.url))
    assert server.asked == ["温格"]


@pytest.mark.parametrize("status", [0, 500, 502, 503, 429])
def test_a_server_that_is_unreachable_or_busy_for_too_long_ends_the_job(
    server: ScriptedServer, run: FinishedRun, status: int
) -> None:
    server.answer = lambda _: (status, {"error": {"message": "why"}})
    with (
        Client(server.url, run, concurrency=4, seconds_away=1, seconds_busy=1) as client,
        pytest.raises(ServerError) as caught,
    ):
        list(ask_all(client, ["温格"] * 8, 4))
    assert caught.value.kind == ("busy" if status in (429, 503) else "away")
    assert len(server.asked) > 4, "the client sent no request again"


def test_requests_succeed_when_the_server_comes_back(server: ScriptedServer, run: FinishedRun) -> None:
    answers = iter([0, 500, 503, 0, 200])
    server.answer = lambda _: (next(answers), server.chat("[]"))
    assert next(extract(["温格"], run, server.url))["status"] == "ok"
    assert len(server.asked) == 5


def test_without_a_server_the_job_ends_with_the_command_that_starts_one(run: FinishedRun) -> None:
    with Client(unused_address(), run, concurrency=4, seconds_away=0.5) as client, pytest.raises(ServerError) as caught:
        list(ask_all(client, map(str, range(1000)), 4))
    assert "start one with\n    python scripts/serve_runs.py --runs demo" in str(caught.value)


def test_a_slow_answer_does_not_block_other_requests(server: ScriptedServer, run: FinishedRun) -> None:
    everybody_else = threading.Event()

    def answer(text: str) -> tuple[int, Any]:
        if text == "慢":
            assert everybody_else.wait(30)
        elif len(server.asked) == 20:
            everybody_else.set()
        return 200, server.chat("[]")

    server.answer = answer
    found = list(extract(["慢", *["快"] * 19], run, server.url, concurrency=2))
    assert [one["text"] for one in found] == ["慢", *["快"] * 19]


def test_answers_come_before_the_input_ends(server: ScriptedServer, run: FinishedRun) -> None:
    read: list[int] = []

    def endless() -> Iterator[str]:
        while True:
            read.append(1)
            yield "温格"

    found = extract(endless(), run, server.url, concurrency=2)
    assert [next(found)["text"] for _ in range(3)] == ["温格"] * 3
    assert isinstance(found, Generator)
    found.close()
    assert len(read) < 100


# --- extract_entities.py ---------------------------------------------------------------------------------------------


def command(server: ScriptedServer, *options: object, **more: Any) -> Result:
    return run_script("extract_entities", "--run", "demo", "--url", server.url, *options, **more)


def test_sentences_without_an_answer_are_counted_and_do_not_end_the_job(
    server: ScriptedServer, run: FinishedRun
) -> None:
    server.answer = lambda text: (400, {"error": {"message": TOO_LONG}}) if "长" in text else (200, server.chat("[]"))
    Path("in.txt").write_text("好\n很长\n\n更长\n完\n", encoding="utf-8")
    done = command(server, "--input", "in.txt", "--output", "out.jsonl")
    assert done.returncode == 3
    assert done.stderr.splitlines()[-1] == "demo: 3 of 5 texts answered; too_long: 2 (see `error` in out.jsonl)"
    found = read_jsonl(Path("out.jsonl"))
    assert [(one["status"], one.get("line")) for one in found] == [
        ("ok", None),
        ("too_long", 2),
        ("ok", None),
        ("too_long", 4),
        ("ok", None),
    ]
    asked = len(server.asked)
    done = command(server, "--input", "in.txt", "--output", "out.jsonl")
    assert done.returncode == 3, "the same command must end in the same way"
    assert done.stderr.splitlines()[-1].startswith("demo: 3 of 5 texts answered")
    assert len(server.asked) == asked


def test_an_interrupted_output_is_resumed(server: ScriptedServer, run: FinishedRun) -> None:
    lines = [f"{number}号" for number in range(9)]
    Path("in.txt").write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    output = Path("out.jsonl")
    assert command(server, "--input", "in.txt", "--output", output).returncode == 0
    whole = output.read_bytes()
    output.write_bytes(whole[: len(whole) // 2])
    server.asked.clear()
    assert command(server, "--input", "in.txt", "--output", output).returncode == 0
    assert output.read_bytes() == whole
    assert 0 < len(server.asked) < 9
    server.close()
    done = command(server, "--input", "in.txt", "--output", output)
    assert done.returncode == 0, "no sentence is left, so no server is needed"


def test_an_output_of_another_run_adapter_prompt_or_input_is_not_resumed(
    server: ScriptedServer, run: FinishedRun
) -> None:
    server.models = [{"id": name} for name in ("demo", "demo-structured")]
    Path("in.txt").write_text("一\n二\n", encoding="utf-8")
    output = Path("out.jsonl")
    assert command(server, "--input", "in.txt", "--output", output).returncode == 0
    whole = output.read_bytes()

    def refused(*options: object) -> str:
        done = command(server, *options, "--output", output)
        assert done.returncode == 1
        assert output.read_bytes() == whole
        return done.stderr

    finish(read_study(), "demo-structured")
    message = refused("--input", "in.txt", "--run", "demo-structured")
    assert "out.jsonl was made with another run, answers; delete it" in message
    assert "made with another input" in refused("--input", "in.txt", "--documents")
    Path("other.txt").write_text("一\n三\n", encoding="utf-8")
    assert "has other texts than other.txt (the first difference is number 2)" in refused("--input", "other.txt")

    assert run.adapter
    weights = run.adapter / "adapter_model.safetensors"
    weights.write_bytes(b"new training")
    manifest = Path("results/demo/seed-1/manifest.json")
    finish_manifest(manifest, weights)
    assert "made with another adapter; delete it" in refused("--input", "in.txt")

    Path("out.jsonl.meta.json").unlink()
    assert "out.jsonl exists, but out.jsonl.meta.json, which records its run, does not" in refused("--input", "in.txt")
    Path("out.jsonl.meta.json").write_text("[]")
    assert "not written by this script" in refused("--input", "in.txt")


def finish_manifest(manifest: Path, changed: Path) -> None:
    """Record the changed file in the manifest of the run, like a new training."""
    recorded = read_json(manifest)
    recorded["files"][str(changed)] = sha256(changed)
    manifest.write_text(json.dumps(recorded))


def test_an_output_with_a_foreign_line_is_not_resumed(server: ScriptedServer, run: FinishedRun) -> None:
    Path("in.txt").write_text("一\n", encoding="utf-8")
    assert command(server, "--input", "in.txt", "--output", "out.jsonl").returncode == 0
    for wrong in ('{"text": "一"}\n', "[]\n", '{"text": 1, "status": "ok"}\n'):
        Path("out.jsonl").write_text(wrong, encoding="utf-8")
        done = command(server, "--input", "in.txt", "--output", "out.jsonl")
        assert re.search(r"out\.jsonl( was not written by this script|:1: expected an object in JSON)", done.stderr)
        assert Path("out.jsonl").read_text(encoding="utf-8") == wrong


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--concurrency", "0"], "--concurrency 0: expected at least 1"),
        (["--concurrency", "-3"], "--concurrency -3: expected at least 1"),
        (["--documents"], "--documents and --column need --input"),
        (["--column", "x"], "--documents and --column need --input"),
        (["--input", "a", "b"], "several files must be documents; add --documents"),
        (["--input", "nothing.txt"], "nothing.txt"),
    ],
)
def test_options_that_make_no_sense_are_named(
    server: ScriptedServer, run: FinishedRun, options: list[str], message: str
) -> None:
    done = command(server, *options)
    assert done.returncode == 1
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_documents_are_sent_sentence_by_sentence(server: ScriptedServer, run: FinishedRun) -> None:
    def answer(text: str) -> tuple[int, Any]:
        if "长" in text:
            return 400, {"error": {"message": TOO_LONG}}
        if "断" in text:
            return 200, server.chat('[{"label": "name", "text": "断"}, {"label": "na', "length")
        return 200, server.chat(json.dumps([{"label": "name", "text": text[:2]}, {"label": "name", "text": "无"}]))

    server.answer = answer
    Path("one.txt").write_text("  甲乙来了。丙丁走了！\n", encoding="utf-8")
    Path("two.txt").write_text("断。\n很长。戊己在。", encoding="utf-8")
    Path("empty.txt").write_text("", encoding="utf-8")
    files = ["one.txt", "two.txt", "empty.txt"]
    done = command(server, "--documents", "--input", *files, "--output", "out.jsonl")
    assert done.returncode == 3
    one, two, empty = read_jsonl(Path("out.jsonl"))
    placed = [
        {"label": "name", "text": "甲乙", "start": 2, "end": 4},
        {"label": "name", "text": "丙丁", "start": 7, "end": 9},
    ]
    missing = {"label": "name", "text": "无", "start": None, "end": None}
    assert one["entities"] == [placed[0], missing, placed[1], missing]
    assert (one["source"], one["status"]) == ("one.txt", "ok")
    assert [(part["start"], part["end"], part["status"]) for part in one["sentences"]] == [(2, 7, "ok"), (7, 12, "ok")]
    assert [part["status"] for part in two["sentences"]] == ["truncated", "too_long", "ok"]
    assert two["status"] == "too_long"
    assert [(mention["text"], mention["start"]) for mention in two["entities"]] == [
        ("断", 0),
        ("戊己", 6),
        ("无", None),
    ]
    assert (empty["text"], empty["entities"], empty["status"]) == ("", [], "ok")


def test_entities_as_csv(server: ScriptedServer, run: FinishedRun) -> None:
    mentions = [{"label": "name", "text": "甲"}, {"label": "book", "text": '《"，》'}]
    server.answer = lambda text: (200, server.chat(json.dumps(mentions if "甲" in text else [])))
    Path("in.csv").write_text('id,body\n1,"又,甲。\n乙"\n2,丙\n', encoding="utf-8-sig")
    for _ in range(2):
        done = command(server, "--input", "in.csv", "--column", "body", "--output", "out.csv")
        assert done.returncode == 0, done.stderr
        with open("out.csv", encoding="utf-8", newline="") as stream:
            assert list(csv.reader(stream)) == [
                ["source", "label", "text", "start", "end", "status"],
                ["2", "name", "甲", "2", "3", "ok"],
                ["2", "book", '《"，》', "", "", "ok"],
                ["4", "", "", "", "", "ok"],
            ]
    assert len(server.asked) == 3
    assert [one["source"] for one in read_jsonl(Path("out.jsonl"))] == [2, 4]


def test_mentions_with_a_low_confidence_can_be_left_out(server: ScriptedServer, run: FinishedRun) -> None:
    mentions = [{"label": "name", "text": "甲"}, {"label": "name", "text": "乙"}]
    answer = server.chat(json.dumps(mentions, ensure_ascii=False))
    tokens = [('[{"label": "name", "text": "甲"}', -0.1), (', {"label": "name", "text": "乙"}]', -1.0)]
    answer["choices"][0]["logprobs"] = {"content": [{"token": text, "logprob": one} for text, one in tokens]}
    server.answer = lambda text: (200, answer)
    done = command(server, "--min-confidence", "0", stdin="甲乙\n")
    assert [one["confidence"] for one in json.loads(done.stdout)["entities"]] == [0.904837, 0.367879]
    done = command(server, "--min-confidence", "0.5", "--output", "out.csv", stdin="甲乙\n")
    assert done.returncode == 0, done.stderr
    assert done.stderr.splitlines()[-1] == "left out: 1 mentions with a confidence below 0.5"
    with open("out.csv", encoding="utf-8", newline="") as stream:
        assert list(csv.reader(stream)) == [
            ["source", "label", "text", "start", "end", "status", "confidence"],
            ["1", "name", "甲", "0", "1", "ok", "0.904837"],
        ]
    for other in ([], ["--min-confidence", "0.6"]):
        done = command(server, *other, "--output", "out.csv", stdin="甲乙\n")
        assert "was made with another confidence" in done.stderr
    assert "a number from 0 to 1" in command(server, "--min-confidence", "7", stdin="").stderr


def test_confidences_are_requested_if_the_run_has_them(server: ScriptedServer, run: FinishedRun) -> None:
    answer = server.chat('[{"label": "name", "text": "甲"}]')
    answer["choices"][0]["logprobs"] = {"content": [{"token": '[{"label": "name", "text": "甲"}]', "logprob": 0.0}]}
    server.answer = lambda text: (200, answer)
    confident = replace(run, decode=run.decode.model_copy(update={"confidence": True}))
    assert [one["entities"][0].get("confidence") for one in extract(["甲"], confident, server.url)] == [1.0]
    assert [one["entities"][0].get("confidence") for one in extract(["甲"], run, server.url)] == [None]


def test_the_standard_input_may_begin_with_a_byte_order_mark(server: ScriptedServer, run: FinishedRun) -> None:
    done = command(server, stdin="\ufeff甲\r\n乙")
    assert [json.loads(line)["text"] for line in done.stdout.splitlines()] == ["甲", "乙"]
    assert done.stderr == "demo: 2 of 2 texts answered\n"


PROMPT_TOKENS = 12
"""The tokens of the scripted server's prompt without the sentence. There, each character is a token."""


def counting(server: ScriptedServer, limit: int = 512 - 200) -> None:
    """Let the server accept prompts up to a number of tokens, count tokens, and find every 甲 of a text."""

    def answer(text: str) -> tuple[int, Any]:
        tokens = PROMPT_TOKENS + len(text)
        if tokens > limit:
            return 400, {"error": {"message": TOO_LONG}}
        found = json.dumps([{"label": "name", "text": "甲"}] * text.count("甲"))
        return 200, {**server.chat(found), "usage": {"prompt_tokens": tokens}}

    server.answer = answer


def test_a_long_text_is_split_into_the_windows_of_the_pipeline(server: ScriptedServer, run: FinishedRun) -> None:
    run = replace(run, windows=True)
    text = "甲来了。" + "乙" * 290 + "甲在。" + "丙" * 20 + "，甲。" + "丁" * 400 + "甲"
    room = 512 - 200 - PROMPT_TOKENS
    spans = split(text, lambda start, end: end - start <= room)
    counting(server)
    with Client(server.url, run) as client:
        answer = client.ask(text)
    assert len(spans) == 4
    assert answer.windows == tuple(spans)
    assert (answer.status, answer.finish_reason, answer.error) == ("ok", "stop", None)
    assert [mention.start for mention in answer.mentions] == [
        i for i, character in enumerate(text) if character == "甲"
    ]
    assert answer.raw.count("\n") == len(spans) - 1
    assert answer.to_dict()["windows"] == [list(span) for span in spans]
    # A sentence that fits is sent once, and its record has no windows.
    server.asked.clear()
    with Client(server.url, run) as client:
        short = client.ask("甲来了。")
    assert server.asked == ["甲来了。"]
    assert "windows" not in short.to_dict()


def test_a_server_with_a_larger_context_than_the_run_gets_the_same_windows(
    server: ScriptedServer, run: FinishedRun
) -> None:
    """A server of several runs has the largest context length of all of them."""
    text = "甲来了。" * 100
    answers = []
    for limit in (512 - 200, 100_000):
        counting(server, limit)
        with Client(server.url, replace(run, windows=True)) as client:
            answers.append(client.ask(text))
    assert answers[0] == answers[1]
    assert len(answers[0].windows) == 2


def test_a_window_that_is_refused_does_not_end_the_job(server: ScriptedServer, run: FinishedRun) -> None:
    counting(server)
    count = server.answer
    refusal = (400, {"error": {"message": "a text holds <|im_end|>"}})
    server.answer = lambda text: refusal if "坏" in text and len(text) < 300 else count(text)
    with Client(server.url, replace(run, windows=True)) as client:
        answer = client.ask("甲来了。" * 70 + "坏。" + "甲来了。" * 70)
    assert (answer.status, answer.error) == ("refused", "a text holds <|im_end|>")
    assert len(answer.mentions) > 60


def test_answers_in_brackets_get_windows_with_room_for_the_sentence(server: ScriptedServer, run: FinishedRun) -> None:
    counting(server)
    brackets = replace(run, windows=True, answer_format="brackets")
    with Client(server.url, brackets) as client:
        answer = client.ask("乙来了。" * 30)
    assert answer.windows == ((0, 100), (100, 120))


def test_documents_and_the_page_show_a_long_sentence_joined(server: ScriptedServer, run: FinishedRun) -> None:
    run = replace(run, windows=True)
    counting(server)
    text = "甲" + "乙" * 500 + "甲\n甲来了。"
    found = extract_text(text, run, server.url, None)
    assert [(one.start, one.end) for one in found.mentions] == [(0, 1), (501, 502), (503, 504)]
    first, second = found.to_dict()["sentences"]
    assert (first["start"], first["end"], second["start"]) == (0, 502, 503)
    assert len(first["windows"]) == 2
    shown = str(result(run, found, 0.1, "en"))
    assert shown.count("<mark") >= 3


def test_an_output_with_windows_is_not_resumed_with_other_limits(run: FinishedRun) -> None:
    windows = replace(run, windows=True)
    wider = windows.decode.model_copy(update={"max_model_len": 1024})
    assert identity_of(windows) != identity_of(run)
    assert identity_of(replace(windows, decode=wider)) != identity_of(windows)
    assert identity_of(replace(run, decode=wider)) == identity_of(run)
