"""What is checked before a server starts, and what stands in front of it."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import re
import socket
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import requests
from helpers import ROOT, run_script

from check_serving import openai_arguments
from entitune import paths
from entitune.cli import InputError
from entitune.files import sha256
from entitune.manifests import ModelManifest
from entitune.prompting.answer_formats.constraints import constraint_of
from entitune.prompting.prompt import Prompt
from entitune.records import Mention, Prediction, Sentence
from entitune.serving.client import ask, connect, request_of
from entitune.serving.demo_page import listen, result
from entitune.serving.finished_runs import FinishedRun, finished_run, is_loopback, read_key
from entitune.serving.middleware import LIMIT_VARIABLE, MAX_BODY, Guard
from entitune.study import BaseRun, Study, TunedRun, read_study
from extract_entities import finished_texts
from serve_runs import check_port, check_together, curl_line, failure, server_command, server_environment

PROMPT = Prompt("找出实体", "系统", [["找出实体\n好", "[]"]])


@pytest.fixture
def study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Study:
    """The repository's study; what runs have made is looked for in an empty folder."""
    monkeypatch.chdir(tmp_path)
    return read_study(conf=ROOT / "conf")


def write_manifest(model: Path) -> None:
    ModelManifest.of_folder(model, model=model.name, source="path", revision=None).write(model)


def finish(study: Study, name: str, rank: int = 8, base: str | None = None) -> FinishedRun:
    """Write the files of a finished run that are read before a server starts, small as they are."""
    run = study.run(name)
    assert isinstance(run, BaseRun)
    folder, model = Path(run.files(run.seeds[0]).folder), Path(paths.model(run.model.name)).parent
    alpaca = Path(run.data.alpaca("dev"))
    for path in (folder / "adapter", folder / "merged", model, alpaca.parent):
        path.mkdir(parents=True, exist_ok=True)
    for path in (model, folder / "merged"):
        (path / "model.safetensors").write_bytes(b"weights")
        write_manifest(path)
    alpaca.write_text(json.dumps([PROMPT.row(Sentence("dev-1", "好", ()))]), encoding="utf-8")
    files = [model / "manifest.json", alpaca]
    if isinstance(run, TunedRun):
        config = {"r": rank, "base_model_name_or_path": base or str(model)}
        (folder / "adapter/adapter_config.json").write_text(json.dumps(config), encoding="utf-8")
        (folder / "adapter/adapter_model.safetensors").write_bytes(b"adapter")
        files.append(folder / "adapter/adapter_model.safetensors")
    (folder / "manifest.json").write_text(json.dumps({"files": {str(path): sha256(path) for path in files}}))
    return finished_run(study, name)


def refusal(study: Study, name: str, seed: int | None = None) -> str:
    with pytest.raises(InputError) as caught:
        finished_run(study, name, seed)
    return str(caught.value)


def test_a_run_that_is_not_finished_is_refused_with_the_command_that_finishes_it(study: Study) -> None:
    finish(study, "demo")
    Path("results/demo/seed-1/merged/manifest.json").unlink()
    Path("results/demo/seed-1/adapter/adapter_config.json").unlink()
    message = refusal(study, "demo")
    missing = ["results/demo/seed-1/adapter/adapter_config.json", "results/demo/seed-1/merged/manifest.json"]
    assert f"missing: {', '.join(missing)}" in message
    assert f"snakemake {' '.join(missing)} --cores all" in message
    assert "seed 2, is not finished" in refusal(study, "demo", 2)


def test_a_run_without_a_model_of_its_own_is_refused(study: Study) -> None:
    assert "vote over the answers of demo" in refusal(study, "demo-vote")
    assert "no run 'nobody'" in refusal(study, "nobody")
    assert "no seed 7; its seeds are 1, 2, 3" in refusal(study, "demo", 7)


def test_files_that_do_not_belong_together_are_refused(study: Study) -> None:
    with pytest.raises(InputError, match=r"an adapter of results/models/other; run demo is of results/models/entitune"):
        finish(study, "demo", base="results/models/other")
    finish(study, "demo")
    weights = Path("results/models/entitune-tiny/model.safetensors")
    weights.write_bytes(b"other weights")
    assert "is missing or not the file of results/models/entitune-tiny/manifest.json" in refusal(study, "demo")
    write_manifest(weights.parent)
    assert "results/models/entitune-tiny/manifest.json is not the file that" in refusal(study, "demo")
    finish(study, "demo")
    Path("results/demo/seed-1/adapter/adapter_model.safetensors").write_bytes(b"another adapter")
    assert "bring the run up to date" in refusal(study, "demo")


def test_the_prompt_is_that_of_the_run(study: Study) -> None:
    run = finish(study, "demo")
    messages = request_of(run, "温格")["messages"]
    assert messages == [
        {"role": "system", "content": "系统"},
        {"role": "user", "content": "找出实体\n好"},
        {"role": "assistant", "content": "[]"},
        {"role": "user", "content": "找出实体\n温格"},
    ]
    assert request_of(run, "温格")["max_tokens"] == 200
    assert "structured_outputs" not in request_of(run, "温格")
    constraint = request_of(finish(study, "demo-structured"), "温格")["structured_outputs"]
    assert constraint == constraint_of("json", study.datasets["demo"].label_names, "温格").to_vllm()


def test_a_run_with_another_answer_format(study: Study) -> None:
    run = dataclasses.replace(finish(study, "demo-structured"), answer_format="brackets")
    body = request_of(run, "温格")
    assert body["structured_outputs"] == constraint_of("brackets", run.labels, "温格").to_vllm()
    assert openai_arguments(body)["extra_body"] == {"structured_outputs": body["structured_outputs"]}
    assert "structured_outputs" not in openai_arguments(body)
    blank = ask(requests.Session(), "http://127.0.0.1:0", run, " \u3000")
    assert (blank.pred, blank.raw, blank.status) == ((), " \u3000", "ok")
    assert ask(requests.Session(), "", finish(study, "demo"), "").raw == "[]"


def option(command: list[str], name: str, count: int = 1) -> list[str]:
    at = command.index(name)
    return command[at + 1 : at + 1 + count]


def test_on_a_cpu_the_merged_model_has_the_name_of_the_run(study: Study) -> None:
    command = server_command([finish(study, "demo")], Path("python"), False, "127.0.0.1", 8000)
    assert option(command, "--model") == ["results/demo/seed-1/merged"]
    assert option(command, "--served-model-name") == ["demo"]
    assert option(command, "--max-model-len") == ["512"]
    assert "--enable-lora" not in command
    assert "--trust-remote-code" not in command


def test_several_runs_are_adapters_beside_their_base(study: Study) -> None:
    runs = [finish(study, "demo", rank=24), finish(study, "demo-structured"), finish(study, "demo-5shot")]
    check_together(runs)
    command = server_command(runs, Path("python"), False, "127.0.0.1", 8000)
    assert option(command, "--model") == ["results/models/entitune-tiny"]
    assert option(command, "--served-model-name", 2) == ["entitune-tiny", "demo-5shot"]
    assert [json.loads(module) for module in option(command, "--lora-modules", 2)] == [
        {"name": "demo", "path": "results/demo/seed-1/adapter"},
        {"name": "demo-structured", "path": "results/demo-structured/seed-1/adapter"},
    ]
    assert option(command, "--max-lora-rank") == ["32"]
    assert option(command, "--max-loras") == ["2"]
    assert option(command, "--max-model-len") == ["1024"]  # of demo-5shot


def test_on_a_gpu_the_adapter_is_served_as_it_is(study: Study) -> None:
    command = server_command([finish(study, "cluener-qwen2.5-7b")], Path("python"), True, "127.0.0.1", 8000)
    assert option(command, "--served-model-name") == ["qwen2.5-7b-instruct"]
    assert json.loads(option(command, "--lora-modules")[0])["name"] == "cluener-qwen2.5-7b"
    assert option(command, "--max-model-len") == ["1536"]
    assert option(command, "--tensor-parallel-size") == ["1"]
    assert "--trust-remote-code" in command


def test_runs_that_one_server_cannot_hold_are_refused(study: Study) -> None:
    with pytest.raises(InputError, match="one server has one base"):
        check_together([finish(study, "demo"), finish(study, "cluener-qwen2.5-7b")])
    with pytest.raises(InputError, match="rank 1024 is above vLLM's largest"):
        server_command([finish(study, "cluener-qwen2.5-7b", rank=1024)], Path("python"), False, "::1", 8000)


def test_the_key_is_in_a_file_or_the_environment_and_nowhere_else(
    study: Study, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("ENTITUNE_API_KEY", "from-environment")
    monkeypatch.setenv("VLLM_API_KEY", "of something else")
    file = tmp_path / "a key"
    file.write_text("from-file\n")
    assert (read_key(None), read_key(file)) == ("from-environment", "from-file")
    for wrong in ("\n", "two words\n", "钥匙\n"):
        file.write_text(wrong, encoding="utf-8")
        with pytest.raises(InputError, match="expected an API key"):
            read_key(file)
    run = finish(study, "demo")
    environment = server_environment([run], "from-file")
    assert environment["VLLM_API_KEY"] == "from-file"
    assert "ENTITUNE_API_KEY" not in environment
    assert "VLLM_API_KEY" not in server_environment([run], None)
    line = curl_line("http://127.0.0.1:8000", run, file, "from-file")
    assert "from-file" not in line
    assert f"$(cat '{file}')" in line


def test_other_addresses_than_loopback_demand_a_key(monkeypatch: pytest.MonkeyPatch) -> None:
    assert [is_loopback(host) for host in ("127.0.0.1", "127.1.2.3", "::1", "localhost")] == [True] * 4
    assert [is_loopback(host) for host in ("0.0.0.0", "::", "192.168.1.7", "example.org")] == [False] * 4
    monkeypatch.delenv("ENTITUNE_API_KEY", raising=False)
    done = run_script("serve_runs", "--runs", "demo", "--host", "0.0.0.0")
    assert done.returncode == 1
    assert "can be reached from other machines: give an API key" in done.stderr


def test_a_port_that_is_taken_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(InputError, match=f"port {port} of 127.0.0.1 is taken"):
            check_port("127.0.0.1", port)
    check_port("127.0.0.1", port)
    with pytest.raises(InputError, match=r"cannot listen at 203.0.113.1"):
        check_port("203.0.113.1", port)


@pytest.mark.parametrize(
    ("line", "returncode"),
    [
        ("torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2 GiB", 1),
        ("ValueError: No available memory for the cache blocks.", 1),
        ("ImportError: libtorch_cpu.so: failed to map segment from shared object", 1),
        ("ValueError: Free memory on device cuda:0 (3.1/79.1 GiB) on startup is less than desired", 1),
        ("", 137),
    ],
)
def test_a_lack_of_memory_is_called_that(tmp_path: Path, line: str, returncode: int) -> None:
    (tmp_path / "log").write_text(f"INFO\n{line}\nINFO\n")
    assert "memory ran out" in str(failure("vLLM ended", tmp_path / "log", returncode))


def test_of_a_failure_the_first_error_is_shown(tmp_path: Path) -> None:
    first = "(EngineCore pid=7) ERROR 11-25 [core.py:1510] ModuleNotFoundError: No module named 'x'\n"
    (tmp_path / "log").write_text(first + "line\n" * 40 + "RuntimeError: Engine core initialization failed.\n")
    message = str(failure("vLLM ended", tmp_path / "log", 1))
    assert "vLLM ended: ModuleNotFoundError: No module named 'x'" in message
    assert "memory" not in message


# --- what stands in front of vLLM's routes -------------------------------------------------------------------------


class Echo:
    """An application behind the guard that answers with the body it got, when it is let."""

    def __init__(self) -> None:
        self.go = asyncio.Event()
        self.go.set()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        await self.go.wait()
        body = (await receive())["body"]
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": body})


async def request(guard: Guard, path: str = "/v1/chat/completions", parts: tuple[bytes, ...] = (b"{}",)) -> Any:
    messages = [
        {"type": "http.request", "body": part, "more_body": number < len(parts)} for number, part in enumerate(parts, 1)
    ]
    sent: list[Any] = []

    async def receive() -> Any:
        return messages.pop(0)

    async def send(message: Any) -> None:
        sent.append(message)

    method = "POST" if path == "/v1/chat/completions" else "GET"
    await guard({"type": "http", "path": path, "method": method}, receive, send)
    return sent[0]["status"], sent[1]["body"]


@pytest.fixture
def guard(monkeypatch: pytest.MonkeyPatch) -> Guard:
    monkeypatch.setenv(LIMIT_VARIABLE, "2")
    return Guard(Echo())


def test_the_guard_passes_on_what_it_was_sent(guard: Guard) -> None:
    assert asyncio.run(request(guard, parts=(b"ab", b"", b"c"))) == (200, b"abc")


@pytest.mark.parametrize("path", ["/invocations", "/v1/completions", "/tokenize", "/docs", "/v1/chat/completions/"])
def test_the_guard_knows_few_paths(guard: Guard, path: str) -> None:
    assert asyncio.run(request(guard, path))[0] == 404


def test_the_guard_bounds_a_request_whatever_its_header_says(guard: Guard) -> None:
    part = b"x" * (MAX_BODY // 2)
    assert asyncio.run(request(guard, parts=(part, part)))[0] == 200
    assert asyncio.run(request(guard, parts=(part, part, b"x")))[0] == 413


def test_the_guard_bounds_how_many_are_under_way(guard: Guard) -> None:
    async def scenario() -> list[int]:
        application = guard.app
        assert isinstance(application, Echo)
        application.go.clear()
        waiting = [asyncio.create_task(request(guard)) for _ in range(2)]
        await asyncio.sleep(0)
        statuses = [(await request(guard))[0]]
        application.go.set()
        statuses += [(await one)[0] for one in waiting]
        statuses.append((await request(guard))[0])
        return statuses

    assert asyncio.run(scenario()) == [503, 200, 200, 200]


def test_a_busy_server_is_asked_again() -> None:
    class Busy(BaseHTTPRequestHandler):
        answers: list[int] = [503, 429, 200]  # noqa: RUF012

        def do_POST(self) -> None:
            self.send_response(self.answers.pop(0))
            self.send_header("Retry-After", "0")
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), Busy) as server, connect(None) as session:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        assert session.post(f"http://127.0.0.1:{server.server_port}/", timeout=10).status_code == 200
        server.shutdown()
    assert Busy.answers == []


# --- the client's output and the page ------------------------------------------------------------------------------


def test_an_output_goes_on_after_its_last_whole_line(tmp_path: Path) -> None:
    output = tmp_path / "out.jsonl"
    assert finished_texts(output) == []
    lines = [json.dumps({"text": text, "entities": []}, ensure_ascii=False) + "\n" for text in ("一\u2028", "二")]
    output.write_text("".join(lines) + '{"text": "三', encoding="utf-8")
    assert finished_texts(output) == ["一\u2028", "二"]
    assert output.read_text(encoding="utf-8") == "".join(lines)
    output.write_text("text\n")
    with pytest.raises(InputError, match="not an output of this script"):
        finished_texts(output)


@pytest.fixture
def page(study: Study) -> Iterator[str]:
    """The page of a finished run whose server is away."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        nobody = f"http://127.0.0.1:{probe.getsockname()[1]}"
    with listen([finish(study, "demo")], nobody, None, 0) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"127.0.0.1:{server.server_port}"
        server.shutdown()


def test_the_page_needs_nothing_beside_it(page: str) -> None:
    with urllib.request.urlopen(f"http://{page}/") as answer:
        document = answer.read().decode("utf-8")
        assert answer.headers["Content-Security-Policy"].startswith("default-src 'none'")
    assert not re.search(r"<script|<link|src=|https?://", document)
    assert "<option selected>demo</option>" in document


def test_the_page_is_not_for_other_names_of_this_machine(page: str) -> None:
    with pytest.raises(urllib.error.HTTPError, match="403"):
        urllib.request.urlopen(urllib.request.Request(f"http://{page}/", headers={"Host": "evil.example"}))


def test_what_is_typed_and_answered_stays_text(study: Study) -> None:
    mention = Mention("<b>", "<i>", 1, 4)
    prediction = Prediction(
        id="", text="a<i>", gold=None, pred=(mention,), raw="<u>", finish_reason="stop", status="ok"
    )
    shown = result(finish(study, "demo"), "a<i>", prediction)
    assert not re.search("<[biu]>", shown)
    assert "&lt;i&gt;<small>&lt;b&gt;</small></mark>" in shown
