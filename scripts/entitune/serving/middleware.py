"""Check requests before they reach vLLM's routes: few paths, limited size, allowed content, limited concurrency.

vLLM loads the class Guard as middleware (--middleware entitune.serving.middleware.Guard) in the server's process. The
API key of vLLM protects only /v1; other paths, such as /invocations, answer the same requests without a key.
"""

from __future__ import annotations

import asyncio
import ipaddress
import json
import os
import signal
import urllib.parse
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from dataclasses import asdict, dataclass
from typing import Any, TypeAlias

from entitune.serving.chat_requests import ServedRun, objection

Message: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]
App: TypeAlias = Callable[[Message, Receive, Send], Awaitable[None]]

HEALTH, MODELS, CHAT = "/health", "/v1/models", "/v1/chat/completions"
MAX_BODY = 256 * 1024
"""The most bytes of a request's body: several times the longest prompt for the longest context in conf/."""
SECONDS_FOR_BODY = 10
STOPPING = "the server is stopping"
SECONDS_TO_TAKE = 60
"""How long a client may take to receive a part of its answer."""
VARIABLE = "ENTITUNE_GUARD"
"""The environment variable with the settings as JSON. vLLM passes no arguments to a middleware."""


@dataclass(frozen=True)
class GuardSettings:
    """The settings that serve_runs.py passes to the guard in the server's process."""

    limit: int
    """The most concurrent chat requests."""
    hosts: tuple[str, ...]
    """Names and addresses that requests may have as their host, in lower case, in addition to the loopback's."""
    any_address: bool
    """Whether the host may be any IP address, because the server listens on all of them."""
    runs: Mapping[str, ServedRun]
    """The name of a run -> the form of its requests and answers."""
    versions: Mapping[str, str]
    """The name of a run -> the SHA-256 of everything that its answers depend on."""
    control_tokens: tuple[str, ...]
    """The control tokens of the model, which no text may contain."""
    seconds_to_finish: float
    """How long active requests may take after a stop was requested."""

    def to_json(self) -> str:
        """Write the settings for the server's process."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> GuardSettings:
        """Read the settings that `to_json` wrote."""
        settings = json.loads(text)
        return cls(**{**settings, "runs": {name: ServedRun(**run) for name, run in settings["runs"].items()}})


class Guard:
    """ASGI middleware that refuses requests or passes them on to vLLM."""

    def __init__(self, app: App) -> None:
        self.app = app
        self.settings = GuardSettings.from_json(os.environ[VARIABLE])
        self.active = 0
        self.draining = False

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Refuse a request or pass it on."""
        if scope["type"] == "lifespan":
            asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, self.drain)
            return await self.app(scope, receive, send)
        if scope["type"] != "http":
            return await send({"type": "websocket.close"})
        path = scope["path"]
        if self.draining:
            await refuse(send, 503, STOPPING)
        elif not self.is_own_host(scope):
            await refuse(send, 403, "this server has another host name; serve_runs.py --allow-host NAME adds a name")
        elif path not in (HEALTH, MODELS, CHAT) and not path.startswith(f"{MODELS}/"):
            await refuse(send, 404, f"there is no {path}; the paths are {HEALTH}, {MODELS}, {MODELS}/NAME and {CHAT}")
        else:
            await self.pass_on(scope, receive, send)

    def is_own_host(self, scope: Message) -> bool:
        """Return whether the request's host is this server. Another name may resolve to it (DNS rebinding)."""
        named = [value.decode("latin-1") for name, value in scope["headers"] if name == b"host"]
        if len(named) != 1:
            return False
        try:
            host = (urllib.parse.urlsplit(f"//{named[0]}").hostname or "").rstrip(".")
        except ValueError:
            return False
        if host == "localhost" or host in self.settings.hosts:
            return True
        try:
            address = ipaddress.ip_address(host)
        except ValueError:
            return False
        return self.settings.any_address or address.is_loopback

    async def pass_on(self, scope: Message, receive: Receive, send: Send) -> None:
        """Read the complete request (its headers cannot be trusted), check it, and pass it on to vLLM."""
        try:
            async with asyncio.timeout(SECONDS_FOR_BODY):
                body = await read_body(receive)
        except TimeoutError:
            return await refuse(send, 408, f"the request did not arrive within {SECONDS_FOR_BODY} s")
        except ConnectionError:
            return None  # the client has left
        if body is None:
            return await refuse(send, 413, f"a request may have {MAX_BODY} bytes at most")
        if self.draining:  # this may have begun while the body arrived
            return await refuse(send, 503, STOPPING)
        if scope["method"] == "GET" and scope["path"].startswith(MODELS):
            return await self.answer_models(scope, receive, send)
        if scope["path"] != CHAT or scope["method"] != "POST":  # these have no limit: a busy server is healthy
            return await self.app(scope, replay(body, receive), send)
        if reason := objection(body, self.settings.runs, self.settings.control_tokens):
            return await refuse(send, 400, reason)
        if self.active >= self.settings.limit:
            return await refuse(send, 503, f"{self.settings.limit} requests are already active; try again later")
        self.active += 1
        try:
            await self.app(scope, replay(body, receive), bounded(send))
        finally:
            self.active -= 1
            if self.draining and not self.active:
                self.finish()

    async def answer_models(self, scope: Message, receive: Receive, send: Send) -> None:
        """Answer with vLLM's list of models, or the model in the path. Each run has its version added."""
        parts: list[Message] = []

        async def keep(message: Message) -> None:
            parts.append(message)

        await self.app({**scope, "path": MODELS, "raw_path": MODELS.encode()}, replay(b"", receive), keep)
        if parts[0]["status"] != 200:
            for part in parts:
                await send(part)
            return None
        listed = json.loads(b"".join(part.get("body", b"") for part in parts[1:]))
        for model in listed["data"]:
            if version := self.settings.versions.get(model["id"]):
                model["version"] = version
        if scope["path"] == MODELS:
            return await answer(send, 200, listed)
        name = scope["path"].removeprefix(f"{MODELS}/")
        for model in listed["data"]:
            if model["id"] == name:
                return await answer(send, 200, model)
        return await refuse(send, 404, f"this server has no model {name!r}", keep=True)

    def drain(self) -> None:
        """Stop accepting requests, and stop the server when the active ones are answered."""
        self.draining = True
        if self.active:
            asyncio.get_running_loop().call_later(self.settings.seconds_to_finish, self.finish)
        else:
            self.finish()

    def finish(self) -> None:
        """End the server's process."""
        os.kill(os.getpid(), signal.SIGTERM)


def replay(body: bytes, receive: Receive) -> Receive:
    """Return a `receive` that first returns a body that has been read."""
    unread = [body]

    async def receive_again() -> Message:
        if unread:
            return {"type": "http.request", "body": unread.pop(), "more_body": False}
        return await receive()  # tells vLLM that the client has left, so that it stops answering

    return receive_again


def bounded(send: Send) -> Send:
    """Return a `send` that raises TimeoutError if the client receives nothing for SECONDS_TO_TAKE."""

    async def send_in_time(message: Message) -> None:
        async with asyncio.timeout(SECONDS_TO_TAKE):
            await send(message)

    return send_in_time


async def read_body(receive: Receive) -> bytes | None:
    """Return a request's body, or None if it is too long. Raises ConnectionError if the client leaves."""
    body = b""
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ConnectionResetError
        body += bytes(message.get("body", b""))
        if len(body) > MAX_BODY:
            return None
        if not message.get("more_body"):
            return body


async def answer(send: Send, status: int, content: Any, headers: Mapping[str, str] | None = None) -> None:
    """Answer with JSON."""
    body = json.dumps(content).encode("ascii")
    every = {"content-type": "application/json", "content-length": str(len(body)), **(headers or {})}
    head = [(name.encode("ascii"), value.encode("ascii")) for name, value in every.items()]
    await send({"type": "http.response.start", "status": status, "headers": head})
    await send({"type": "http.response.body", "body": body})


async def refuse(send: Send, status: int, message: str, keep: bool = False) -> None:
    """Answer with an error in the form of OpenAI's API.

    The connection is closed unless `keep`, because the rest of the body may still arrive.
    """
    error = {"error": {"message": message, "type": "invalid_request_error", "param": None, "code": status}}
    await answer(send, status, error, None if keep else {"connection": "close"})
