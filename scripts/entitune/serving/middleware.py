"""What stands in front of vLLM's own routes: few paths, bounded requests, a bounded number of them at once.

vLLM loads the class as middleware (--middleware entitune.serving.middleware.Guard) into the server's process. Its API
key guards /v1 alone; /invocations, for one, answers the same questions without it.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, TypeAlias

Message: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]
App: TypeAlias = Callable[[Message, Receive, Send], Awaitable[None]]

PATHS = ("/health", "/v1/models", "/v1/chat/completions")
MAX_BODY = 256 * 1024
"""Bytes of a request: several times the longest prompt of the longest context under conf/."""
SECONDS_FOR_BODY = 10
LIMIT_VARIABLE = "ENTITUNE_MAX_REQUESTS"
"""Environment variable: how many requests may be under way at once. vLLM gives a middleware no arguments."""


class Guard:
    """ASGI middleware."""

    def __init__(self, app: App) -> None:
        self.app = app
        self.limit = int(os.environ[LIMIT_VARIABLE])
        self.active = 0

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close"})
        elif scope["path"] not in PATHS:
            await refuse(send, 404, f"no such path here; there are: {', '.join(PATHS)}")
        else:
            await self.pass_on(scope, receive, send)

    async def pass_on(self, scope: Message, receive: Receive, send: Send) -> None:
        """Read the whole request, which a header may lie about, then let vLLM have it."""
        try:
            async with asyncio.timeout(SECONDS_FOR_BODY):
                body = await read_body(receive)
        except TimeoutError:
            return await refuse(send, 408, f"the request did not arrive within {SECONDS_FOR_BODY} s")
        if body is None:
            return await refuse(send, 413, f"a request may have {MAX_BODY} bytes")
        if scope["method"] == "GET":  # a server that is busy is healthy
            return await self.app(scope, replay(body, receive), send)
        if self.active >= self.limit:
            return await refuse(send, 503, f"{self.limit} requests are under way; try again later")
        self.active += 1
        try:
            await self.app(scope, replay(body, receive), send)
        finally:
            self.active -= 1


def replay(body: bytes, receive: Receive) -> Receive:
    """A `receive` that begins with a body that has been read."""
    unread = [body]

    async def receive_again() -> Message:
        if unread:
            return {"type": "http.request", "body": unread.pop(), "more_body": False}
        return await receive()  # the client's leaving, so that vLLM stops answering

    return receive_again


async def read_body(receive: Receive) -> bytes | None:
    """A request's body; None where it is too long."""
    body = b""
    while True:
        message = await receive()
        body += bytes(message.get("body", b""))
        if len(body) > MAX_BODY:
            return None
        if not message.get("more_body"):
            return body


async def refuse(send: Send, status: int, message: str) -> None:
    """Answer with an error in the form of OpenAI's API. The connection ends: a rest of the body may be on its way."""
    body = json.dumps({"error": {"message": message, "type": "invalid_request_error", "code": status}}).encode()
    head = [(b"content-type", b"application/json"), (b"connection", b"close")]
    await send({"type": "http.response.start", "status": status, "headers": head})
    await send({"type": "http.response.body", "body": body})
