"""Checks before a server starts, and the middleware in front of it."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import os
import shutil
import socket
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from helpers import ROOT, run_code, run_script
from run_files import PROMPT, finish, write_manifest

from check_serving import openai_arguments
from entitune.cli import InputError
from entitune.prompting.answer_formats.constraints import constraint_of
from entitune.prompting.prompt import Prompt
from entitune.registries import Model
from entitune.serving.chat_requests import ServedRun
from entitune.serving.client import Client
from entitune.serving.finished_runs import finished_run, is_loopback, read_key
from entitune.serving.middleware import MAX_BODY, VARIABLE, Guard, GuardSettings
from entitune.serving.run_requests import identity_of, request_of, version_of
from entitune.serving.server import (
    ServerLog,
    check_port,
    check_together,
    control_tokens_of,
    failure,
    guard_settings,
    open_log,
    server_command,
    server_environment,
)
from entitune.study import Study, read_study
from serve_runs import curl_line

ENTRY = Model.model_validate(
    {"name": "x", "source": "path", "path": "x", "revision": "1", "licence": "x", "template": None}
)
TRUSTED = ENTRY.model_copy(update={"trust_remote_code": True})


@pytest.fixture
def study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Study:
    """The repository's study, in an empty folder without results."""
    monkeypatch.chdir(tmp_path)
    return read_study(conf=ROOT / "conf")


def refusal(study: Study, name: str, seed: int | None = None) -> str:
    with pytest.raises(InputError) as caught:
        finished_run(study, name, seed)
    return str(caught.value)


def test_an_unfinished_run_is_refused_with_the_command_that_finishes_it(study: Study) -> None:
    finish(study, "demo")
    Path("results/demo/seed-1/merged/manifest.json").unlink()
    Path("results/demo/seed-1/adapter/adapter_config.json").unlink()
    message = refusal(study, "demo")
    missing = ["results/demo/seed-1/adapter/adapter_config.json", "results/demo/seed-1/merged/manifest.json"]
    assert f"missing: {', '.join(missing)}" in message
    assert f"snakemake {' '.join(missing)} --cores all" in message
    assert "seed 2, is not finished" in refusal(study, "demo", 2)


def test_a_damaged_adapter_configuration_is_refused(study: Study) -> None:
    finish(study, "demo")
    Path("results/demo/seed-1/adapter/adapter_config.json").write_text("{}", encoding="utf-8")
    assert "adapter_config.json: not the configuration of a LoRA adapter: `base_model_name_or_path`" in refusal(
        study, "demo"
    )


def test_a_run_without_a_model_of_its_own_is_refused(study: Study) -> None:
    assert "run demo-vote is a vote without a model of its own; choose the run demo instead" in refusal(
        study, "demo-vote"
    )
    assert "no run 'nobody'" in refusal(study, "nobody")
    assert "no seed 7; its seeds are 1, 2, 3" in refusal(study, "demo", 7)


def test_files_that_do_not_belong_together_are_refused(study: Study) -> None:
    with pytest.raises(InputError, match=r"trained on results/models/other, but the base model of run demo is"):
        finish(study, "demo", base="results/models/other")
    finish(study, "demo")
    weights = Path("results/models/entitune-tiny/model.safetensors")
    weights.write_bytes(b"other weights")
    assert "the files are not those that results/models/entitune-tiny/manifest.json lists" in refusal(study, "demo")
    write_manifest(weights.parent)
    assert "results/models/entitune-tiny/manifest.json has changed since" in refusal(study, "demo")
    finish(study, "demo")
    Path("results/demo/seed-1/adapter/adapter_model.safetensors").write_bytes(b"another adapter")
    assert "update the run" in refusal(study, "demo")


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
    assert constraint == constraint_of("brackets", study.datasets["demo"].label_names, "温格").to_vllm()


def test_a_run_with_another_answer_format(study: Study) -> None:
    run = dataclasses.replace(finish(study, "demo-structured"), answer_format="json")
    body = request_of(run, "温格")
    assert body["structured_outputs"] == constraint_of("json", run.labels, "温格").to_vllm()
    assert openai_arguments(body)["extra_body"] == {"structured_outputs": body["structured_outputs"]}
    assert "structured_outputs" not in openai_arguments(body)
    assert Client("http://127.0.0.1:9", run).ask("").raw == "[]"
    blank = Client("http://127.0.0.1:9", finish(study, "demo")).ask(" \u3000")
    assert (blank.mentions, blank.raw, blank.status) == ((), " \u3000", "ok")


def option(command: list[str], name: str, count: int = 1) -> list[str]:
    at = command.index(name)
    return command[at + 1 : at + 1 + count]


def test_on_a_cpu_the_merged_model_has_the_name_of_the_run(study: Study) -> None:
    command = server_command([finish(study, "demo")], Path("python"), ENTRY, "127.0.0.1", 8000)
    assert option(command, "--model") == ["results/demo/seed-1/merged"]
    assert option(command, "--served-model-name") == ["demo"]
    assert option(command, "--max-model-len") == ["512"]
    assert "--enable-lora" not in command
    assert "--disable-log-stats" in command
    assert "--trust-remote-code" not in command
    assert json.loads(option(command, "--default-chat-template-kwargs")[0]) == {"enable_thinking": False}


def test_several_runs_are_adapters_with_their_base(study: Study) -> None:
    runs = [finish(study, "demo", rank=24), finish(study, "demo-structured"), finish(study, "demo-5shot")]
    check_together(runs)
    command = server_command(runs, Path("python"), ENTRY, "127.0.0.1", 8000)
    assert option(command, "--model") == ["results/models/entitune-tiny"]
    assert option(command, "--served-model-name", 2) == ["entitune-tiny", "demo-5shot"]
    assert [json.loads(module) for module in option(command, "--lora-modules", 2)] == [
        {"name": "demo", "path": "results/demo/seed-1/adapter"},
        {"name": "demo-structured", "path": "results/demo-structured/seed-1/adapter"},
    ]
    assert option(command, "--max-lora-rank") == ["32"]
    assert option(command, "--max-loras") == ["2"]
    assert option(command, "--max-model-len") == ["1024"]  # of demo-5shot


def test_on_a_gpu_the_adapter_is_served_unmerged(study: Study) -> None:
    command = server_command([finish(study, "cluener-qwen2.5-7b")], Path("python"), TRUSTED, "127.0.0.1", 8000)
    assert option(command, "--served-model-name") == ["qwen2.5-7b-instruct"]
    assert json.loads(option(command, "--lora-modules")[0])["name"] == "cluener-qwen2.5-7b"
    assert option(command, "--max-model-len") == ["1536"]
    assert option(command, "--tensor-parallel-size") == ["1"]
    assert "--trust-remote-code" in command


def test_runs_that_cannot_share_a_server_are_refused(study: Study) -> None:
    with pytest.raises(InputError, match="start one server for each base model"):
        check_together([finish(study, "demo"), finish(study, "cluener-qwen2.5-7b")])
    with pytest.raises(InputError, match="rank 1024 is above vLLM's largest"):
        server_command([finish(study, "cluener-qwen2.5-7b", rank=1024)], Path("python"), ENTRY, "::1", 8000)


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
    guard = guard_settings([run], "127.0.0.1")
    environment = server_environment([run], "from-file", guard)
    assert environment["VLLM_API_KEY"] == "from-file"
    assert "ENTITUNE_API_KEY" not in environment
    assert "VLLM_API_KEY" not in server_environment([run], None, guard)
    line = curl_line("http://127.0.0.1:8000", run, file, "from-file")
    assert "from-file" not in line
    assert f"$(cat '{file}')" in line


def test_other_addresses_than_loopback_need_a_key(monkeypatch: pytest.MonkeyPatch) -> None:
    assert [is_loopback(host) for host in ("127.0.0.1", "127.1.2.3", "::1", "localhost")] == [True] * 4
    assert [is_loopback(host) for host in ("0.0.0.0", "::", "192.168.1.7", "example.org")] == [False] * 4
    monkeypatch.delenv("ENTITUNE_API_KEY", raising=False)
    done = run_script("serve_runs", "--runs", "demo", "--host", "0.0.0.0")
    assert done.returncode == 1
    assert "can be reached from other machines: give an API key" in done.stderr


def test_a_port_that_is_taken_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(InputError, match=f"port {port} of 127.0.0.1 is used"):
            check_port("127.0.0.1", port)
    check_port("127.0.0.1", port)
    with pytest.raises(InputError, match=r"cannot listen on 203.0.113.1"):
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
def test_a_lack_of_memory_is_named(tmp_path: Path, line: str, returncode: int) -> None:
    (tmp_path / "log").write_text(f"INFO\n{line}\nINFO\n")
    assert "out of memory; reduce" in str(failure("vLLM ended", ServerLog(tmp_path / "log"), returncode))


def test_the_first_error_of_a_failure_is_shown(tmp_path: Path) -> None:
    first = "(EngineCore pid=7) ERROR 11-25 [core.py:1510] ModuleNotFoundError: No module named 'x'\n"
    (tmp_path / "log").write_text(first + "line\n" * 40 + "RuntimeError: Engine core initialization failed.\n")
    message = str(failure("vLLM ended", ServerLog(tmp_path / "log"), 1))
    assert "vLLM ended: ModuleNotFoundError: No module named 'x'" in message
    assert "memory" not in message


# --- the middleware in front of vLLM's routes ------------------------------------------------------------------------


class Echo:
    """An application behind the guard that answers with the body that it got, as soon as a test allows it."""

    def __init__(self) -> None:
        self.go = asyncio.Event()
        self.go.set()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        await self.go.wait()
        body = (await receive())["body"]
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": body})


HOST = b"127.0.0.1:8000"


async def request(
    guard: Guard,
    path: str = "/v1/chat/completions",
    parts: tuple[bytes, ...] = (b"{}",),
    hosts: tuple[bytes, ...] = (HOST,),
) -> Any:
    messages = [
        {"type": "http.request", "body": part, "more_body": number < len(parts)} for number, part in enumerate(parts, 1)
    ]
    sent: list[Any] = []

    async def receive() -> Any:
        return messages.pop(0) if messages else {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        sent.append(message)

    method = "POST" if path == "/v1/chat/completions" else "GET"
    headers = [(b"host", host) for host in hosts]
    await guard({"type": "http", "path": path, "method": method, "headers": headers}, receive, send)
    return (sent[0]["status"], sent[1]["body"]) if sent else None


SETTINGS = GuardSettings(
    limit=2,
    hosts=("ner.example",),
    any_address=False,
    runs={"demo": ServedRun("json", ["name"], "找出实体")},
    versions={"demo": "of-the-adapter"},
    control_tokens=("<|im_end|>",),
    seconds_to_finish=60,
)


def guard_with(monkeypatch: pytest.MonkeyPatch, app: Any = None, **settings: Any) -> Guard:
    monkeypatch.setenv(VARIABLE, dataclasses.replace(SETTINGS, **settings).to_json())
    return Guard(app or Echo())


@pytest.fixture
def guard(monkeypatch: pytest.MonkeyPatch) -> Guard:
    return guard_with(monkeypatch)


def test_the_guard_forwards_the_request(guard: Guard) -> None:
    assert asyncio.run(request(guard, parts=(b'{"user"', b"", b': "u"}'))) == (200, b'{"user": "u"}')


@pytest.mark.parametrize("path", ["/invocations", "/v1/completions", "/tokenize", "/docs", "/v1/chat/completions/"])
def test_the_guard_allows_few_paths(guard: Guard, path: str) -> None:
    assert asyncio.run(request(guard, path))[0] == 404


def test_the_guard_limits_a_request_regardless_of_its_header(guard: Guard) -> None:
    half = MAX_BODY // 2
    parts = (b'{"user": "'.ljust(half, b"x"), b'"}'.rjust(half, b"x"))
    assert asyncio.run(request(guard, parts=parts))[0] == 200
    assert asyncio.run(request(guard, parts=(*parts, b" ")))[0] == 413


def test_the_guard_limits_the_number_of_running_requests(guard: Guard) -> None:
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


def test_the_guard_refuses_requests_that_would_make_the_engine_compile(guard: Guard) -> None:
    status, body = asyncio.run(request(guard, parts=(b'{"structured_outputs": {"regex": "(?:.{0,998}){0,998}q"}}',)))
    assert status == 400
    assert "structured_outputs may only be the constraint of the run" in json.loads(body)["error"]["message"]


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("127.0.0.1:8000", 200),
        ("127.8.8.8", 200),
        ("localhost", 200),
        ("LocalHost.:80", 200),
        ("[::1]:8000", 200),
        ("ner.example:8000", 200),
        ("evil.example:8000", 403),
        ("127.0.0.1.evil.example", 403),
        ("evil.localhost.example", 403),
        ("192.168.1.7:8000", 403),
        ("", 403),
        ("[::1", 403),
    ],
)
def test_the_guard_answers_only_to_its_own_names(guard: Guard, host: str, status: int) -> None:
    for path in ("/v1/chat/completions", "/health"):
        assert asyncio.run(request(guard, path, hosts=(host.encode(),)))[0] == status


def test_the_guard_requires_exactly_one_host(guard: Guard) -> None:
    assert asyncio.run(request(guard, hosts=()))[0] == 403
    assert asyncio.run(request(guard, hosts=(HOST, b"evil.example")))[0] == 403


def test_a_server_at_all_addresses_answers_to_any_address_and_its_names(
    study: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = guard_settings([finish(study, "demo")], "0.0.0.0", ["Ner.Example."])
    guard = guard_with(monkeypatch, hosts=settings.hosts, any_address=settings.any_address)
    for host in ("192.168.1.7", "127.0.0.1", socket.gethostname(), "ner.example"):
        assert asyncio.run(request(guard, hosts=(host.encode(),)))[0] == 200
    assert asyncio.run(request(guard, hosts=(b"evil.example",)))[0] == 403
    assert guard_settings([finish(study, "demo")], "127.0.0.1").any_address is False


def test_a_draining_guard_finishes_running_requests_and_accepts_no_new_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    application = Echo()
    guard = guard_with(monkeypatch, application)
    ended: list[int] = []
    monkeypatch.setattr(guard, "finish", lambda: ended.append(guard.active))

    async def scenario() -> list[int]:
        application.go.clear()
        waiting = asyncio.create_task(request(guard))
        await asyncio.sleep(0)
        guard.drain()
        assert ended == []
        statuses = [(await request(guard))[0], (await request(guard, "/health"))[0]]
        application.go.set()
        return [*statuses, (await waiting)[0]]

    assert asyncio.run(scenario()) == [503, 503, 200]
    assert ended == [0]
    guard.drain()
    assert ended == [0, 0], "nothing was under way"


def test_a_client_that_does_not_read_its_answer_times_out(guard: Guard, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("entitune.serving.middleware.SECONDS_TO_TAKE", 0.01)

    async def scenario() -> None:
        async def receive() -> Any:
            return {"type": "http.request", "body": b"{}", "more_body": False}

        async def send(message: Any) -> None:
            await asyncio.Event().wait()

        scope = {"type": "http", "path": "/v1/chat/completions", "method": "POST", "headers": [(b"host", HOST)]}
        with pytest.raises(TimeoutError):
            await guard(scope, receive, send)

    asyncio.run(scenario())
    assert guard.active == 0


def test_a_client_that_leaves_before_its_request_is_complete_is_forgotten(guard: Guard) -> None:
    async def scenario() -> None:
        messages = [{"type": "http.request", "body": b"{", "more_body": True}, {"type": "http.disconnect"}]

        async def receive() -> Any:
            return messages.pop(0)

        async def send(message: Any) -> None:
            raise AssertionError("answered, although nobody is there")

        headers = [(b"host", HOST)]
        scope = {"type": "http", "path": "/v1/chat/completions", "method": "POST", "headers": headers}
        await guard(scope, receive, send)

    asyncio.run(scenario())


async def two_models(scope: Any, receive: Any, send: Any) -> None:
    """The application of a server of two models that requires a key."""
    wanted = scope["path"] == "/v1/models" and scope.get("key", True)
    content = {"object": "list", "data": [{"id": "demo"}, {"id": "a/b+c=1"}]} if wanted else {"error": "Unauthorized"}
    await send({"type": "http.response.start", "status": 200 if wanted else 401, "headers": []})
    await send({"type": "http.response.body", "body": json.dumps(content).encode()})


def test_a_model_can_be_retrieved_by_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    guard = guard_with(monkeypatch, two_models)

    def models(path: str) -> tuple[int, Any]:
        status, body = asyncio.run(request(guard, path, parts=(b"",)))
        return status, json.loads(body)

    demo, other = {"id": "demo", "version": "of-the-adapter"}, {"id": "a/b+c=1"}
    assert models("/v1/models") == (200, {"object": "list", "data": [demo, other]})
    assert models("/v1/models/demo") == (200, demo)
    assert models("/v1/models/a/b+c=1") == (200, other)
    assert models("/v1/models/nobody")[0] == 404


def test_the_guard_knows_the_format_and_the_version_of_each_run(study: Study) -> None:
    runs = [finish(study, "demo"), finish(study, "demo-5shot")]
    settings = GuardSettings.from_json(guard_settings(runs, "127.0.0.1").to_json())
    labels = study.datasets["demo"].label_names
    assert settings.runs == {run.name: ServedRun("brackets", labels, PROMPT.user) for run in runs}
    assert settings.versions == {run.name: version_of(run) for run in runs}
    assert settings.limit == 256


def test_the_guard_knows_the_markup_of_a_chat(study: Study, guard: Guard) -> None:
    assert control_tokens_of(ROOT / "data/models/entitune-tiny") == ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
    assert control_tokens_of(Path("nowhere")) == ()
    held = b'{"messages": [{"role": "user", "content": [{"type": "text", "text": "a<|im_end|>b"}]}]}'
    assert asyncio.run(request(guard, parts=(held,)))[0] == 400


CONTROL_TOKENS = """
import sys
from transformers import AutoTokenizer
from entitune.prompting.chat import control_tokens
print("\\n".join(["FOUND", *control_tokens(AutoTokenizer.from_pretrained(sys.argv[1])).values()]))
"""


@pytest.mark.engine
def test_server_and_encoding_agree_on_the_markup_of_a_chat(tmp_path: Path) -> None:
    """Ordinary tokens also count as chat markup if the chat template writes them."""
    source = ROOT / "data/models/entitune-tiny"
    tokenizer = json.loads((source / "tokenizer.json").read_text(encoding="utf-8"))
    template = dict.fromkeys(("id", "content", "special", "single_word", "lstrip", "rstrip", "normalized"), False)
    first = max(token["id"] for token in tokenizer["added_tokens"]) + 1 + len(tokenizer["model"]["vocab"])
    for number, (content, special) in enumerate(
        [("<think>", False), ("<tool_call>", False), ("[UNK]", True), ("</think>", False), ('<|"|>', False)]
    ):
        tokenizer["added_tokens"].append({**template, "id": first + number, "content": content, "special": special})
    (tmp_path / "tokenizer.json").write_text(json.dumps(tokenizer), encoding="utf-8")
    config = json.loads((source / "tokenizer_config.json").read_text(encoding="utf-8"))
    config |= {"unk_token": {"__type": "AddedToken", **template, "content": "[UNK]", "special": True}}
    (tmp_path / "chat_template.jinja").write_text(config.pop("chat_template") + '{# <think> </think> <|"|> #}')
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(config), encoding="utf-8")
    shutil.copy(source / "config.json", tmp_path)
    found = sorted(control_tokens_of(tmp_path))
    assert found == sorted(["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<think>", "</think>", '<|"|>'])
    assert sorted(run_code("train", CONTROL_TOKENS, tmp_path).split("FOUND\n")[1].splitlines()) == found


def test_the_version_of_a_run_changes_with_everything_that_affects_its_answers(study: Study) -> None:
    run = finish(study, "demo")
    before = identity_of(run)
    assert identity_of(finish(study, "demo")) == before
    assert run.adapter
    (run.adapter / "adapter_model.safetensors").write_bytes(b"new training")
    changed = {
        "adapter": run,
        "prompt": dataclasses.replace(run, prompt=Prompt("另一个提示")),
        "answers": dataclasses.replace(run, labels=["name"]),
        "run": dataclasses.replace(run, name="other"),
    }
    for what, other in changed.items():
        expected = {what, "adapter"}  # which changes in all these cases
        assert {key for key, value in identity_of(other).items() if value != before[key]} == expected
        assert version_of(other) != version_of(finish(study, "demo"))
        (run.adapter / "adapter_model.safetensors").write_bytes(b"new training")


def test_the_engine_compiles_nothing_on_a_cpu(study: Study) -> None:
    run = finish(study, "demo")
    assert server_environment([run], None, guard_settings([run], "::1"))["TORCH_COMPILE_DISABLE"] == "1"
    run = finish(study, "cluener-qwen2.5-7b")
    assert "TORCH_COMPILE_DISABLE" not in server_environment([run], None, guard_settings([run], "::1"))


@pytest.mark.parametrize("port", ["70000", "0", "-1", "65536"])
def test_a_port_that_does_not_exist_is_named(port: str) -> None:
    done = run_script("serve_runs", "--runs", "demo", "--port", port)
    assert done.returncode == 1
    assert done.stderr == f"error: there is no port {port}; choose one from 1 to 65535 with --port\n"


def test_a_log_is_appended_to_and_belongs_to_one_server(tmp_path: Path) -> None:
    path = tmp_path / "logs" / "server.log"
    with open_log(path) as (first, output):
        os.write(output, b"torch.OutOfMemoryError: of the first\n")
        with pytest.raises(InputError, match=r"another server writes to .*server.log"), open_log(path):
            pass
        assert "out of memory; reduce" in str(failure("ended", first))
    with open_log(path) as (second, output):
        os.write(output, b"of the second\n")
        assert second.text() == "of the second\n"
        assert "memory" not in str(failure("ended", second))
    assert path.read_text() == "torch.OutOfMemoryError: of the first\nof the second\n"


def test_requests_to_a_busy_server_are_retried(study: Study) -> None:
    class Busy(BaseHTTPRequestHandler):
        answers: list[int] = [503, 429, 200]  # noqa: RUF012

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(self.answers.pop(0))
            self.send_header("Retry-After", "0")
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), Busy) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        with Client(f"http://127.0.0.1:{server.server_port}", finish(study, "demo")) as client:
            assert client.call("POST", "/", b"{}")[0] == 200
        server.shutdown()
    assert Busy.answers == []
