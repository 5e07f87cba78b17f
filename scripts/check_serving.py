"""Serve a finished run, ask it as its users will, measure a burst, stop it: what came of it as JSON.

Runs in the environment that serves, which has the official openai client. A check that fails ends it with a message and
no output; the server is stopped whatever happens.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import functools
import itertools
import json
import os
import secrets
import signal
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
import requests

from entitune.cli import InputError, run
from entitune.files import atomic_write, read_jsonl
from entitune.processes import die_with_parent
from entitune.prompting.answer_formats.constraints import constraint_of
from entitune.prompting.answer_formats.reading import read_answer
from entitune.serving.client import connect, request_of
from entitune.serving.finished_runs import KEY_VARIABLE, FinishedRun, finished_run
from entitune.study import read_study

if TYPE_CHECKING:
    import openai

BURST = 200
PERCENTILES = (50, 90, 95, 99)
SECONDS_TO_STOP = 120


def expect(condition: bool, message: str) -> None:
    if not condition:
        raise InputError(message)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def served(options: Sequence[str], key: str, port: int) -> Iterator[dict[str, float]]:
    """serve_runs.py, from when it is ready on; yields what starting and, in the end, stopping it took.

    Raises InputError where it does not start, or leaves a process behind, which is killed.
    """
    command = [sys.executable, "scripts/serve_runs.py", *options, "--port", str(port)]
    started = time.monotonic()
    process = subprocess.Popen(
        command,
        env={**os.environ, KEY_VARIABLE: key},
        stdout=subprocess.PIPE,
        text=True,
        preexec_fn=functools.partial(die_with_parent, signal.SIGTERM),
    )
    assert process.stdout is not None
    family: list[psutil.Process] = []
    seconds: dict[str, float] = {}
    try:
        ready = any(line.startswith("Serving at") for line in process.stdout)
        expect(ready, "the server did not start; its message stands above")
        seconds["start"] = round(time.monotonic() - started, 1)
        yield seconds
    finally:
        with contextlib.suppress(psutil.NoSuchProcess):
            family = psutil.Process(process.pid).children(recursive=True)
        process.terminate()
        stopping = time.monotonic()
        try:
            process.communicate(timeout=SECONDS_TO_STOP)
        except subprocess.TimeoutExpired:
            process.kill()
        seconds["stop"] = round(time.monotonic() - stopping, 1)
        _, left = psutil.wait_procs(family, timeout=5)
        for orphan in left:
            orphan.kill()
        expect(not left, f"serve_runs.py left {len(left)} processes behind")
    expect(process.returncode == 0, f"serve_runs.py ended with exit code {process.returncode} on SIGTERM")


def ask_for_errors(url: str, key: str) -> dict[str, Any]:
    """What a broken request, one without the key and one beside the API get."""
    with connect(key) as session, requests.Session() as stranger:
        stranger.trust_env = False
        malformed = session.post(f"{url}/v1/chat/completions", data='{"model": ', timeout=30)
        refused = {
            "malformed": malformed.status_code,
            "without_key": stranger.post(f"{url}/v1/chat/completions", json={}, timeout=30).status_code,
            "unknown_path": stranger.post(f"{url}/invocations", json={}, timeout=30).status_code,
        }
    expect(refused == {"malformed": 400, "without_key": 401, "unknown_path": 404}, f"unexpected refusals: {refused}")
    return refused


def openai_arguments(body: dict[str, Any]) -> dict[str, Any]:
    """The arguments of the official client for a request; it takes what only vLLM knows as `extra_body`."""
    known = {key: value for key, value in body.items() if key != "structured_outputs"}
    return known | {"extra_body": {key: value for key, value in body.items() if key not in known}}


def ask_once(client: openai.OpenAI, served_run: FinishedRun, text: str, structured: bool) -> dict[str, Any]:
    """One chat call, with the answer's format enforced or without."""
    body = request_of(served_run, text)
    if structured:
        body["structured_outputs"] = constraint_of(served_run.answer_format, served_run.labels, text).to_vllm()
    choice = client.chat.completions.create(**openai_arguments(body)).choices[0]
    raw, finish_reason = choice.message.content or "", choice.finish_reason
    if structured:
        answer = read_answer(served_run.answer_format, raw, text)
        unknown = {mention.label for mention in answer.mentions} - set(served_run.labels)
        expect(not unknown, f"labels in spite of the constraint: {', '.join(sorted(unknown))}")
        expect(answer.status == "ok" or finish_reason != "stop", f"another format in spite of the constraint: {raw}")
    return {"sentence": text, "answer": raw, "finish_reason": finish_reason}


async def burst(client: openai.AsyncOpenAI, served_run: FinishedRun, texts: Sequence[str]) -> dict[str, Any]:
    """All sentences at once: latencies and throughput."""
    async with client:

        async def ask(text: str) -> tuple[float, int]:
            asked = time.perf_counter()
            answer = await client.chat.completions.create(**openai_arguments(request_of(served_run, text)))
            return time.perf_counter() - asked, answer.usage.completion_tokens if answer.usage else 0

        started = time.perf_counter()
        answers = await asyncio.gather(*map(ask, texts))
        seconds = time.perf_counter() - started
    latencies = [latency for latency, _ in answers]
    cuts = statistics.quantiles(latencies, n=100)
    return {
        "sentences": len(texts),
        "seconds": round(seconds, 2),
        "sentences_per_second": round(len(texts) / seconds, 1),
        "output_tokens_per_second": round(sum(tokens for _, tokens in answers) / seconds),
        "latency_seconds": {
            **{f"p{percent}": round(cuts[percent - 1], 2) for percent in PERCENTILES},
            "max": round(max(latencies), 2),
        },
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--run", required=True, help="a finished run")
    parser.add_argument("--seed", type=int, required=True, help="its seed")
    parser.add_argument("--sentences", required=True, help="canonical JSONL whose sentences are asked for")
    parser.add_argument("--server-log", required=True, help="vLLM's own output")
    parser.add_argument("--output", required=True, help="JSON: what each check found")
    args = parser.parse_args()

    import openai  # late: the environment that serves has it, and --help works in any

    os.environ["NO_PROXY"] = "127.0.0.1"  # the openai client would ask a proxy for it
    finished = finished_run(read_study(), args.run, args.seed)
    texts = [record["text"] for record in read_jsonl(args.sentences)]
    key, port = secrets.token_urlsafe(32), free_port()
    url = f"http://127.0.0.1:{port}"
    options = ["--runs", args.run, "--seed", str(args.seed), "--log", args.server_log]
    found: dict[str, Any] = {"run": args.run, "seed": args.seed}
    with (
        served(options, key, port) as seconds,
        openai.OpenAI(base_url=f"{url}/v1", api_key=key) as client,
        connect(key) as session,
    ):
        found["health"] = session.get(f"{url}/health", timeout=30).status_code
        expect(found["health"] == 200, f"/health answers {found['health']}")
        found["models"] = [model.id for model in client.models.list()]
        expect(args.run in found["models"], f"/v1/models has {found['models']}")
        found["chat"] = ask_once(client, finished, texts[0], structured=False)
        found["structured"] = ask_once(client, finished, texts[0], structured=True)
        found["refused"] = ask_for_errors(url, key)
        crowd = openai.AsyncOpenAI(base_url=f"{url}/v1", api_key=key, max_retries=10, timeout=600)
        found["burst"] = asyncio.run(burst(crowd, finished, list(itertools.islice(itertools.cycle(texts), BURST))))
    found["seconds"] = seconds
    expect(key not in Path(args.server_log).read_text(encoding="utf-8"), f"{args.server_log} holds the API key")
    with atomic_write(args.output) as stream:
        stream.write(json.dumps(found, ensure_ascii=False, indent=2) + "\n")


if __name__ == "__main__":
    run(main)
