"""Serve finished runs with vLLM's OpenAI-compatible server, each under its run's name, until it is stopped.

    python scripts/serve_runs.py --runs demo --ui

On a GPU the base model with the runs' adapters beside it; on a CPU the merged model of one run, or several runs of one
base unmerged, which is slower. docs/serving.md has the rest.
"""

from __future__ import annotations

import argparse
import contextlib
import errno
import functools
import json
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import Any

import requests

from entitune import paths
from entitune.cli import InputError, run
from entitune.engines.vllm_settings import engine_environment, engine_settings
from entitune.processes import die_with_parent
from entitune.serving.client import request_of
from entitune.serving.demo_page import listen
from entitune.serving.finished_runs import (
    KEY_VARIABLE,
    FinishedRun,
    finished_run,
    is_loopback,
    read_key,
    require,
)
from entitune.serving.middleware import LIMIT_VARIABLE
from entitune.serving.supervisor import kept
from entitune.study import read_study

SECONDS_TO_FINISH = 60
"""How long requests under way may take after SIGTERM."""
SECONDS_TO_STOP = 30
"""How long the processes may take after that."""
LOG_WIDTH = 300
"""Characters of a log's line that are shown: vLLM prints its whole configuration in one."""
EXAMPLE = "温格的球队在北京战胜曼联。"
OUT_OF_MEMORY = re.compile(
    r"out of memory|OutOfMemoryError|MemoryError|bad_alloc|annot allocate memory|No available memory for the cache"
    r"|Free memory on device|larger than the available KV cache memory|failed to map segment"
)
FIRST_ERROR = re.compile(r"^(?:\(.*?\) )?(?:ERROR .*?\] )?((?:\w+\.)*\w+(?:Error|Exception): .*)$", re.MULTILINE)


def check_together(runs: Sequence[FinishedRun]) -> None:
    """Raise InputError where one server cannot hold these runs."""
    first = runs[0]
    for other in runs[1:]:
        if other.base != first.base:
            raise InputError(
                f"{first.name} is of base model {first.model}, {other.name} of {other.model}: one server has one base; "
                "start a server for each, with a --port of its own"
            )
        for setting in ("gpus", "dtype"):
            if getattr(other.decode, setting) != getattr(first.decode, setting):
                raise InputError(f"{first.name} and {other.name} differ in {setting}: start a server for each")


def server_command(runs: Sequence[FinishedRun], python: Path, trusted: bool, host: str, port: int) -> list[str]:
    """The command line of vLLM's server for these runs."""
    first = runs[0]
    modules: list[FinishedRun] = []
    if len(runs) == 1 and first.merged:
        model, names = first.merged, [first.name]
    else:
        modules = [one for one in runs if one.adapter]
        model, names = first.base, [first.model, *(one.name for one in runs if not one.adapter)]
    widest = {key: max(getattr(one.decode, key) for one in runs) for key in ("max_model_len", "max_num_seqs")}
    decode = {**first.decode.engine_settings(), **widest}
    settings = engine_settings(decode, [one.adapter for one in modules if one.adapter])
    command = [str(python), "-m", "vllm.entrypoints.openai.api_server"]
    command += ["--model", str(model), "--served-model-name", *names]
    for name, value in settings.items():
        command += [f"--{name.replace('_', '-')}", *([] if value is True else [str(value)])]
    if modules:  # as JSON: a run of a sweep has "=" in its name
        command += ["--lora-modules", *(json.dumps({"name": one.name, "path": str(one.adapter)}) for one in modules)]
    command += ["--host", host, "--port", str(port), "--middleware", "entitune.serving.middleware.Guard"]
    command += ["--shutdown-timeout", str(SECONDS_TO_FINISH), "--disable-fastapi-docs"]
    return command + (["--trust-remote-code"] if trusted else [])


def server_environment(runs: Sequence[FinishedRun], key: str | None) -> dict[str, str]:
    """The environment of vLLM's server. The key travels in it: command lines are for all to see, and are logged."""
    decode = runs[0].decode
    environment = {name: value for name, value in os.environ.items() if name not in (KEY_VARIABLE, "VLLM_API_KEY")}
    environment |= engine_environment(decode.gpus, max(one.decode.threads for one in runs))
    # As many as are answered at once, and as many that wait.
    environment[LIMIT_VARIABLE] = str(2 * max(one.decode.max_num_seqs for one in runs))
    environment["VLLM_MAX_N_SEQUENCES"] = "1"  # answers to one question
    environment["PYTHONPATH"] = f"{Path(__file__).parent}:{os.environ.get('PYTHONPATH', '')}".rstrip(":")
    return environment | ({"VLLM_API_KEY": key} if key else {})


def check_port(host: str, port: int) -> None:
    """Raise InputError where vLLM could not listen. It would say so after half a minute of loading."""
    try:
        family, kind, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
            probe.listen()
    except OSError as error:
        raise refusal_to_listen(host, port, error) from error


def refusal_to_listen(host: str, port: int, error: OSError) -> InputError:
    if error.errno == errno.EADDRINUSE:
        return InputError(f"port {port} of {host} is taken by another process; choose another with --port")
    return InputError(f"cannot listen at {host}, port {port}: {error.strerror}")


def reachable(host: str) -> str:
    """The address under which this machine reaches a server that listens at `host`."""
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    return f"[{host}]" if ":" in host else host


def failure(what: str, log: Path, returncode: int | None = None) -> InputError:
    """Why a server is not there: what happened, what it means, the end of its log."""
    text = log.read_text(encoding="utf-8", errors="replace")
    if returncode == 128 + signal.SIGKILL or OUT_OF_MEMORY.search(text):
        what += ": memory ran out; smaller max_num_seqs or max_model_len in conf/decode.yaml, or a machine with more"
    elif first := FIRST_ERROR.search(text):  # the last lines are vLLM's, which only says that something failed
        what += f": {first[1]}"
    tail = "\n".join(line[:LOG_WIDTH] for line in text.splitlines()[-15:])
    return InputError(f"{what}; the end of {log}:\n{tail}")


@contextlib.contextmanager
def started(command: Sequence[str], environment: dict[str, str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A process that is stopped when the block ends, and with it all that it has started."""
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("wb") as stream:
        process = subprocess.Popen(
            kept(command, SECONDS_TO_FINISH + SECONDS_TO_STOP),
            stdout=stream,
            stderr=subprocess.STDOUT,
            env=environment,
            start_new_session=True,  # Ctrl-C is for this script, which then stops the server
            preexec_fn=functools.partial(die_with_parent, signal.SIGTERM),
        )
        try:
            yield process
        finally:
            try:
                process.terminate()
                process.wait()
            finally:  # a second Ctrl-C does not wait
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                process.wait()


def wait_until_healthy(process: subprocess.Popen[bytes], address: str, seconds: float, log: Path) -> None:
    """Raise InputError where the server ends before it is healthy, or does not become so in time."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise failure(f"vLLM ended with exit code {process.returncode} while loading", log, process.returncode)
        with contextlib.suppress(requests.RequestException), requests.Session() as session:
            session.trust_env = False
            if session.get(f"{address}/health", timeout=5).ok:
                process.send_signal(signal.SIGUSR1)  # from now on there may be requests to finish
                return
        time.sleep(0.5)
    raise failure(f"vLLM was not ready within {seconds:g} s (--start-timeout)", log)


def curl_line(address: str, first: FinishedRun, key_file: Path | None, key: str | None) -> str:
    """A command that asks for the entities of a sentence; it names where the key is, not the key."""
    key_text = f"$(cat {shlex.quote(str(key_file))})" if key_file else f"${KEY_VARIABLE}"
    authorization = f' -H "Authorization: Bearer {key_text}"' if key else ""
    body = json.dumps(request_of(first, EXAMPLE), ensure_ascii=False)
    return (
        f"curl {address}/v1/chat/completions -H 'Content-Type: application/json'{authorization} -d {shlex.quote(body)}"
    )


def stop(*_: Any) -> None:
    sys.exit(0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", required=True, help="runs of conf/runs.tsv, comma-separated")
    parser.add_argument("--seed", type=int, help="which seed of the runs (default: the first of each)")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen at (default: %(default)s)")
    parser.add_argument("--port", type=int, default=8000, help="port to listen at (default: %(default)s)")
    parser.add_argument("--api-key-file", type=Path, help=f"file with the API key (default: {KEY_VARIABLE}, or none)")
    parser.add_argument("--ui", action="store_true", help="a page to try sentences on, at the port after --port")
    parser.add_argument(
        "--start-timeout", type=float, default=600, help="seconds in which it must be ready (default: %(default)s)"
    )
    parser.add_argument(
        "--log", type=Path, default=Path("logs/serve_runs.log"), help="vLLM's own output (default: %(default)s)"
    )
    args = parser.parse_args()

    key = read_key(args.api_key_file)
    if not is_loopback(args.host) and not key:
        raise InputError(
            f"--host {args.host} can be reached from other machines: give an API key, in a file (--api-key-file) or in "
            f"the environment ({KEY_VARIABLE})"
        )
    study = read_study()
    runs = [finished_run(study, name, args.seed) for name in dict.fromkeys(args.runs.split(","))]
    check_together(runs)
    if len(runs) > 1 and any(one.merged for one in runs):
        print("several runs on a CPU are served unmerged: slower than a server for each", file=sys.stderr)
    env = runs[0].decode.environment
    require([paths.environment(env)], "the environment that serves is not built")
    trusted = study.models[runs[0].model].trust_remote_code
    command = server_command(runs, Path(paths.python(env)), trusted, args.host, args.port)
    check_port(args.host, args.port)
    address = f"http://{reachable(args.host)}:{args.port}"
    page: ThreadingHTTPServer | None = None
    if args.ui:
        try:
            page = listen(runs, address, key, args.port + 1)
        except OSError as error:
            raise refusal_to_listen("127.0.0.1", args.port + 1, error) from error

    signal.signal(signal.SIGTERM, stop)
    print(f"Loading {args.runs}; vLLM's own output: {args.log}", file=sys.stderr, flush=True)
    with started(command, server_environment(runs, key), args.log) as process:
        wait_until_healthy(process, address, args.start_timeout, args.log)
        print(f"Serving at {address}/v1\nModels: {', '.join(one.name for one in runs)}")
        print(curl_line(address, runs[0], args.api_key_file, key))
        if page:
            threading.Thread(target=page.serve_forever, daemon=True).start()
            print(f"Page: http://127.0.0.1:{page.server_port}/")
        print("Ctrl-C or SIGTERM stops it; requests under way are finished.", flush=True)
        process.wait()
        raise failure(f"vLLM ended with exit code {process.returncode}", args.log, process.returncode)


if __name__ == "__main__":
    run(main)
