"""fetch_dataset against servers on loopback that misbehave on purpose."""

from __future__ import annotations

import hashlib
import io
import json
import random
import signal
import subprocess
import sys
import tarfile
import threading
import time
import zipfile
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from helpers import ROOT

import fetch_dataset
from entitune.cli import InputError
from fetch_dataset import fetch, parse_source

# More than one chunk, and nothing that compression could make shorter.
TRAIN = random.Random(1).randbytes(300_000)
DEV = '{"text": "温格\u2028"}\r\n'.encode()
TIMEOUT = 10.0  # long enough on a busy machine
IMPATIENT = 0.3  # with a server that is known to say nothing


def zip_archive() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("data/", "")
        archive.writestr("data/train.json", TRAIN)
        archive.writestr("dev.json", DEV)
        archive.writestr("../outside", b"never read")
    return buffer.getvalue()


def tar_archive(mode: str) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=mode) as archive:
        for name, content in (("data/train.json", TRAIN), ("dev.json", DEV)):
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
        link = tarfile.TarInfo("link.json")
        link.type, link.linkname = tarfile.SYMTYPE, "dev.json"
        archive.addfile(link)
    return buffer.getvalue()


ARCHIVE = zip_archive()
SHA256 = hashlib.sha256(ARCHIVE).hexdigest()
SPLITS = {"train": "data/train.json", "dev": "dev.json"}


class Server(ThreadingHTTPServer):
    """Answers the n-th request for a path with the n-th of its answers, and then with the last again."""

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
    """Announce `content` and send it, or only its first `sent` bytes, and then hang or close the connection."""

    def answer(handler: Handler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(content)))
        handler.end_headers()
        handler.wfile.write(content[:sent])
        if hang:
            handler.server.closing.wait(30)

    return answer


def rest(content: bytes = ARCHIVE) -> Callable[[Handler], None]:
    """The range that was asked for."""

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


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setattr(fetch_dataset, "BACKOFF_SECONDS", 0.01)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with Server() as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        yield server
        server.closing.set()
        server.shutdown()


def entry(*urls: str, sha256: str = SHA256, splits: dict[str, Any] | None = None, **more: Any) -> dict[str, Any]:
    return {"archive": {"urls": list(urls), "sha256": sha256, "revision": "1"}, "splits": splits or SPLITS, **more}


def splits_in(folder: Path) -> list[str]:
    """What looks like a finished split."""
    return sorted(path.name for path in folder.glob("*") if not path.name.startswith("."))


def assert_fetched(folder: Path) -> None:
    assert (folder / "train").read_bytes() == TRAIN
    assert (folder / "dev").read_bytes() == DEV
    assert sorted(path.name for path in folder.iterdir()) == ["dev", "train"]  # the download is not left over


def test_archive_is_fetched(server: Server, tmp_path: Path) -> None:
    fetch(parse_source(entry(server.url("/a", body()))), tmp_path, TIMEOUT)
    assert_fetched(tmp_path)
    assert server.ranges == [("/a", None)]


@pytest.mark.parametrize("mode", ["w:", "w:gz", "w:bz2", "w:xz"])
def test_tar_archives_are_read(server: Server, tmp_path: Path, mode: str) -> None:
    archive = tar_archive(mode)
    url = server.url("/a.tar", body(archive))
    sha256 = hashlib.sha256(archive).hexdigest()
    fetch(parse_source(entry(url, sha256=sha256)), tmp_path, TIMEOUT)
    assert_fetched(tmp_path)
    with pytest.raises(InputError, match=r"no file link\.json; there are: data/train\.json, dev\.json$"):
        fetch(parse_source(entry(url, sha256=sha256, splits={"train": "link.json"})), tmp_path, TIMEOUT)


def test_server_errors_are_retried(server: Server, tmp_path: Path) -> None:
    url = server.url("/a", status(500), status(503), body())
    fetch(parse_source(entry(url)), tmp_path, TIMEOUT)
    assert_fetched(tmp_path)
    assert len(server.ranges) == 3


def test_truncated_body_is_resumed(server: Server, tmp_path: Path) -> None:
    url = server.url("/a", body(sent=200_000), rest())
    fetch(parse_source(entry(url)), tmp_path, TIMEOUT)
    assert_fetched(tmp_path)
    (_, first), (_, second) = server.ranges
    assert first is None
    assert second is not None
    assert 100_000 < int(second.removeprefix("bytes=").removesuffix("-")) <= 200_000


def test_server_without_ranges_starts_again(server: Server, tmp_path: Path) -> None:
    url = server.url("/a", body(sent=200_000), body())
    fetch(parse_source(entry(url)), tmp_path, TIMEOUT)
    assert_fetched(tmp_path)


def test_stalled_body_is_resumed(server: Server, tmp_path: Path) -> None:
    url = server.url("/a", body(sent=200_000, hang=True), rest())
    fetch(parse_source(entry(url)), tmp_path, IMPATIENT)
    assert_fetched(tmp_path)


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (silence, "Read timed out"),
        (status(404), "404 Client Error"),
        (status(500), "too many 500 error responses"),
        (body(sent=10), "broke off after"),
        (body(b"<html>sign in first</html>"), "the file has the sha256"),
    ],
)
def test_mirror_is_used_where_an_address_fails(
    server: Server,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    answer: Callable[[Handler], None],
    expected: str,
) -> None:
    urls = server.url("/bad", answer), server.url("/good", body())
    fetch(parse_source(entry(*urls)), tmp_path, IMPATIENT)
    assert_fetched(tmp_path)
    assert expected in capsys.readouterr().err


def test_failure_names_every_address_and_leaves_no_split(server: Server, tmp_path: Path) -> None:
    other = zip_archive() + b"\n"
    urls = server.url("/gone", status(404)), server.url("/other", body(other)), server.url("/cut", body(sent=100_000))
    with pytest.raises(InputError) as failure:
        fetch(parse_source(entry(*urls)), tmp_path, TIMEOUT)
    for url in urls:
        assert url in str(failure.value)
    assert f"the file has the sha256 {hashlib.sha256(other).hexdigest()}, expected {SHA256}" in str(failure.value)
    assert "local_archive" in str(failure.value)
    assert splits_in(tmp_path) == []
    assert [path for path, _ in server.ranges].count("/other") == 1  # it would send the same again


@pytest.mark.parametrize("answer", [rest(), status(416)])
def test_leftovers_of_another_file_are_thrown_away(
    server: Server, tmp_path: Path, answer: Callable[[Handler], None]
) -> None:
    (tmp_path / f".{SHA256}.part").write_bytes(b"x" * 1000)
    fetch(parse_source(entry(server.url("/a", answer, body()))), tmp_path, TIMEOUT)
    assert_fetched(tmp_path)
    assert [asked for _, asked in server.ranges] == ["bytes=1000-", None]


def test_killed_download_is_resumed_by_the_next_run(server: Server, tmp_path: Path) -> None:
    url = server.url("/a", body(sent=200_000, hang=True), rest())
    command = [sys.executable, "scripts/fetch_dataset.py", "--output-dir", str(tmp_path), "--entry"]
    process = subprocess.Popen([*command, json.dumps(entry(url))], cwd=ROOT, stderr=subprocess.DEVNULL)
    part = tmp_path / f".{SHA256}.part"
    try:
        deadline = time.monotonic() + 20
        while not (part.exists() and part.stat().st_size):
            assert time.monotonic() < deadline
            time.sleep(0.01)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert splits_in(tmp_path) == []
    fetch(parse_source(entry(url)), tmp_path, TIMEOUT)
    assert_fetched(tmp_path)
    assert server.ranges[1][1] is not None


def test_missing_member_is_told_with_what_is_there(server: Server, tmp_path: Path) -> None:
    url = server.url("/a", body())
    with pytest.raises(InputError, match=r"no file train\.json; there are: \.\./outside, data/train\.json, dev\.json"):
        fetch(parse_source(entry(url, splits={"dev": "dev.json", "train": "train.json"})), tmp_path, TIMEOUT)
    assert splits_in(tmp_path) == []
    fetch(parse_source(entry(url)), tmp_path, TIMEOUT)
    assert_fetched(tmp_path)
    assert len(server.ranges) == 1  # what was downloaded and verified is not downloaded again


def test_local_archive_is_used_without_a_server(tmp_path: Path) -> None:
    archive = tmp_path / "a.zip"
    archive.write_bytes(ARCHIVE)
    source = parse_source(entry("http://127.0.0.1:1/", local_archive=str(archive)))
    fetch(source, tmp_path / "raw", TIMEOUT)
    assert_fetched(tmp_path / "raw")
    assert archive.read_bytes() == ARCHIVE


@pytest.mark.parametrize(
    ("content", "sha256", "expected"),
    [
        (ARCHIVE + b"x", SHA256, f"a.zip has the sha256 .*, expected {SHA256}"),
        (b"not packed", hashlib.sha256(b"not packed").hexdigest(), "neither zip nor tar"),
        (ARCHIVE[:-9], hashlib.sha256(ARCHIVE[:-9]).hexdigest(), "neither zip nor tar"),
        (
            ARCHIVE.replace(TRAIN[1000:1010], bytes(10)),
            hashlib.sha256(ARCHIVE.replace(TRAIN[1000:1010], bytes(10))).hexdigest(),
            "the archive cannot be read: Bad CRC-32 for file 'data/train.json'",
        ),
        (
            tar_archive("w:gz")[:-200],
            hashlib.sha256(tar_archive("w:gz")[:-200]).hexdigest(),
            "the archive cannot be read",
        ),
    ],
    ids=["checksum", "no archive", "zip cut", "zip broken", "tar cut"],
)
def test_unusable_local_archive_leaves_no_split(tmp_path: Path, content: bytes, sha256: str, expected: str) -> None:
    archive = tmp_path / "a.zip"
    archive.write_bytes(content)
    with pytest.raises(InputError, match=expected):
        fetch(parse_source(entry(sha256=sha256, local_archive=str(archive))), tmp_path / "raw", TIMEOUT)
    assert splits_in(tmp_path / "raw") == []


def test_local_files_are_copied_and_verified(tmp_path: Path) -> None:
    (tmp_path / "d.json").write_bytes(DEV)
    checksum = hashlib.sha256(DEV).hexdigest()
    splits = {"dev": {"path": str(tmp_path / "d.json"), "sha256": checksum}, "test": str(tmp_path / "d.json")}
    fetch(parse_source({"splits": splits}), tmp_path / "raw", TIMEOUT)
    assert (tmp_path / "raw" / "dev").read_bytes() == (tmp_path / "raw" / "test").read_bytes() == DEV

    (tmp_path / "d.json").write_bytes(DEV + b"\n")
    with pytest.raises(InputError, match=rf"d\.json has the sha256 .*, expected {checksum}"):
        fetch(parse_source({"splits": splits}), tmp_path / "again", TIMEOUT)
    assert splits_in(tmp_path / "again") == []


@pytest.mark.parametrize(
    ("wrong", "expected"),
    [
        ([], "the entry must be an object"),
        ({}, "the entry: key 'splits' is missing"),
        ({"splits": {}}, "splits must name at least one split"),
        ({"splits": {"a/b": "x"}}, "splits: 'a/b' cannot name a file"),
        ({"splits": {"..": "x"}}, "splits: '..' cannot name a file"),
        ({"splits": {"train": 3}}, "splits.train must be a path"),
        ({"splits": {"train": {"file": "x"}}}, "splits.train: key 'path' is missing"),
        ({"splits": SPLITS, "labels": []}, "the entry: unknown key 'labels'; known are archive, local_archive, splits"),
        ({"splits": SPLITS, "local_archive": "a.zip"}, "local_archive needs archive.sha256"),
        ({"splits": SPLITS, "archive": {"urls": ["http://x"]}}, "archive: key 'sha256' is missing"),
        (entry("http://x", sha256="6dcc"), "archive.sha256 must be 64 hexadecimal digits"),
        (entry(), "archive.urls is missing or empty"),
        (entry(local_archive=3), "local_archive must be a path or null"),
    ],
)
def test_wrong_entry_is_named(wrong: Any, expected: str) -> None:
    with pytest.raises(ValueError, match=expected):
        parse_source(wrong)


@pytest.mark.parametrize(
    ("given", "code", "expected"),
    [
        ("{", 2, "argument --entry: "),
        ('{"splits": {"train": "nowhere.json"}}', 1, "error: [Errno 2] No such file or directory: 'nowhere.json'"),
        (json.dumps(entry("ftp://127.0.0.1/a")), 1, "No connection adapters were found for 'ftp://127.0.0.1/a'"),
    ],
)
def test_command_line_ends_with_a_message(tmp_path: Path, given: str, code: int, expected: str) -> None:
    command = [sys.executable, "scripts/fetch_dataset.py", "--output-dir", str(tmp_path), "--entry", given]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == code
    assert expected in done.stderr
    assert "Traceback" not in done.stderr
    assert splits_in(tmp_path) == []


def test_command_line_without_a_terminal_prints_lines(server: Server, tmp_path: Path) -> None:
    command = [sys.executable, "scripts/fetch_dataset.py", "--output-dir", str(tmp_path), "--entry"]
    given = json.dumps(entry(server.url("/a", body())))
    done = subprocess.run([*command, given], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stderr == f"http://127.0.0.1:{server.server_port}/a: 0.3 MB\n"
    assert done.stdout.splitlines()[1] == f"{tmp_path}/dev: {len(DEV)} bytes, sha256 {hashlib.sha256(DEV).hexdigest()}"
    assert_fetched(tmp_path)
