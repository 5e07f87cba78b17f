"""Check the server of a finished run: start it, send requests as users do, measure a burst of requests, stop it.

Runs in the run's predict environment, which has the official openai client. If a check fails, the script ends with a
message and writes no output. The server is stopped in any case.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import functools
import itertools
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
from entitune.files import write_json
from entitune.processes import die_with_parent
from entitune.records import read_sentences
from entitune.serving.finished_runs import KEY_VARIABLE, FinishedRun, finished_run
from entitune.serving.run_requests import constraint_on, read_answer_to, request_of
from entitune.study import read_study

if TYPE_CHECKING:
    import openai

BURST = 200
PERCENTILES = (50, 90, 95, 99)
SECONDS_TO_STOP = 120


def expect(condition: bool, message: str) -> None:
    """Raise an InputError with the message unless the condition holds."""
    if not condition:
        raise InputError(message)


def free_port() -> int:
    """Return a free port of this machine."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def served(options: Sequence[str], key: str, port: int) -> Iterator[dict[str, float]]:
    """Run serve_runs.py during the block. Yields a dictionary for the seconds of the start and, later, of the stop.

    Raises InputError if the server does not start or leaves a process behind, which is then killed.
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
        expect(ready, "the server did not start; see its message above")
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
    expect(process.returncode == 0, f"serve_runs.py ended with exit code {process.returncode} after SIGTERM")


def health(url: str) -> int:
    """Return the status of /health, which needs no key."""
    with requests.Session() as session:
        session.trust_env = False  # do not send local requests to a proxy
        status = session.get(f"{url}/health", timeout=30).status_code
    expect(status == 200, f"/health has the status {status}, expected 200")
    return status


def names(client: openai.OpenAI, name: str) -> list[str]:
    """Return the names of the served models. Raises InputError unless the run is listed and found by its name."""
    models = [model.id for model in client.models.list()]
    expect(name in models, f"/v1/models does not list {name}; it lists: {', '.join(models)}")
    expect(client.models.retrieve(name).id == name, f"/v1/models/{name} is another model")
    return models


def refusals(url: str, key: str) -> dict[str, int]:
    """Return the statuses of a malformed request, of one without the key and of one for an unknown path."""
    with requests.Session() as session:
        session.trust_env = False
        known = {"Authorization": f"Bearer {key}"}
        chat = f"{url}/v1/chat/completions"
        refused = {
            "malformed": session.post(chat, data='{"model": ', headers=known, timeout=30).status_code,
            "without_key": session.post(chat, json={}, timeout=30).status_code,
            "unknown_path": session.post(f"{url}/invocations", json={}, timeout=30).status_code,
        }
    expect(refused == {"malformed": 400, "without_key": 401, "unknown_path": 404}, f"unexpected refusals: {refused}")
    return refused


def openai_arguments(body: dict[str, Any]) -> dict[str, Any]:
    """Return the arguments of the official client for a request; keys that only vLLM knows go into `extra_body`."""
    known = {key: value for key, value in body.items() if key != "structured_outputs"}
    return known | {"extra_body": {key: value for key, value in body.items() if key not in known}}


def ask_once(client: openai.OpenAI, served_run: FinishedRun, text: str, structured: bool) -> dict[str, Any]:
    """Ask about a sentence and return it with its answer. `structured` constrains the answer to its format."""
    body = request_of(served_run, text)
    if structured:
        body["structured_outputs"] = constraint_on(served_run, text)
    choice = client.chat.completions.create(**openai_arguments(body)).choices[0]
    raw, finish_reason = choice.message.content or "", choice.finish_reason
    if structured:
        answer = read_answer_to(served_run, text, raw, finish_reason)
        unknown = {mention.label for mention in answer.mentions} - set(served_run.labels)
        expect(not unknown, f"unknown labels despite the constraint: {', '.join(sorted(unknown))}")
        expect(answer.status in ("ok", "truncated"), f"wrong answer format despite the constraint: {raw}")
    return {"sentence": text, "answer": raw, "finish_reason": finish_reason}


async def burst(client: openai.AsyncOpenAI, served_run: FinishedRun, texts: Sequence[str]) -> dict[str, Any]:
    """Ask about all sentences at once and return latencies and throughput."""
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


def check(served_run: FinishedRun, options: Sequence[str], texts: Sequence[str], key: str) -> dict[str, Any]:
    """Serve a run with these options of serve_runs.py and return the result of each check."""
    import openai  # late: only the predict environments have it, but --help works in all

    os.environ["NO_PROXY"] = "127.0.0.1"  # otherwise the openai client would use a proxy
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    with served(options, key, port) as seconds, openai.OpenAI(base_url=f"{url}/v1", api_key=key) as client:
        found = {
            "health": health(url),
            "models": names(client, served_run.name),
            "chat": ask_once(client, served_run, texts[0], structured=False),
            "structured": ask_once(client, served_run, texts[0], structured=True),
            "refused": refusals(url, key),
        }
        crowd = openai.AsyncOpenAI(base_url=f"{url}/v1", api_key=key, max_retries=10, timeout=600)
        found["burst"] = asyncio.run(burst(crowd, served_run, list(itertools.islice(itertools.cycle(texts), BURST))))
    return {**found, "seconds": seconds}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--run", required=True, help="name of a finished run")
    parser.add_argument("--seed", type=int, required=True, help="seed of the run")
    parser.add_argument("--sentences", required=True, help="canonical JSONL with the sentences to ask about")
    parser.add_argument("--server-log", required=True, help="log file to append vLLM's output to")
    parser.add_argument("--output", required=True, help="JSON: the result of each check")
    args = parser.parse_args()

    finished = finished_run(read_study(), args.run, args.seed)
    texts = [sentence.text for sentence in read_sentences(args.sentences)]
    key = secrets.token_urlsafe(32)
    options = ["--runs", args.run, "--seed", str(args.seed), "--log", args.server_log]
    found = check(finished, options, texts, key)
    expect(key not in Path(args.server_log).read_text(encoding="utf-8"), f"{args.server_log} contains the API key")
    write_json(args.output, {"run": args.run, "seed": args.seed, **found})


if __name__ == "__main__":
    run(main)
