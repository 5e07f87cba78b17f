"""What a request passes before vLLM's own routes: few paths, checked and bounded requests, a bounded number at once.

vLLM loads the class as middleware (--middleware entitune.serving.middleware.Guard) into the server's process. Its API
key guards /v1 alone; /invocations, for one, answers the same questions without it.
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
"""Bytes of a request's body: several times the longest prompt of the longest context under conf/."""
SECONDS_FOR_BODY = 10
STOPPING = "the server is stopping"
SECONDS_TO_TAKE = 60
"""How long a client may leave a part of its answer untaken."""
VARIABLE = "ENTITUNE_GUARD"
"""Environment variable that holds the settings as JSON. vLLM gives a middleware no arguments."""


@dataclass(frozen=True)
class GuardSettings:
    """What serve_runs.py tells the guard in the server's process."""

    limit: int
    """How many chat requests may be under way at once."""
    hosts: tuple[str, ...]
    """Names and addresses that a request may name as its host, in lower case, beside those of the loopback."""
    any_address: bool
    """Whether it may name any IP address: the server listens at all of them."""
    runs: Mapping[str, ServedRun]
    """What the requests for a run may hold, by its name."""
    versions: Mapping[str, str]
    """What identifies a run's model and prompt, by the name of the run."""
    control_tokens: tuple[str, ...]
    """What marks up a chat of the model: no text may hold it."""
    seconds_to_finish: float
    """How long requests under way may take once the server is told to stop."""

    def to_json(self) -> str:
        """Return the settings as text, to hand them to the server's process."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> GuardSettings:
        """Return the settings that `to_json` wrote."""
        settings = json.loads(text)
        return cls(**{**settings, "runs": {name: ServedRun(**run) for name, run in settings["runs"].items()}})


class Guard:
    """ASGI middleware."""

    def __init__(self, app: App) -> None:
        self.app = app
        self.settings = GuardSettings.from_json(os.environ[VARIABLE])
        self.active = 0
        self.draining = False

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Answer a request that the guard refuses, and pass the others on."""
        if scope["type"] == "lifespan":
            asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, self.drain)
            return await self.app(scope, receive, send)
        if scope["type"] != "http":
            return await send({"type": "websocket.close"})
        path = scope["path"]
        if self.draining:
            await refuse(send, 503, STOPPING)
        elif not self.is_own_host(scope):
            await refuse(send, 403, "this server has another name; serve_runs.py --allow-host NAME allows more")
        elif path not in (HEALTH, MODELS, CHAT) and not path.startswith(f"{MODELS}/"):
            await refuse(send, 404, f"there is no {path}; there are {HEALTH}, {MODELS}, {MODELS}/NAME and {CHAT}")
        else:
            await self.pass_on(scope, receive, send)

    def is_own_host(self, scope: Message) -> bool:
        """Return whether the client means this server. Another site's name may be made to lead here (DNS rebinding)."""
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
        """Read the whole request, which a header may lie about, then give it to vLLM."""
        try:
            async with asyncio.timeout(SECONDS_FOR_BODY):
                body = await read_body(receive)
        except TimeoutError:
            return await refuse(send, 408, f"the request did not arrive within {SECONDS_FOR_BODY} s")
        except ConnectionError:
            return None  # nobody is there to be answered
        if body is None:
            return await refuse(send, 413, f"a request may have {MAX_BODY} bytes")
        if self.draining:  # since a moment ago
            return await refuse(send, 503, STOPPING)
        if scope["method"] == "GET" and scope["path"].startswith(MODELS):
            return await self.answer_models(scope, receive, send)
        if scope["path"] != CHAT or scope["method"] != "POST":  # a server that is busy is healthy
            return await self.app(scope, replay(body, receive), send)
        if reason := objection(body, self.settings.runs, self.settings.control_tokens):
            return await refuse(send, 400, reason)
        if self.active >= self.settings.limit:
            return await refuse(send, 503, f"{self.settings.limit} requests are under way; try again later")
        self.active += 1
        try:
            await self.app(scope, replay(body, receive), bounded(send))
        finally:
            self.active -= 1
            if self.draining and not self.active:
                self.finish()

    async def answer_models(self, scope: Message, receive: Receive, send: Send) -> None:
        """Answer with vLLM's list of models, or with the one that the path names, and with the version of each run."""
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
        return await refuse(send, 404, f"there is no model {name!r} here", keep=True)

    def drain(self) -> None:
        """Accept no more requests and stop the server when those under way are answered."""
        self.draining = True
        if self.active:
            asyncio.get_running_loop().call_later(self.settings.seconds_to_finish, self.finish)
        else:
            self.finish()

    def finish(self) -> None:
        """End the server's process."""
        os.kill(os.getpid(), signal.SIGTERM)


def replay(body: bytes, receive: Receive) -> Receive:
    """Return a `receive` that begins with a body that has been read."""
    unread = [body]

    async def receive_again() -> Message:
        if unread:
            return {"type": "http.request", "body": unread.pop(), "more_body": False}
        return await receive()  # the client's leaving, so that vLLM stops answering

    return receive_again


def bounded(send: Send) -> Send:
    """Return a `send` that raises TimeoutError where the client takes nothing for too long."""

    async def send_in_time(message: Message) -> None:
        async with asyncio.timeout(SECONDS_TO_TAKE):
            await send(message)

    return send_in_time


async def read_body(receive: Receive) -> bytes | None:
    """Return a request's body; None where it is too long. Raises ConnectionError where the client leaves."""
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

    The connection ends unless `keep`: a rest of the body may be on its way.
    """
    error = {"error": {"message": message, "type": "invalid_request_error", "param": None, "code": status}}
    await answer(send, status, error, None if keep else {"connection": "close"})
