"""Serve finished runs with vLLM's OpenAI-compatible server until it is stopped. Each model has the name of its run.

    python scripts/serve_runs.py --runs demo --ui

On a GPU, the server loads the base model and the runs' adapters. On a CPU, it loads the merged model of one run, or
serves several runs of one base model unmerged, which is slower. docs/serving.md explains the options.
"""

from __future__ import annotations

import argparse
import json
import shlex
import signal
import sys
import threading
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import Any

from entitune import paths
from entitune.cli import InputError, run
from entitune.serving.demo_page import listen
from entitune.serving.demo_page_template import EXAMPLES
from entitune.serving.finished_runs import (
    KEY_VARIABLE,
    FinishedRun,
    finished_run,
    is_loopback,
    read_key,
    require,
)
from entitune.serving.run_requests import request_of
from entitune.serving.server import (
    check_port,
    check_together,
    failure,
    guard_settings,
    open_log,
    reachable,
    refusal_to_listen,
    server_command,
    server_environment,
    started,
    wait_until_healthy,
)
from entitune.study import read_study


def curl_line(address: str, first: FinishedRun, key_file: Path | None, key: str | None) -> str:
    """Return a curl command that asks for the entities of a sentence. It refers to the API key but does not show it."""
    key_text = f"$(cat {shlex.quote(str(key_file))})" if key_file else f"${KEY_VARIABLE}"
    authorization = f' -H "Authorization: Bearer {key_text}"' if key else ""
    body = json.dumps(request_of(first, EXAMPLES[0]), ensure_ascii=False)
    return (
        f"curl {address}/v1/chat/completions -H 'Content-Type: application/json'{authorization} -d {shlex.quote(body)}"
    )


def open_page(runs: list[FinishedRun], address: str, key: str | None, port: int) -> ThreadingHTTPServer:
    """Return the page's server, bound to a port of this machine. Raises InputError if that fails."""
    if port > 65535:
        raise InputError(f"the page needs the port after --port, but {port} is not a port; choose a smaller --port")
    try:
        return listen(runs, address, key, port)
    except OSError as error:
        raise refusal_to_listen("127.0.0.1", port, error) from error


def stop(*_: Any) -> None:
    """End the script and the server. A signal handler."""
    sys.exit(0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", required=True, help="runs of conf/runs.tsv, comma-separated")
    parser.add_argument("--seed", type=int, help="seed of the runs (default: the first of each)")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen at (default: %(default)s)")
    parser.add_argument("--port", type=int, default=8000, help="port to listen at (default: %(default)s)")
    parser.add_argument(
        "--allow-host",
        action="append",
        default=[],
        metavar="NAME",
        help="another host name that requests may use for this server, such as a proxy's; may be repeated",
    )
    parser.add_argument("--api-key-file", type=Path, help=f"file with the API key (default: {KEY_VARIABLE}, or no key)")
    parser.add_argument("--ui", action="store_true", help="serve a page to try sentences, at the port after --port")
    parser.add_argument(
        "--start-timeout", type=float, default=600, help="seconds until the server must be ready (default: %(default)s)"
    )
    parser.add_argument(
        "--log", type=Path, help="log file to append vLLM's output to (default: logs/serve_runs.PORT.log)"
    )
    args = parser.parse_args()

    key = read_key(args.api_key_file)
    if not is_loopback(args.host) and not key:
        raise InputError(
            f"--host {args.host} can be reached from other machines: give an API key, in a file (--api-key-file) or in "
            f"the environment ({KEY_VARIABLE})"
        )
    check_port(args.host, args.port)
    study = read_study()
    runs = [finished_run(study, name, args.seed) for name in dict.fromkeys(args.runs.split(","))]
    check_together(runs)
    if len(runs) > 1 and any(one.merged for one in runs):
        print("several runs on a CPU are served unmerged, which is slower than one server per run", file=sys.stderr)
    env = runs[0].decode.environment
    require([paths.environment(env)], "the environment that serves is not built")
    entry = study.models[runs[0].model]
    command = server_command(runs, Path(paths.python(env)), entry, args.host, args.port)
    environment = server_environment(runs, key, guard_settings(runs, args.host, args.allow_host))
    address = f"http://{reachable(args.host)}:{args.port}"
    page = open_page(runs, address, key, args.port + 1) if args.ui else None

    signal.signal(signal.SIGTERM, stop)
    path = args.log or Path(f"logs/serve_runs.{args.port}.log")
    with open_log(path) as (log, output):
        print(f"Loading {args.runs}; vLLM's own output: {path}", file=sys.stderr, flush=True)
        with started(command, environment, output) as process:
            wait_until_healthy(process, address, args.start_timeout, log)
            print(f"Serving at {address}/v1\nModels: {', '.join(one.name for one in runs)}")
            print(curl_line(address, runs[0], args.api_key_file, key))
            if page:
                threading.Thread(target=page.serve_forever, daemon=True).start()
                print(f"Page: http://127.0.0.1:{page.server_port}/")
            print("Ctrl-C or SIGTERM stops the server; it first finishes current requests.", flush=True)
            process.wait()
            raise failure(f"vLLM ended with exit code {process.returncode}", log, process.returncode)


if __name__ == "__main__":
    run(main)
