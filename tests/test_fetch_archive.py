"""fetch_archive with local servers that misbehave on purpose."""

from __future__ import annotations

import gzip
import hashlib
import random
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from helpers import ROOT, Result, run_script, wait_for

import fetch_archive
from entitune.cli import InputError
from fetch_archive import copy_verified, download

# More than one chunk, and incompressible.
ARCHIVE = random.Random(1).randbytes(300_000)
SHA256 = hashlib.sha256(ARCHIVE).hexdigest()
TIMEOUT = 10.0  # long enough on a busy machine
IMPATIENT = 1.5  # for servers that never answer; a good server must answer within this time
DEADLINE = 60.0


class Server(ThreadingHTTPServer):
    """A server that gives the n-th request for a path the n-th answer of the path, and later requests the last one."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.answers: dict[str, list[Callable[[Handler], None]]] = {}
        self.ranges: list[tuple[str, str | None]] = []
        self.closing = threading.Event()

    def url(self, path: str, *answers: Callable[[Handler], None]) -> str:
        self.answers[path] = list(answers)
        return f"http://127.0.0.1:{self.server_port}{path}"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        self.server.ranges.append((self.path, self.headers["Range"]))
        answers = self.server.answers[self.path]
        (answers.pop(0) if len(answers) > 1 else answers[0])(self)

    def log_message(self, *arguments: Any) -> None:
        pass


def status(code: int) -> Callable[[Handler], None]:
    def answer(handler: Handler) -> None:
        handler.send_response(code)
        handler.send_header("Content-Length", "0")
        handler.end_headers()

    return answer


def body(content: bytes = ARCHIVE, sent: int | None = None, hang: bool = False) -> Callable[[Handler], None]:
    """Announce `content`, send it or only its first `sent` bytes, and then hang or close the connection."""

    def answer(handler: Handler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(content)))
        handler.end_headers()
        handler.wfile.write(content[:sent])
        if hang:
            handler.server.closing.wait(30)

    return answer


def rest(content: bytes = ARCHIVE) -> Callable[[Handler], None]:
    """Return an answer with the requested range."""

    def answer(handler: Handler) -> None:
        start = int(handler.headers["Range"].removeprefix("bytes=").removesuffix("-"))
        handler.send_response(206)
        handler.send_header("Content-Length", str(len(content) - start))
        handler.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        handler.end_headers()
        handler.wfile.write(content[start:])

    return answer


def silence(handler: Handler) -> None:
    handler.server.closing.wait(30)


def trickle(handler: Handler) -> None:
    """Announce everything and send single bytes, each before a client would give up."""
    handler.send_response(200)
    handler.send_header("Content-Length", str(len(ARCHIVE)))
    handler.end_headers()
    for value in ARCHIVE:
        handler.wfile.write(bytes([value]))
        if handler.server.closing.wait(0.02):
            return


def trickling_headers(handler: Handler) -> None:
    handler.wfile.write(b"HTTP/1.0 200 OK\r\nX: ")
    while not handler.server.closing.wait(0.02):
        handler.wfile.write(b"x")


def headers(*lines: tuple[str, str], code: int = 200, content: bytes = b"") -> Callable[[Handler], None]:
    """Return an answer with these headers."""

    def answer(handler: Handler) -> None:
        handler.send_response(code)
        for name, value in lines:
            handler.send_header(name, value)
        handler.end_headers()
        handler.wfile.write(content)

    return answer


def redirect(location: str) -> Callable[[Handler], None]:
    return headers(("Location", location), ("Content-Length", "0"), code=302)


def endless(handler: Handler) -> None:
    handler.send_response(200)
    handler.end_headers()
    while not handler.server.closing.is_set():
        handler.wfile.write(bytes(1 << 16))


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setattr(fetch_archive, "BACKOFF_SECONDS", 0.01)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with Server() as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        yield server
        server.closing.set()
        server.shutdown()


@pytest.fixture
def part(tmp_path: Path) -> Path:
    return tmp_path / "part"


def fetch(part: Path, *urls: str, timeout: float = TIMEOUT, deadline: float = DEADLINE) -> None:
    download(urls, SHA256, part, timeout, deadline)


def test_archive_is_fetched(server: Server, part: Path) -> None:
    fetch(part, server.url("/a", body()))
    assert part.read_bytes() == ARCHIVE
    assert server.ranges == [("/a", None)]
    fetch(part, "http://127.0.0.1:1/")
    assert len(server.ranges) == 1  # a verified download is not repeated


def test_server_errors_are_retried(server: Server, part: Path) -> None:
    fetch(part, server.url("/a", status(500), status(503), body()))
    assert part.read_bytes() == ARCHIVE
    assert len(server.ranges) == 3


def test_truncated_body_is_resumed(server: Server, part: Path) -> None:
    fetch(part, server.url("/a", body(sent=200_000), rest()))
    assert part.read_bytes() == ARCHIVE
    (_, first), (_, second) = server.ranges
    assert first is None
    assert second is not None
    assert 100_000 < int(second.removeprefix("bytes=").removesuffix("-")) <= 200_000


def test_server_without_ranges_starts_again(server: Server, part: Path) -> None:
    fetch(part, server.url("/a", body(sent=200_000), body()))
    assert part.read_bytes() == ARCHIVE


def test_stalled_body_is_resumed(server: Server, part: Path) -> None:
    fetch(part, server.url("/a", body(sent=200_000, hang=True), rest()), timeout=IMPATIENT)
    assert part.read_bytes() == ARCHIVE


@pytest.mark.parametrize("encoding", ["gzip", "chunked"])
def test_unrequested_content_encodings_are_decoded(server: Server, part: Path, encoding: str) -> None:
    def answer(handler: Handler) -> None:
        handler.protocol_version = "HTTP/1.1"
        handler.send_response(200)
        if encoding == "gzip":
            packed = gzip.compress(ARCHIVE)
            handler.send_header("Content-Encoding", "gzip")
            handler.send_header("Content-Length", str(len(packed)))
            handler.end_headers()
            handler.wfile.write(packed)
        else:
            handler.send_header("Transfer-Encoding", "chunked")
            handler.end_headers()
            for start in range(0, len(ARCHIVE), 50_000):
                chunk = ARCHIVE[start : start + 50_000]
                handler.wfile.write(f"{len(chunk):x}\r\n".encode() + chunk + b"\r\n")
            handler.wfile.write(b"0\r\n\r\n")

    fetch(part, server.url("/a", answer))
    assert part.read_bytes() == ARCHIVE


NONSENSE = [
    "file:///etc/passwd",
    "ftp://127.0.0.1/a",
    "data:text/plain,a",
    "http://",
    "http://[",
    "http://[::1",
    "http://a b/",
    "http://%00/",
    "http://127.0.0.1:99999/",
    "http://127.0.0.1:x/",
    "http://" + "a" * 300 + "/",
    "http://.../",
    "http://*.example/",
    "//",
    "\xff",
]


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (silence, "Read timed out"),
        (status(404), "404 Client Error"),
        (status(500), "too many 500 error responses"),
        (status(204), "the file has the sha256"),
        (status(304), "the file has the sha256"),
        (body(sent=10), "broke off after"),
        (body(b"<html>sign in first</html>"), "the file has the sha256"),
        (headers(("Content-Type", "text/html; charset=utf-8"), content=b"<html>"), "the answer is a web page"),
        (trickle, "too slow: "),
        (headers(("Content-Length", "9" * 15)), "999,999,999,999,999 bytes; an archive may have at most"),
        (headers(("Content-Length", "-1"), content=b"x"), "the file has the sha256"),
        (headers(("Content-Encoding", "gzip"), content=b"x" * 100), "broke off after"),
        (headers(("Retry-After", "tomorrow"), ("Content-Length", "0"), code=503), "Retry-After"),
        (headers(*[(f"X-{number}", "x") for number in range(200)]), "got more than 100 headers"),
        *((redirect(location), "") for location in NONSENSE),
    ],
)
def test_mirror_is_used_if_an_address_fails(
    server: Server, part: Path, capsys: pytest.CaptureFixture[str], answer: Callable[[Handler], None], expected: str
) -> None:
    urls = server.url("/bad", answer), server.url("/good", body())
    fetch(part, *urls, timeout=IMPATIENT)
    assert part.read_bytes() == ARCHIVE
    printed = capsys.readouterr().err
    assert expected in printed
    assert "; trying the next address" in printed


def test_redirects_are_followed_but_not_in_circles(
    server: Server, part: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    server.url("/b", redirect("/a"))
    circle, moved = server.url("/a", redirect("/b")), server.url("/moved", redirect("/good"))
    server.url("/good", body())
    fetch(part, circle, moved)
    assert part.read_bytes() == ARCHIVE
    assert "Exceeded 10 redirects" in capsys.readouterr().err


@pytest.mark.parametrize("answer", [silence, trickling_headers, trickle])
def test_an_address_has_a_deadline(
    server: Server, part: Path, capsys: pytest.CaptureFixture[str], answer: Callable[[Handler], None]
) -> None:
    fetch(part, server.url("/slow", answer), server.url("/good", body()), deadline=IMPATIENT)
    assert part.read_bytes() == ARCHIVE
    assert "not complete after 1.5 seconds; trying the next address" in capsys.readouterr().err
    assert signal.getitimer(signal.ITIMER_REAL) == (0, 0)


def test_an_endless_answer_is_cut_and_removed(
    server: Server, part: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetch_archive, "MAX_BYTES", 1_000_000)
    fetch(part, server.url("/endless", endless), server.url("/good", body()))
    assert part.read_bytes() == ARCHIVE
    assert "sent more than 1,000,000 bytes" in capsys.readouterr().err
    assert server.ranges == [("/endless", None), ("/good", None)]


@pytest.mark.parametrize(
    "answer",
    [
        headers(("Content-Type", "text/html"), content=b"<html>"),
        headers(("Content-Range", "bytes 0-299999/300000"), code=206, content=ARCHIVE),
        headers(code=206, content=ARCHIVE),
        redirect("file:///etc/passwd"),
        status(404),
    ],
)
def test_a_failing_address_does_not_discard_a_partial_download(
    server: Server, part: Path, answer: Callable[[Handler], None]
) -> None:
    part.write_bytes(ARCHIVE[:200_000])
    fetch(part, server.url("/bad", answer), server.url("/good", rest()))
    assert part.read_bytes() == ARCHIVE
    assert server.ranges == [("/bad", "bytes=200000-"), ("/good", "bytes=200000-")]


def test_failure_names_every_address_and_keeps_the_partial_download(server: Server, part: Path) -> None:
    other = ARCHIVE + b"\n"
    urls = server.url("/gone", status(404)), server.url("/other", body(other)), server.url("/cut", body(sent=100_000))
    with pytest.raises(InputError) as failure:
        fetch(part, *urls)
    for url in urls:
        assert url in str(failure.value)
    assert f"the file has the sha256 {hashlib.sha256(other).hexdigest()}, expected {SHA256}" in str(failure.value)
    assert "local_archive" in str(failure.value)
    assert part.read_bytes() == ARCHIVE[:100_000]
    assert [path for path, _ in server.ranges].count("/other") == 1  # it would send the same data again


@pytest.mark.parametrize("answer", [rest(), status(416)])
def test_a_partial_download_of_another_file_is_discarded(
    server: Server, part: Path, answer: Callable[[Handler], None]
) -> None:
    part.write_bytes(b"x" * 1000)
    fetch(part, server.url("/a", answer, body()))
    assert part.read_bytes() == ARCHIVE
    assert [asked for _, asked in server.ranges] == ["bytes=1000-", None]


def run_command(output: Path, *options: str, sha256: str = SHA256) -> Result:
    done = run_script("fetch_archive", "--output", output, "--sha256", sha256, *options)
    assert "Traceback" not in done.stderr
    return done


def test_killed_download_is_resumed_by_the_next_run(server: Server, tmp_path: Path) -> None:
    url, output = server.url("/a", body(sent=200_000, hang=True), rest()), tmp_path / "raw" / "archive"
    script = [sys.executable, str(ROOT / "scripts" / "fetch_archive.py"), "--output", str(output), "--sha256", SHA256]
    process = subprocess.Popen([*script, "--urls", url], stderr=subprocess.DEVNULL)
    part = output.parent / f".{SHA256}.part"
    try:
        wait_for(lambda: part.exists() and part.stat().st_size, 300, "download")
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert not output.exists()
    assert run_command(output, "--urls", url).returncode == 0
    assert output.read_bytes() == ARCHIVE
    assert [path.name for path in output.parent.iterdir()] == ["archive"]  # no partial download is left
    assert server.ranges[1][1] is not None


def test_local_archive_is_used_without_a_server(tmp_path: Path) -> None:
    archive, output = tmp_path / "a.zip", tmp_path / "raw" / "archive"
    archive.write_bytes(ARCHIVE)
    done = run_command(output, "--urls", "http://127.0.0.1:1/", "--local-archive", str(archive))
    assert done.returncode == 0, done.stderr
    assert output.read_bytes() == archive.read_bytes() == ARCHIVE
    assert run_command(output, "--local-archive", str(archive)).returncode == 0


def test_unusable_local_archive_is_named(tmp_path: Path) -> None:
    archive, output = tmp_path / "a.zip", tmp_path / "raw" / "archive"
    archive.write_bytes(ARCHIVE + b"x")
    with pytest.raises(InputError, match=f"a.zip has the sha256 .*, expected {SHA256}"):
        copy_verified(archive, SHA256, output)
    for path in (tmp_path, tmp_path / "nothing"):
        with pytest.raises(InputError, match=f"{path}: no such file"):
            copy_verified(path, SHA256, output)
    assert not list((tmp_path / "raw").iterdir())


@pytest.mark.parametrize(
    ("options", "sha256", "code", "expected"),
    [
        ((), SHA256, 2, "one of --urls and --local-archive is needed"),
        (("--urls", "http://x", "--local-archive", ""), "6dcc", 2, "expected 64 hexadecimal digits"),
        (("--urls", "http://x", "--timeout", "0"), SHA256, 2, "expected a positive number"),
        (("--urls", "http://x", "--timeout", "soon"), SHA256, 2, "argument --timeout"),
        (("--local-archive", "nowhere.zip"), SHA256, 1, "error: nowhere.zip: no such file"),
        (("--urls", "ftp://127.0.0.1/a"), SHA256, 1, "No connection adapters were found for 'ftp://127.0.0.1/a'"),
    ],
)
def test_command_line_ends_with_a_message(
    tmp_path: Path, options: tuple[str, ...], sha256: str, code: int, expected: str
) -> None:
    done = run_command(tmp_path / "archive", *options, sha256=sha256)
    assert done.returncode == code
    assert expected in done.stderr
    assert not (tmp_path / "archive").exists()


def test_command_line_without_a_terminal_prints_lines(server: Server, tmp_path: Path) -> None:
    url = server.url("/a", redirect("/store?signature=not-for-logs"))
    server.url("/store?signature=not-for-logs", body())
    done = run_command(tmp_path / "archive", "--urls", url)
    assert done.stderr == f"{url}: 0.3 MB\n"
    assert done.stdout == f"{tmp_path}/archive: {len(ARCHIVE)} bytes, sha256 {SHA256}\n"
