"""HTTP connections with limits that uvicorn lacks: size and time of a request's head, and unfinished requests.

uvicorn parses with httptools, which limits neither the length of headers nor the time until they arrive. Needs uvicorn
and httptools (the predict environments have them).
"""

from __future__ import annotations

import asyncio
from typing import Any, ClassVar

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

MAX_HEAD = 64 * 1024
"""The most bytes of a request's head: request line and headers together."""
MAX_MESSAGE = 4 * 1024 * 1024
"""The most bytes of a complete request as sent, including chunk framing. The middleware limits the body further."""
SECONDS_FOR_HEAD = 10
"""How long the head of a request may take to arrive."""
MAX_WAITING = 512
"""The most open connections without a complete request. A further one closes the oldest."""


class BoundedConnection(HttpToolsProtocol):  # type: ignore[misc]  # uvicorn is not where types are checked
    """A connection. uvicorn creates one object for each."""

    waiting: ClassVar[dict[BoundedConnection, None]] = {}
    """The connections without a complete request, the oldest first."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.received = 0
        """Bytes of the current request so far."""
        self.in_head = True
        self.deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:
        """Start waiting for a request."""
        super().connection_made(transport)
        self.start_deadline()
        self.wait()

    def connection_lost(self, exc: Exception | None) -> None:
        """Remove the connection from `waiting` and cancel its deadline."""
        self.waiting.pop(self, None)
        self.stop_deadline()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Read data, and refuse a request that exceeds the limits."""
        self.received += len(data)
        if self.in_head and self.deadline is None:  # the next request of a kept-alive connection
            self.start_deadline()
        super().data_received(data)
        if self.received > (MAX_HEAD if self.in_head else MAX_MESSAGE):
            self.refuse_size()

    def on_headers_complete(self) -> None:
        """Check the size of the head, and cancel its deadline."""
        head = len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers)
        if head > MAX_HEAD:  # it arrived at once, so data_received could not refuse it
            raise ValueError(f"a head of {head} bytes")  # the parser stops; uvicorn then calls send_400_response
        self.in_head = False
        self.stop_deadline()
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """Stop waiting, because the request is complete."""
        self.in_head, self.received = True, 0
        self.waiting.pop(self, None)
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """Wait for the next request of a kept-alive connection."""
        super().on_response_complete()
        if not self.transport.is_closing() and not self.pipeline:
            self.wait()

    def wait(self) -> None:
        """Add this connection to `waiting`, and close the oldest one if there are too many."""
        self.waiting.pop(self, None)
        self.waiting[self] = None
        if len(self.waiting) > MAX_WAITING:
            oldest = next(iter(self.waiting))
            del self.waiting[oldest]
            oldest.transport.abort()

    def start_deadline(self) -> None:
        """Start the deadline for the head of a request."""
        self.deadline = self.loop.call_later(SECONDS_FOR_HEAD, self.late)

    def stop_deadline(self) -> None:
        """Cancel the deadline for the head."""
        if self.deadline is not None:
            self.deadline.cancel()
            self.deadline = None

    def late(self) -> None:
        """Close the connection, unless the client is waiting for the answer to an earlier request."""
        if self.cycle is not None and not self.cycle.response_complete:
            self.start_deadline()
        elif self.received:
            self.refuse(408, f"the head of the request did not arrive within {SECONDS_FOR_HEAD} s")
        else:
            self.transport.close()

    def refuse(self, status: int, reason: str) -> None:
        """Answer with a status and a reason, and close the connection."""
        if not self.transport.is_closing():
            head = f"content-type: text/plain\r\ncontent-length: {len(reason)}\r\nconnection: close\r\n\r\n"
            self.transport.write(STATUS_LINE[status] + f"{head}{reason}".encode("ascii"))
            self.transport.close()

    def refuse_size(self) -> None:
        """Answer 431 if the head is too large, 413 if the body is."""
        if self.in_head:
            self.refuse(431, f"the head of a request may have {MAX_HEAD} bytes at most")
        else:
            self.refuse(413, f"a request may have {MAX_MESSAGE} bytes at most")

    def send_400_response(self, msg: str) -> None:
        """Refuse a request that could not be parsed. uvicorn calls this."""
        if self.received > MAX_HEAD:
            self.refuse_size()
        else:
            self.refuse(400, msg)
