"""HTTP connections with the bounds that uvicorn lacks: size and time of a request's head, half-open connections.

uvicorn parses with httptools, which limits neither the length of a header nor the time that it may take. Needs uvicorn
and httptools (the predict environments have them).
"""

from __future__ import annotations

import asyncio
from typing import Any, ClassVar

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

MAX_HEAD = 64 * 1024
"""Bytes of a request line and its headers together."""
MAX_MESSAGE = 4 * 1024 * 1024
"""Bytes of a whole request as sent, the framing of chunks included. The body has a bound of its own (middleware)."""
SECONDS_FOR_HEAD = 10
"""How long a connection may be open before the head of its request is complete."""
MAX_WAITING = 512
"""How many connections may be open without a complete request. The oldest makes room for the next."""


class BoundedConnection(HttpToolsProtocol):  # type: ignore[misc]  # uvicorn is not where types are checked
    """One connection. uvicorn makes an object for each."""

    waiting: ClassVar[dict[BoundedConnection, None]] = {}
    """Connections without a complete request, the oldest first."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.received = 0
        """Bytes of the request that is arriving."""
        self.in_head = True
        self.deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:
        """Begin to wait for a request."""
        super().connection_made(transport)
        self.start_deadline()
        self.wait()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection."""
        self.waiting.pop(self, None)
        self.stop_deadline()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Read what arrives, and refuse a request that is larger than the bounds."""
        self.received += len(data)
        if self.in_head and self.deadline is None:  # the next request of a connection that was kept open
            self.start_deadline()
        super().data_received(data)
        if self.received > (MAX_HEAD if self.in_head else MAX_MESSAGE):
            self.refuse_size()

    def on_headers_complete(self) -> None:
        """Check the size of the head, and end its deadline."""
        head = len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers)
        if head > MAX_HEAD:  # it arrived in one piece
            raise ValueError(f"a head of {head} bytes")  # the parser stops; uvicorn then calls send_400_response
        self.in_head = False
        self.stop_deadline()
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """Stop waiting: the request is complete."""
        self.in_head, self.received = True, 0
        self.waiting.pop(self, None)
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """Wait for the next request of a connection that is kept open."""
        super().on_response_complete()
        if not self.transport.is_closing() and not self.pipeline:
            self.wait()

    def wait(self) -> None:
        """Count this connection among those without a complete request."""
        self.waiting.pop(self, None)
        self.waiting[self] = None
        if len(self.waiting) > MAX_WAITING:
            oldest = next(iter(self.waiting))
            del self.waiting[oldest]
            oldest.transport.abort()

    def start_deadline(self) -> None:
        """Give the head of a request its time."""
        self.deadline = self.loop.call_later(SECONDS_FOR_HEAD, self.late)

    def stop_deadline(self) -> None:
        """End the time of the head."""
        if self.deadline is not None:
            self.deadline.cancel()
            self.deadline = None

    def late(self) -> None:
        """End the connection, unless it waits for the answer to an earlier request."""
        if self.cycle is not None and not self.cycle.response_complete:
            self.start_deadline()
        elif self.received:
            self.refuse(408, f"the head of the request did not arrive within {SECONDS_FOR_HEAD} s")
        else:
            self.transport.close()

    def refuse(self, status: int, reason: str) -> None:
        """Answer with a status and a reason, and end the connection."""
        if not self.transport.is_closing():
            head = f"content-type: text/plain\r\ncontent-length: {len(reason)}\r\nconnection: close\r\n\r\n"
            self.transport.write(STATUS_LINE[status] + f"{head}{reason}".encode("ascii"))
            self.transport.close()

    def refuse_size(self) -> None:
        """Answer 431 for the head, 413 for the body."""
        if self.in_head:
            self.refuse(431, f"the head of a request may have {MAX_HEAD} bytes")
        else:
            self.refuse(413, f"a request may have {MAX_MESSAGE} bytes")

    def send_400_response(self, msg: str) -> None:
        """Refuse what could not be parsed. uvicorn calls this."""
        if self.received > MAX_HEAD:
            self.refuse_size()
        else:
            self.refuse(400, msg)
