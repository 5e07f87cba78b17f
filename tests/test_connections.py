"""The limits of the server's connections, on uvicorn itself with an application of two lines."""

from __future__ import annotations

import socket
import subprocess
import time
from collections.abc import Iterator

import pytest
from helpers import ROOT, python_of

pytestmark = pytest.mark.engine  # starts no engine, but needs the server's environment

SERVER = """
import sys
sys.path.insert(0, "scripts")
import asyncio, socket, uvicorn
from entitune.serving import connections

connections.SECONDS_FOR_HEAD = 1
connections.MAX_WAITING = 50

async def app(scope, receive, send):
    if scope["type"] != "http":
        return
    more = True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            return
        more = message.get("more_body")
    await asyncio.sleep(float(scope["query_string"] or 0))
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
    await send({"type": "http.response.body", "body": b"ok"})

listener = socket.create_server(("127.0.0.1", 0), backlog=500)
config = uvicorn.Config(app, http=connections.BoundedConnection, ws=None, log_level="warning", timeout_keep_alive=2)
print(listener.getsockname()[1], flush=True)
uvicorn.Server(config).run(sockets=[listener])
"""
HEAD = b"GET / HTTP/1.1\r\nHost: localhost\r\n"


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    command = [str(python_of("predict-cpu")), "-c", SERVER]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        yield int(process.stdout.readline())
        process.terminate()


def connect(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), timeout=300)


def answer(port: int, *parts: bytes) -> bytes:
    """Return everything that the server sends until it closes the connection."""
    with connect(port) as connection:
        for part in parts:
            connection.sendall(part)
        return rest(connection)


def rest(connection: socket.socket) -> bytes:
    received = b""
    try:
        while part := connection.recv(65536):
            received += part
    except ConnectionError:  # closed while something was unread
        pass
    return received


def one_answer(connection: socket.socket) -> bytes:
    """Return one answer of the application; the connection stays open."""
    received = b""
    while not received.endswith(b"\r\n\r\nok"):
        part = connection.recv(65536)
        assert part, f"ended after {received!r}"
        received += part
    return received


def send_until_refused(connection: socket.socket, first: bytes, pause: float = 0) -> int:
    """Send a head and then the letter x until the server closes the connection; return the number of bytes sent."""
    sent, deadline = len(first), time.monotonic() + 300
    connection.sendall(first)
    more = b"x" * (1 if pause else 65536)
    while time.monotonic() < deadline:
        try:
            sent += connection.send(more)
        except ConnectionError:
            return sent
        time.sleep(pause)
    raise AssertionError(f"{sent} bytes were taken")


def status(content: bytes) -> int:
    return int(content.split(b" ", 2)[1])


def test_a_request_is_answered_and_its_connection_stays_open(port: int) -> None:
    with connect(port) as connection:
        for _ in range(3):
            connection.sendall(HEAD + b"\r\n")
            assert status(one_answer(connection)) == 200


def test_a_head_of_64_kilobytes_is_read_and_a_longer_one_refused(port: int) -> None:
    def head(size: int) -> bytes:
        return HEAD + b"X: " + b"x" * (size - len(HEAD) - 7) + b"\r\n\r\n"

    with connect(port) as connection:
        connection.sendall(head(65_000))
        assert status(connection.recv(1000)) == 200
    assert status(answer(port, head(66_000))) == 431
    assert status(answer(port, head(200_000))) == 431
    assert status(answer(port, b"GET /" + b"x" * 70_000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n")) == 431
    many = b"".join(b"X%d: x\r\n" % number for number in range(10_000))
    assert status(answer(port, HEAD + many + b"\r\n")) == 431


def test_a_head_without_an_end_is_refused_before_it_is_kept(port: int) -> None:
    with connect(port) as connection:
        assert send_until_refused(connection, HEAD + b"X: ") < 50_000_000


def test_the_size_of_a_chunked_body_is_limited(port: int) -> None:
    head = b"POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nTrailer: "
    with connect(port) as connection:
        assert send_until_refused(connection, head) < 50_000_000


@pytest.mark.parametrize("part", [b"G", HEAD, b"\r\n", HEAD + b"X: 1"])
def test_a_head_that_does_not_arrive_times_out(port: int, part: bytes) -> None:
    assert status(answer(port, part)) == 408


def test_a_head_that_arrives_byte_by_byte_times_out(port: int) -> None:
    with connect(port) as connection:
        assert send_until_refused(connection, b"GET /", pause=0.05) < 200


def test_a_connection_without_a_request_is_ended(port: int) -> None:
    assert answer(port) == b""
    with connect(port) as connection:
        connection.sendall(HEAD + b"\r\n")
        assert rest(connection).endswith(b"ok")


def test_the_head_of_the_next_request_has_a_deadline_too(port: int) -> None:
    with connect(port) as connection:
        connection.sendall(HEAD + b"\r\n")
        one_answer(connection)
        connection.sendall(HEAD)
        assert status(rest(connection)) == 408


def test_a_slow_answer_does_not_count_as_a_slow_request(port: int) -> None:
    with connect(port) as connection:
        connection.sendall(b"GET /?2.5 HTTP/1.1\r\nHost: localhost\r\n\r\n")
        connection.sendall(HEAD[:10])
        time.sleep(2)
        connection.sendall(HEAD[10:] + b"\r\n")
        received = rest(connection)
        assert received.count(b"ok") == 2


def test_the_oldest_half_open_connections_are_closed(port: int) -> None:
    opened = [connect(port) for _ in range(120)]
    for number, connection in enumerate(opened):
        if number % 2:
            connection.sendall(HEAD)
    with connect(port) as connection:
        connection.sendall(HEAD + b"\r\n")
        assert status(connection.recv(1000)) == 200
    assert rest(opened[0]) == b"", "the oldest was kept"
    for connection in opened:
        connection.close()


def test_a_request_that_is_not_http_is_refused(port: int) -> None:
    assert status(answer(port, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 hello\r\n\r\n")) == 400
    assert status(answer(port, b"NONSENSE\r\n\r\n")) == 400


def test_a_connection_is_not_upgraded(port: int) -> None:
    upgrade = b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: a\r\n\r\n"
    with connect(port) as connection:
        connection.sendall(HEAD + upgrade)
        assert status(connection.recv(1000)) == 200
