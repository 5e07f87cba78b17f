"""Run vLLM's server for finished runs: make its command line and environment, start it, wait for it and stop it."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import functools
import json
import os
import re
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import requests

from entitune.cli import InputError
from entitune.engines.vllm_settings import engine_arguments, engine_environment
from entitune.files import read_json
from entitune.processes import die_with_parent
from entitune.prompting.chat import is_control_token, text_of_template
from entitune.registries import Model
from entitune.serving import vllm_process
from entitune.serving.chat_requests import ServedRun
from entitune.serving.finished_runs import KEY_VARIABLE, FinishedRun, is_loopback
from entitune.serving.middleware import VARIABLE, GuardSettings
from entitune.serving.run_requests import version_of
from entitune.serving.supervisor import supervised

SECONDS_TO_FINISH = 60
"""How long active requests may take after a stop was requested."""
SECONDS_TO_STOP = 30
"""How long the processes may take to end after that."""
LOG_WIDTH = 300
"""How many characters of a log line are shown. vLLM prints its complete configuration in one line."""
OUT_OF_MEMORY = re.compile(
    r"out of memory|OutOfMemoryError|MemoryError|bad_alloc|annot allocate memory|No available memory for the cache"
    r"|Free memory on device|larger than the available KV cache memory|failed to map segment"
)
FIRST_ERROR = re.compile(r"^(?:\(.*?\) )?(?:ERROR .*?\] )?((?:\w+\.)*\w+(?:Error|Exception): .*)$", re.MULTILINE)
PACKAGES = Path(__file__).parent.parent.parent
"""The folder that contains the package entitune."""


def check_together(runs: Sequence[FinishedRun]) -> None:
    """Raise InputError if one server cannot serve these runs together."""
    first = runs[0]
    for other in runs[1:]:
        if other.base != first.base:
            raise InputError(
                f"{first.name} has base model {first.model}, but {other.name} has {other.model}; "
                "start one server for each base model, each with its own --port"
            )
        for setting in ("gpus", "dtype"):
            if getattr(other.decode, setting) != getattr(first.decode, setting):
                raise InputError(f"{first.name} and {other.name} differ in {setting}; start one server for each")


def server_command(runs: Sequence[FinishedRun], python: Path, entry: Model, host: str, port: int) -> list[str]:
    """Return the command line of vLLM's server for these runs.

    Args:
        runs: runs of one base model.
        python: the interpreter of the environment with vLLM.
        entry: the base model's entry in conf/models.yaml.
        host: the name or address to listen on.
        port: the port to listen on.
    """
    first = runs[0]
    modules: list[FinishedRun] = []
    if len(runs) == 1 and first.merged:
        model, names = first.merged, [first.name]
    else:
        modules = [one for one in runs if one.adapter]
        model, names = first.base, [first.model, *(one.name for one in runs if not one.adapter)]
    decode = first.decode.engine_settings()
    decode["max_model_len"] = max(one.decode.max_model_len for one in runs)
    decode["max_num_seqs"] = max(one.decode.max_num_seqs for one in runs)
    arguments = engine_arguments(decode, [one.adapter for one in modules if one.adapter])
    command = [str(python), "-m", vllm_process.__name__]
    command += ["--model", str(model), "--served-model-name", *names]
    for name, value in arguments.items():
        command += [f"--{name.replace('_', '-')}", *([] if value is True else [str(value)])]
    if modules:  # as JSON: a run of a sweep has "=" in its name
        command += ["--lora-modules", *(json.dumps({"name": one.name, "path": str(one.adapter)}) for one in modules)]
    command += ["--host", host, "--port", str(port), "--middleware", "entitune.serving.middleware.Guard"]
    # /metrics is closed, and its statistics took 5 % of the engine's time and 15 % of the API server's.
    command += ["--disable-log-stats"]
    # The default for clients that do not send chat_template_kwargs: the settings that the run was trained with.
    command += ["--default-chat-template-kwargs", json.dumps(entry.chat.template_arguments), "--disable-fastapi-docs"]
    return command + (["--trust-remote-code"] if entry.trust_remote_code else [])


def control_tokens_of(model: Path) -> tuple[str, ...]:
    """Find the control tokens of a model as `chat.control_tokens` does, from the tokenizer's files alone."""
    path, settings, jinja = (
        model / name for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja")
    )
    if not path.is_file():
        return ()
    tokenizer = read_json(path)
    config = read_json(settings) if settings.is_file() else {}
    template = jinja.read_text(encoding="utf-8") if jinja.is_file() else text_of_template(config.get("chat_template"))
    unknown, *marks = (
        one["content"] if isinstance(one := config.get(f"{name}_token"), dict) else one
        for name in ("unk", "eos", "bos", "pad")
    )
    unknown = unknown or tokenizer["model"].get("unk_token")
    return tuple(
        token["content"]
        for token in tokenizer["added_tokens"]
        if is_control_token(token["content"], token["special"], template, None if unknown in marks else unknown)
    )


def guard_settings(runs: Sequence[FinishedRun], host: str, names: Sequence[str] = ()) -> GuardSettings:
    """Return the settings of the guard. `names` are further host names of the server."""
    hosts = {host, *names} if is_loopback(host) else {host, *names, socket.gethostname(), socket.getfqdn()}
    return GuardSettings(
        limit=2 * max(one.decode.max_num_seqs for one in runs),  # as many may wait as are answered at once
        hosts=tuple(sorted(name.lower().strip("[]").rstrip(".") for name in hosts)),
        any_address=host in ("0.0.0.0", "::"),
        runs={one.name: ServedRun(one.answer_format, one.labels, one.prompt.user) for one in runs},
        versions={one.name: version_of(one) for one in runs},
        control_tokens=control_tokens_of(runs[0].base),
        seconds_to_finish=SECONDS_TO_FINISH,
    )


def server_environment(runs: Sequence[FinishedRun], key: str | None, guard: GuardSettings) -> dict[str, str]:
    """Return the environment of vLLM's server. It includes the key, because other users can read command lines."""
    decode = runs[0].decode
    environment = {name: value for name, value in os.environ.items() if name not in (KEY_VARIABLE, "VLLM_API_KEY")}
    environment |= engine_environment(decode.gpus, max(one.decode.threads for one in runs))
    environment[VARIABLE] = guard.to_json()
    environment["VLLM_MAX_N_SEQUENCES"] = "1"  # the most answers to one request
    environment["PYTHONPATH"] = f"{PACKAGES}:{os.environ.get('PYTHONPATH', '')}".rstrip(":")
    return environment | ({"VLLM_API_KEY": key} if key else {})


def check_port(host: str, port: int) -> None:
    """Raise InputError if vLLM could not listen. vLLM itself would fail after half a minute of loading."""
    if not 1 <= port <= 65535:
        raise InputError(f"there is no port {port}; choose one from 1 to 65535 with --port")
    try:
        family, kind, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
            probe.listen()
    except OSError as error:
        raise refusal_to_listen(host, port, error) from error


def refusal_to_listen(host: str, port: int, error: OSError) -> InputError:
    """Return the error for an address on which the server cannot listen."""
    if error.errno == errno.EADDRINUSE:
        return InputError(f"port {port} of {host} is used by another process; choose another one with --port")
    return InputError(f"cannot listen on {host}, port {port}: {error.strerror}")


def reachable(host: str) -> str:
    """Return the address at which this machine reaches a server that listens on `host`."""
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    return f"[{host}]" if ":" in host else host


@dataclass(frozen=True)
class ServerLog:
    """The output of one server in a log file, which may begin with the output of earlier servers."""

    path: Path
    start: int = 0
    """The offset of this server's part, in bytes."""

    def text(self) -> str:
        """Return what this server has written to the log."""
        with self.path.open("rb") as stream:
            stream.seek(self.start)
            return stream.read().decode("utf-8", "replace")


@contextlib.contextmanager
def open_log(path: Path) -> Iterator[tuple[ServerLog, int]]:
    """Open a log to append to. Yield it and its file descriptor.

    Raises InputError if another server, which may still be loading, writes to the log.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)  # held until its last writer has ended
        except BlockingIOError as error:
            raise InputError(f"another server writes to {path}; stop it, or choose another --port or --log") from error
        yield ServerLog(path, stream.seek(0, os.SEEK_END)), stream.fileno()


def failure(what: str, log: ServerLog, returncode: int | None = None) -> InputError:
    """Return the error for a server that failed: what happened, the cause if it is known, and the end of its log."""
    text = log.text()
    if returncode == 128 + signal.SIGKILL or OUT_OF_MEMORY.search(text):
        what += ": out of memory; reduce max_num_seqs or max_model_len in conf/decode.yaml, or use a larger machine"
    elif first := FIRST_ERROR.search(text):  # vLLM's last lines only say that something failed
        what += f": {first[1]}"
    tail = "\n".join(line[:LOG_WIDTH] for line in text.splitlines()[-15:])
    return InputError(f"{what}; the end of {log.path}:\n{tail}")


@contextlib.contextmanager
def started(command: Sequence[str], environment: Mapping[str, str], output: int) -> Iterator[subprocess.Popen[bytes]]:
    """Start a process, and stop it with all processes that it has started when the block ends.

    `output` is the file descriptor that it writes to.
    """
    process = subprocess.Popen(
        supervised(command, SECONDS_TO_FINISH + SECONDS_TO_STOP),
        stdout=output,
        stderr=subprocess.STDOUT,
        env=environment,
        start_new_session=True,  # Ctrl-C must reach only this script, which then stops the server
        preexec_fn=functools.partial(die_with_parent, signal.SIGTERM),
    )
    try:
        yield process
    finally:
        try:
            process.terminate()
            process.wait()
        finally:  # a second Ctrl-C interrupts the wait above
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def wait_until_healthy(process: subprocess.Popen[bytes], address: str, seconds: float, log: ServerLog) -> None:
    """Wait until the server is healthy. Raises InputError if it ends before, or is not healthy in time."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise failure(f"vLLM ended with exit code {process.returncode} while loading", log, process.returncode)
        with contextlib.suppress(requests.RequestException), requests.Session() as session:
            session.trust_env = False
            if session.get(f"{address}/health", timeout=5).ok:
                process.send_signal(signal.SIGUSR1)  # from now on, stopping must wait for active requests
                return
        time.sleep(0.5)
    raise failure(f"vLLM was not ready within {seconds:g} s (--start-timeout)", log)
