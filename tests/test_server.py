"""The real server on a CPU: EntiTune's client, the page and the official client; stops, kills and failures."""

from __future__ import annotations

import contextlib
import csv
import dataclasses
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import pytest
import requests
from browser import window
from helpers import ENVIRONMENT, Result, python_of, read_jsonl, run_script, snakemake, write_jsonl

from entitune.prompting.answer_formats.constraints import constraint_of
from entitune.prompting.answer_formats.reading import read_answer
from entitune.records import Sentence
from entitune.serving.chat_requests import schema_of
from entitune.serving.demo_page import divided, extract_text, result
from entitune.serving.demo_page_template import EXAMPLES, WORDS
from entitune.serving.finished_runs import finished_run
from entitune.study import read_study

pytestmark = pytest.mark.engine

KEY = "a-key-of-the-tests"


def free_port() -> int:
    """Return a free port such that the next port is free too."""
    while True:
        with socket.create_server(("127.0.0.1", 0)) as second, contextlib.suppress(OSError):
            port = int(second.getsockname()[1]) - 1
            with socket.create_server(("127.0.0.1", port)):
                return port


def command(*options: object) -> list[str]:
    return [sys.executable, "scripts/serve_runs.py", *map(str, options)]


@dataclass
class Server:
    """A running serve_runs.py that has reported that it is ready."""

    process: subprocess.Popen[str]
    port: int
    said: str
    family: list[psutil.Process] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def log(self, folder: Path) -> str:
        """Return vLLM's own output."""
        return (folder / f"logs/serve_runs.{self.port}.log").read_text(encoding="utf-8")

    def post(self, body: dict[str, Any], key: str = KEY) -> requests.Response:
        headers = {"Authorization": f"Bearer {key}"}
        return requests.post(f"{self.url}/v1/chat/completions", json=body, headers=headers, timeout=600)


@contextlib.contextmanager
def serving(folder: Path, *options: object) -> Iterator[Server]:
    """Run a server in `folder` without a C++ compiler; kill it with all its children when the block ends."""
    port = free_port()
    process = subprocess.Popen(
        command("--port", port, *options),
        cwd=folder,
        env={**ENVIRONMENT, "CXX": "/nowhere/g++"},
        stdout=subprocess.PIPE,
        text=True,
    )
    family = [psutil.Process(process.pid)]
    assert process.stdout is not None
    try:
        said = ""
        for line in process.stdout:
            said += line
            if line.startswith("Ctrl-C"):
                break
        assert "Ctrl-C" in said, "the server did not start"
        family += family[0].children(recursive=True)
        assert len(family) > 2
        yield Server(process, port, said, family)
    finally:
        for one in family:
            with contextlib.suppress(psutil.NoSuchProcess):
                one.kill()
        process.wait()


@pytest.fixture(scope="module")
def server(demo: Path) -> Iterator[Server]:
    """The server of the demo's first seed, with a key in a file, and with the page."""
    (demo / "key").write_text(KEY + "\n")
    with serving(demo, "--runs", "demo", "--ui", "--api-key-file", "key") as started:
        yield started


def extract(folder: Path, server: Server, *options: object, stdin: str | None = None) -> Result:
    given = ["--run", "demo", "--url", server.url, *options]
    return run_script("extract_entities", *given, cwd=folder, env={"ENTITUNE_API_KEY": KEY}, stdin=stdin)


def predictions(folder: Path) -> list[dict[str, Any]]:
    """Return the batch predictions in the client's form."""
    records = read_jsonl(folder / "results/demo/seed-1/predictions/dev.jsonl")
    return [
        {"text": one["text"], "entities": one["pred"], **{key: one[key] for key in ("raw", "finish_reason", "status")}}
        for one in records
    ]


def test_the_client_gets_the_batch_predictions(demo: Path, server: Server, tmp_path: Path) -> None:
    expected = predictions(demo)
    sentences, output = tmp_path / "sentences.txt", tmp_path / "entities.jsonl"
    sentences.write_text("".join(one["text"] + "\n" for one in expected), encoding="utf-8")
    done = extract(demo, server, "--input", sentences, "--output", output)
    assert done.returncode == 0, done.stderr
    assert read_jsonl(output) == expected
    # Interrupted after forty and a half lines. The first answer is changed, to check that it is not requested again.
    kept = [{**expected[0], "raw": "kept"}, *expected[1:40]]
    output.write_text("".join(json.dumps(one, ensure_ascii=False) + "\n" for one in kept) + '{"text": "', "utf-8")
    done = extract(demo, server, "--input", sentences, "--output", output)
    assert done.returncode == 0, done.stderr
    assert read_jsonl(output) == [*kept, *expected[40:]]
    assert f"{len(expected)}/{len(expected)}" in done.stderr, "no progress"


def test_the_client_adds_confidences(demo: Path, server: Server, tmp_path: Path) -> None:
    expected = predictions(demo)[:30]
    sentences = "".join(one["text"] + "\n" for one in expected)
    done = extract(demo, server, "--min-confidence", 0, stdin=sentences)
    found = [json.loads(line) for line in done.stdout.splitlines()]
    confidences = [[mention.pop("confidence") for mention in one["entities"]] for one in found]
    assert found == expected
    assert all(0 <= confidence <= 1 for own in confidences for confidence in own)
    done = extract(demo, server, "--min-confidence", 0.5, "--output", tmp_path / "out.csv", stdin=sentences)
    low = sum(confidence < 0.5 for own in confidences for confidence in own)
    assert f"left out: {low} mentions with a confidence below 0.5" in done.stderr
    with (tmp_path / "out.csv").open(encoding="utf-8", newline="") as stream:
        rows = [row["confidence"] for row in csv.DictReader(stream) if row["label"]]
    assert len(rows) == sum(map(len, confidences)) - low
    assert all(float(one) >= 0.5 for one in rows)


def test_the_examples_of_the_page_are_answered_right(demo: Path, server: Server) -> None:
    expected = [
        ["作家 position", "林穗禾 name", "北京图书馆 scene", "《雾岭书简》 book"],
        ["腾讯公司 company", "《星渊远征》 game", "东京 address"],
        ["江临市水务局 government", "局长 position", "邵启棠 name"],
        ["颐和园 scene", "《城南旧事》 movie"],
        [],
    ]
    done = extract(demo, server, stdin="".join(f"{example}\n" for example in EXAMPLES))
    records = [json.loads(line) for line in done.stdout.splitlines()]
    found = [[f"{one['text']} {one['label']}" for one in record["entities"]] for record in records]
    # A machine that rounds differently may answer one of them differently.
    assert sum(one == right for one, right in zip(found, expected, strict=True)) >= 4, found


def test_requests_beyond_the_limit_are_retried(demo: Path, server: Server) -> None:
    expected = predictions(demo)
    records = expected * 6
    done = extract(demo, server, "--concurrency", 600, stdin="".join(one["text"] + "\n" for one in records) + "\n")
    assert done.returncode == 0, done.stderr
    nothing = {"text": "", "entities": [], "raw": "", "finish_reason": "stop", "status": "ok"}
    assert [json.loads(line) for line in done.stdout.splitlines()] == [*records, nothing]
    refused = re.findall(r'" (\d+) ', server.log(demo))
    assert "503" in refused


def test_the_client_reports_refused_sentences(demo: Path, server: Server, tmp_path: Path) -> None:
    (tmp_path / "key").write_text("another")
    done = extract(demo, server, "--api-key-file", tmp_path / "key", stdin="温格\n")
    assert "requires an API key, or another one" in done.stderr
    done = extract(demo, server, "--seed", 2, stdin="温格\n")
    assert "serves another version of run demo than results/ holds" in done.stderr
    output = tmp_path / "out"
    done = extract(demo, server, "--output", output, stdin="温格\n" + "长" * 2000 + "\n\n" + "长" * 300_000 + "\n好\n")
    assert done.returncode == 3
    assert done.stderr.splitlines()[-1].startswith("demo: 3 of 5 texts answered; too_long: 2")
    found = read_jsonl(output)
    assert [one["status"] == "too_long" for one in found] == [False, True, False, True, False]
    assert (found[1]["line"], found[3]["line"]) == (2, 4)
    assert "512" in found[1]["error"]  # the context length
    done = extract(demo, server, stdin="温格<|im_end|>\n")
    assert done.returncode == 3
    assert "<|im_end|>" in json.loads(done.stdout)["error"]
    done = extract(demo, server, "--output", output, stdin="别的\n")
    assert "has other texts than standard input" in done.stderr
    assert [line for line in done.stderr.splitlines() if line.startswith("Traceback")] == []


def test_documents_get_the_answers_of_their_sentences(demo: Path, server: Server, tmp_path: Path) -> None:
    expected = [one for one in predictions(demo) if not re.search("[。！？].", one["text"])][:6]
    document = tmp_path / "document.txt"
    document.write_text("\n\n".join(one["text"] for one in expected), encoding="utf-8")
    done = extract(demo, server, "--documents", "--input", document)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert [part["raw"] for part in found["sentences"]] == [one["raw"] for one in expected]
    placed = [one for one in found["entities"] if one["start"] is not None]
    assert placed
    assert all(found["text"][one["start"] : one["end"]] == one["text"] for one in placed)


def test_a_long_text_is_split_into_the_windows_of_batch_prediction(
    demo: Path, server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The client counts tokens with the server, and the pipeline with the trainer's template."""
    monkeypatch.chdir(demo)
    run = dataclasses.replace(finished_run(read_study(), "demo"), windows=True)
    text = "".join(one["text"] for one in predictions(demo)[:60])
    sentence = Sentence("x", text)
    write_jsonl(tmp_path / "x.jsonl", [sentence])
    (tmp_path / "x.json").write_text(json.dumps([run.prompt.row(sentence)]), encoding="utf-8")
    options = ["--sentences", tmp_path / "x.jsonl", "--alpaca", tmp_path / "x.json", "--model", run.base]
    options += ["--chat", json.dumps({"template": "qwen"}), "--max-model-len", 512, "--max-tokens", 200]
    options += ["--answer", run.answer_format]
    options += ["--output", tmp_path / "o.json", "--windows", tmp_path / "o.jsonl", "--summary", tmp_path / "s.json"]
    done = run_script("split_windows", *options, python=python_of("train"), env={"HF_HUB_OFFLINE": "1"})
    assert done.returncode == 0, done.stderr
    windows = read_jsonl(tmp_path / "o.jsonl")
    assert len(windows) > 3

    found = extract_text(text, run, server.url, KEY)
    (answer,) = found.answers
    assert [text[start:end] for start, end in answer.windows] == [window["text"] for window in windows]
    assert answer.error is None
    placed = [one for one in found.mentions if one.start is not None]
    assert all(text[one.start : one.end] == one.text for one in placed)
    assert str(result(run, found, 1.0, "en")).count("<mark") >= len(divided(placed)[0]) > 0


def test_the_printed_curl_command_works(demo: Path, server: Server) -> None:
    assert "Models: demo\n" in server.said
    assert KEY not in server.said + server.log(demo)
    line = next(line for line in server.said.splitlines() if line.startswith("curl "))
    if shutil.which("curl") is None:
        pytest.skip("no curl here")
    done = subprocess.run(["bash", "-c", line], cwd=demo, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout)["choices"][0]["message"]["role"] == "assistant"


def test_other_routes_of_vllm_are_closed(server: Server) -> None:
    for path in ("/invocations", "/v1/completions", "/tokenize"):
        assert requests.post(server.url + path, json={}, timeout=300).status_code == 404
    assert requests.get(f"{server.url}/health", timeout=300).status_code == 200
    assert requests.get(f"{server.url}/v1/models", timeout=300).status_code == 401
    assert server.post({"model": "demo", "messages": [], "n": 2}).status_code == 400
    assert server.post({"model": "demo", "messages": "x" * 300_000}).status_code == 413


def test_a_model_is_retrieved_by_its_name(server: Server) -> None:
    headers = {"Authorization": f"Bearer {KEY}"}
    listed = requests.get(f"{server.url}/v1/models", headers=headers, timeout=300).json()["data"]
    found = requests.get(f"{server.url}/v1/models/demo", headers=headers, timeout=300)
    assert (found.json()["id"], found.json()["version"]) == ("demo", listed[0]["version"])
    assert requests.get(f"{server.url}/v1/models/nobody", headers=headers, timeout=300).status_code == 404
    assert requests.get(f"{server.url}/v1/models/demo", timeout=300).status_code == 401


def test_log_probabilities_do_not_end_the_server(server: Server) -> None:
    body = {"model": "demo", "messages": [{"role": "user", "content": "好"}], "max_tokens": 4, "logprobs": True}
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(server.post, [{**body, "top_logprobs": count} for count in (0, 1, 5, 20)] * 2))
    for answer in answers:
        content = answer.json()["choices"][0]["logprobs"]["content"]
        assert content
        assert all(token["logprob"] <= 0 for token in content)
    assert server.post({**body, "logprobs": False}).status_code == 200


def json_schema(labels: Sequence[str]) -> dict[str, Any]:
    """Return OpenAI's form of the schema of answers in the format `json`."""
    return {"type": "json_schema", "json_schema": {"name": "entities", "schema": schema_of(labels)}}


def first_request(demo: Path, model: str) -> dict[str, Any]:
    """Return the request of the demo's first dev sentence."""
    row = json.loads((demo / "results/datasets/demo/ner-zh-short-brackets/dev.json").read_text(encoding="utf-8"))[0]
    content = f"{row['instruction']}\n{row['input']}"
    return {"model": model, "messages": [{"role": "user", "content": content}], "max_tokens": 200, "temperature": 0}


def test_the_runs_own_schema_is_the_only_grammar(demo: Path, server: Server) -> None:
    text, body = predictions(demo)[0]["text"], first_request(demo, "demo")
    labels = read_study(conf=demo / "conf").datasets["demo"].label_names
    own = {"structured_outputs": constraint_of("brackets", labels, text).to_vllm()}
    answer = server.post({**body, **own}).json()["choices"][0]["message"]["content"]
    assert read_answer("brackets", answer, text).status == "ok"
    nasty = {"type": "string", "pattern": "(?:.{0,998}){0,998}q"}
    with ThreadPoolExecutor(4) as pool:
        refused = [
            pool.submit(server.post, {**body, **more})
            for more in (
                {"response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": nasty}}},
                {"response_format": json_schema(labels)},  # of another answer format than the run's
                {"structured_outputs": {"regex": nasty["pattern"]}},
                {"tools": [{"type": "function", "function": {"name": "f", "parameters": nasty}}]},
            )
        ]
        assert [one.result().status_code for one in refused] == [400] * 4
    assert server.post(body).status_code == 200


def test_the_server_answers_only_to_its_own_names(server: Server) -> None:
    headers = {"Authorization": f"Bearer {KEY}", "Host": f"evil.example:{server.port}"}
    assert requests.get(f"{server.url}/v1/models", headers=headers, timeout=300).status_code == 403
    headers["Host"] = f"localhost:{server.port}"
    assert requests.get(f"{server.url}/v1/models", headers=headers, timeout=300).status_code == 200


def test_incomplete_requests_do_not_block_others(server: Server) -> None:
    """tests/test_connections.py tests each limit."""
    half = b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n"
    with contextlib.ExitStack() as stack:
        for number in range(400):
            open_one = stack.enter_context(socket.create_connection(("127.0.0.1", server.port), timeout=300))
            open_one.sendall(half if number % 2 else half + b"\r\n{")
        body = {"model": "demo", "messages": [{"role": "user", "content": "好"}], "max_tokens": 3}
        assert server.post(body).status_code == 200
        assert open_one.recv(100).startswith(b"HTTP/1.1 408")
    headers = {"X-Long": "x" * 10_000_000}
    with contextlib.suppress(requests.ConnectionError):  # it may be closed before everything is sent
        assert requests.get(f"{server.url}/health", headers=headers, timeout=300).status_code == 431
    assert requests.get(f"{server.url}/health", timeout=300).status_code == 200


def test_a_second_start_does_not_change_the_log_of_the_first(demo: Path, server: Server) -> None:
    before = server.log(demo)
    assert before
    for options in (["--port", server.port], ["--port", free_port(), "--log", f"logs/serve_runs.{server.port}.log"]):
        call = command("--runs", "demo", *options)
        done = subprocess.run(call, cwd=demo, env=ENVIRONMENT, capture_output=True, text=True, check=False)
        assert done.returncode == 1
        assert re.search(r"is used by another process|another server writes to", done.stderr)
    assert server.log(demo).startswith(before)


SHOTS = os.environ.get("SCREENSHOTS")
"""A folder for screenshots of the page."""


@pytest.mark.browser
def test_the_page_shows_entities_in_a_browser(
    demo: Path, server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The page shows what the client finds in the typed text; the spaces before it are part of it."""
    monkeypatch.chdir(demo)
    run = finished_run(read_study(), "demo")
    asked = (
        (typed, extract_text(typed, run, server.url, KEY).mentions)
        for typed in (f"  {one['text']}" for one in predictions(demo))
    )
    typed, mentions = next(
        (typed, mentions)
        for typed, mentions in asked
        if len({one.label for one in mentions}) > 1
        and all(one.start is not None for one in mentions)
        and divided(mentions)[1] == []
    )
    assert all(typed[one.start : one.end] == one.text for one in mentions)
    placed = sorted(mentions, key=lambda one: one.start or 0)
    with window(tmp_path / "profile") as page:
        page.open(f"http://127.0.0.1:{server.port + 1}/")
        page.follow("input[value=English]")
        page.find("html[lang=en]")
        page.type("#text", typed)
        page.press_control_enter("#text")
        shown = page.texts("#sentence mark")
        assert shown == [f"{one.text}{one.label}" for one in placed]
        assert page.run("return document.querySelector('#sentence .text').textContent").startswith(
            typed[: placed[0].start]
        )
        assert page.run("return document.getElementById('text').value") == typed
        colours = dict(zip(shown, page.css("#sentence mark", "background-color"), strict=True))
        labels = {one.label for one in mentions}
        assert len(set(colours.values())) == len(labels), colours
        cells = page.texts("td")
        assert cells[2:4] == [str(mentions[0].start), str(mentions[0].end)]
        counted = dict(text.rsplit(" ", 1) for text in page.texts(".legend mark"))
        assert {label for label, count in counted.items() if count != "0"} == labels
        assert re.match(r"Run demo · base model entitune-tiny · time \d+\.\d\d s · ", page.texts("#about")[0])

        page.click("#copy")
        page.find("#copy[data-done]")
        page.run("document.getElementById('text').value = ''")
        page.type("#text", "\ue009v")  # Ctrl-V
        assert json.loads(page.run("return document.getElementById('text').value"))["text"] == typed


@pytest.mark.browser
def test_the_page_explains_a_missing_answer_and_has_examples(server: Server, tmp_path: Path) -> None:
    with window(tmp_path / "profile") as page:
        page.open(f"http://127.0.0.1:{server.port + 1}/")
        page.follow("input[value=English]")
        page.find("html[lang=en]")
        page.run(f"document.getElementById('text').value = '{'长' * 2000}'")
        page.click("#go")
        assert page.texts("[role=alert]") == [WORDS["en"]["too_long"]]
        assert len(page.run("return document.getElementById('text').value")) == 2000
        page.click(".examples button")
        assert page.find("#about")
        assert page.run("return document.getElementById('text').value") == EXAMPLES[0]


@pytest.mark.parametrize("language", ["zh", "en"])
@pytest.mark.parametrize("colours", ["light", "dark"])
@pytest.mark.browser
def test_the_page_fits_a_phone_and_follows_the_theme(
    server: Server, tmp_path: Path, language: str, colours: str
) -> None:
    with window(tmp_path / "profile") as page:
        page.devtools("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": colours}])
        page.open(f"http://127.0.0.1:{server.port + 1}/")
        page.click(f"input[value={WORDS[language]['language']}]")
        page.find(f"html[lang={'zh-CN' if language == 'zh' else 'en'}]")
        page.run(f"document.getElementById('text').value = {json.dumps(chr(10).join(EXAMPLES))}")
        page.click("#go")
        assert page.find("#sentence mark")
        if SHOTS:
            page.screenshot(Path(SHOTS) / f"desk-{language}-{colours}.png")
        for width in (320, 360, 375, 393, 412):
            page.devtools(
                "Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1, mobile=True
            )
            assert page.run("return document.documentElement.scrollWidth") <= width
            assert (
                page.run(
                    "return [...document.querySelectorAll('#sentence mark')].filter(mark => {"
                    "  const range = document.createRange(), word = mark.firstChild;"
                    "  range.setStart(word, word.length - 1); range.setEnd(word, word.length);"
                    "  const last = range.getBoundingClientRect(), label = mark.lastChild.getBoundingClientRect();"
                    "  return last.bottom < label.top || label.bottom < last.top || label.left < last.right - 1;"
                    "}).map(mark => mark.textContent)"
                )
                == []
            ), f"labels are separated from their words at {width} pixels"
        if SHOTS:
            page.screenshot(Path(SHOTS) / f"phone-{language}-{colours}.png")
        ink, ground = (
            sum(map(int, re.findall(r"\d+", page.css("body", name)[0])[:3])) for name in ("color", "background-color")
        )
        assert (ink > ground) == (colours == "dark")


def test_after_sigterm_running_requests_finish(server: Server) -> None:
    """This is the last test of this server, because it stops it."""
    body = {"model": "demo", "messages": [{"role": "user", "content": "好"}], "max_tokens": 400, "ignore_eos": True}
    with ThreadPoolExecutor(40) as pool:
        answers = [pool.submit(server.post, body) for _ in range(40)]
        time.sleep(1)
        assert not all(answer.done() for answer in answers), "nothing was under way"
        server.process.send_signal(signal.SIGTERM)
        time.sleep(0.2)
        later = server.post(body)
        assert not all(answer.done() for answer in answers), "nothing was under way any more"
        assert later.status_code == 503
        assert "stopping" in later.json()["error"]["message"]
        choices = [answer.result().json()["choices"][0] for answer in answers]
    assert {choice["finish_reason"] for choice in choices} == {"length"}
    assert server.process.wait(600) == 0
    _, left = psutil.wait_procs(server.family, timeout=600)
    assert left == []


@pytest.fixture(scope="module")
def forsaken() -> Iterator[dict[str, subprocess.Popen[str]]]:
    """Clients of killed servers, by address. They wait for half a minute, during which other tests run."""
    clients: dict[str, subprocess.Popen[str]] = {}
    yield clients
    for client in clients.values():
        client.kill()
        client.communicate()


@pytest.fixture
def json_run(demo: Path) -> Iterator[str]:
    """A finished run of the base model whose answers are JSON: one engine start, about 20 seconds."""
    sheet = demo / "conf/runs.tsv"
    kept = sheet.read_text(encoding="utf-8")
    sheet.write_text(f"{kept}json\tdemo\tentitune-tiny\tner-zh-short\tnone\tcpu\t1\n", encoding="utf-8")
    try:
        done = snakemake(demo, "results/json/seed-1/manifest.json", "--cores", "all")
        assert done.returncode == 0, done.stdout
        yield "json"
    finally:
        sheet.write_text(kept, encoding="utf-8")


def test_several_runs_and_a_kill(demo: Path, json_run: str, forsaken: dict[str, subprocess.Popen[str]]) -> None:
    """Serve an adapter unmerged, as on a GPU. After SIGKILL of the script, no process is left."""
    with serving(demo, "--runs", f"demo,demo-zeroshot,{json_run}") as started:
        models = requests.get(f"{started.url}/v1/models", timeout=300).json()["data"]
        assert {model["id"] for model in models} == {"entitune-tiny", "demo", "demo-zeroshot", json_run}
        labels = read_study(conf=demo / "conf").datasets["demo"].label_names
        content = predictions(demo)[0]["text"]
        body = {**first_request(demo, json_run), "messages": [{"role": "user", "content": content}]}
        for own in (
            {"response_format": json_schema(labels)},
            {"structured_outputs": constraint_of("json", labels, content).to_vllm()},
        ):
            answer = started.post({**body, **own}).json()["choices"][0]["message"]["content"]
            assert answer.startswith("[")
        assert started.post({**body, "response_format": {"type": "json_object"}}).status_code == 400
        answers = [
            started.post(first_request(demo, name)).json()["choices"][0]["message"]["content"]
            for name in ("demo", "demo-zeroshot", "entitune-tiny")
        ]
        assert answers[0] != answers[1] == answers[2]
        client = forsaken[started.url] = subprocess.Popen(
            [sys.executable, "scripts/extract_entities.py", "--run", "demo", "--url", started.url],
            cwd=demo,
            env=ENVIRONMENT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert client.stdin
        assert client.stdout
        client.stdin.write("温格的球队在北京战胜曼联。\n" * 2000)
        client.stdin.flush()
        assert client.stdout.readline()
        started.process.kill()
        _, left = psutil.wait_procs(started.family, timeout=600)
        assert left == []


def test_the_serving_check(demo: Path) -> None:
    target = "results/demo/seed-1/serving_check.json"
    done = snakemake(demo, target, "--cores", "all")
    assert done.returncode == 0, done.stdout
    found = json.loads((demo / target).read_text(encoding="utf-8"))
    assert (found["health"], found["models"]) == (200, ["demo"])
    assert found["refused"] == {"malformed": 400, "without_key": 401, "unknown_path": 404}
    assert found["chat"]["answer"] == predictions(demo)[0]["raw"]
    assert found["burst"]["sentences"] == 200
    latency = found["burst"]["latency_seconds"]
    assert 0 < latency["p50"] <= latency["p90"] <= latency["p95"] <= latency["p99"] <= latency["max"]
    assert found["burst"]["seconds"] >= latency["max"]


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGKILL])
def test_no_process_is_left_if_the_script_ends_while_the_server_loads(demo: Path, signum: signal.Signals) -> None:
    process = subprocess.Popen(command("--runs", "demo", "--port", free_port()), cwd=demo, env=ENVIRONMENT)
    script = psutil.Process(process.pid)
    family: list[psutil.Process] = []
    while not any("spawn_main" in " ".join(one.cmdline()) for one in family):  # the engine's process
        assert process.poll() is None
        time.sleep(0.1)
        with contextlib.suppress(psutil.NoSuchProcess):
            family = script.children(recursive=True)
    process.send_signal(signum)
    assert process.wait(600) == (0 if signum == signal.SIGTERM else -signum)
    _, left = psutil.wait_procs(family, timeout=600)
    assert left == []


def failing(folder: Path, *options: object, limit_kb: int | None = None) -> str:
    """Return the output of a server that cannot start; it must end soon."""
    call = command("--runs", "demo", "--port", free_port(), *options)
    shell = f'ulimit -v {limit_kb or "unlimited"}; exec "$@"'
    done = subprocess.run(
        ["bash", "-c", shell, "bash", *call], cwd=folder, env=ENVIRONMENT, capture_output=True, text=True, timeout=600
    )
    assert done.returncode == 1
    assert "Traceback" not in done.stderr.split("; the end of")[0]
    return done.stderr


def test_a_server_that_is_not_ready_in_time_is_stopped(demo: Path) -> None:
    assert "vLLM was not ready within 2 s (--start-timeout); the end of logs" in failing(demo, "--start-timeout", 2)


def test_a_server_without_memory_names_the_cause(demo: Path) -> None:
    assert "while loading: out of memory; reduce" in failing(demo, limit_kb=2_000_000)


def test_a_server_that_dies_while_loading_shows_the_error(demo: Path) -> None:
    config = demo / "results/demo/seed-1/merged/config.json"
    whole = config.read_bytes()
    config.write_bytes(whole.replace(b"Qwen2ForCausalLM", b"Qwen2ForNothing_"))
    try:
        message = failing(demo)
    finally:
        config.write_bytes(whole)
    assert "vLLM ended with exit code 1 while loading: " in message
    assert "Qwen2ForNothing_" in message


def test_a_client_whose_server_was_killed_ends_with_a_message(forsaken: dict[str, subprocess.Popen[str]]) -> None:
    """This is the client started by test_several_runs_and_a_kill."""
    ((url, client),) = forsaken.items()
    _, told = client.communicate()
    assert client.returncode == 1
    assert f"error: no server answers at {url}" in told
