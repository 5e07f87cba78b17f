"""fetch_model with the real ModelScope client and a local hub that misbehaves on purpose."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import yaml
from helpers import ROOT, run_script, wait_for

from entitune.cli import InputError, printable
from entitune.manifests import ModelFile
from fetch_model import check_complete, check_pins

SCRIPT = ROOT / "scripts" / "fetch_model.py"
MODEL_ID = "Someone/Some-7B"
REVISION = "16c174980d8a1492910551634b4969e69cdc2444"
TOKEN = "ms-0123456789-not-for-logs"
SHARD = "model-00002-of-00002.safetensors"


def some_model() -> dict[str, bytes]:
    """Return the files of a small sharded model; their contents do not matter to the client."""
    shards = ["model-00001-of-00002.safetensors", SHARD]
    index = {"weight_map": {"a": shards[0], "b": shards[1]}}
    return {
        "config.json": b'{"model_type": "qwen2"}',
        "tokenizer_config.json": b"{}",
        "merges.txt": b"",
        "docs/README.md": "说明\n".encode(),
        "model.safetensors.index.json": json.dumps(index).encode(),
        shards[0]: bytes(range(256)) * 4096,
        shards[1]: bytes(reversed(range(256))) * 8192,
    }


def engine_files() -> dict[str, bytes]:
    """Return the files of the model that engines load."""
    return {path: content for path, content in some_model().items() if path != "docs/README.md"}


class Hub(ThreadingHTTPServer):
    """The part of the hub's API that the client uses, for one repository. Its attributes set its misbehaviour."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), HubRequest)
        self.files = some_model()
        self.listed = dict(self.files)  # the files in the list
        self.requests: list[str] = []
        self.lists = 0
        self.list_answer: Any = None  # instead of the list of files
        self.from_second_list: dict[str, bytes] = {}  # files that only later lists have
        self.without_sha256: set[str] = set()
        self.cut_after: dict[str, int] = {}  # close the connection after so many bytes, each time
        self.redirect: dict[str, str] = {}
        self.stall: set[str] = set()  # send half of the file and then nothing
        self.before_sending: dict[str, Callable[[], Any]] = {}
        self.unknown_revision_status = 200
        self.list_status = 200

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def handle_error(self, request: Any, client_address: Any) -> None:
        pass  # the client was killed on purpose


class HubRequest(BaseHTTPRequestHandler):
    server: Hub
    protocol_version = "HTTP/1.1"

    def log_message(self, *args: Any) -> None:
        pass

    def json(self, status: int, body: Any) -> None:
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def do_GET(self) -> None:
        url = urlsplit(self.path)
        query = {key: values[0] for key, values in parse_qs(url.query).items()}
        self.server.requests.append(self.path)
        model = f"/api/v1/models/{MODEL_ID}"
        if url.path == "/api/v1/repos/internalAccelerationInfo":
            self.json(200, {"Data": {}})
        elif url.path == f"/openapi/v1/models/{MODEL_ID}":
            self.json(200, {"success": True, "data": {"id": MODEL_ID}})
        elif url.path == f"{model}/repo/files":
            self.list_files(query["Revision"])
        elif url.path == f"{model}/repo" and query["FilePath"].endswith(".safetensors"):
            store = f"{self.server.endpoint}/store/{query['FilePath']}?signature=not-for-logs"
            self.send_response(302)  # large files come from another server
            self.send_header("Location", self.server.redirect.get(query["FilePath"], store))
            self.send_header("Content-Length", "0")
            self.end_headers()
        elif url.path == f"{model}/repo":
            self.send_file(query["FilePath"])
        elif url.path.startswith("/store/"):
            self.send_file(url.path.removeprefix("/store/"))
        else:
            self.json(
                404, {"Code": 10010205001, "Message": "获取模型信息失败，信息：record not found", "Success": False}
            )

    def list_files(self, revision: str) -> None:
        hub = self.server
        hub.lists += 1
        if hub.list_status != 200:
            return self.json(hub.list_status, {"Code": hub.list_status, "Message": "no", "Success": False})
        if revision not in (REVISION, "master"):
            body: dict[str, Any] = {"Code": 200, "Data": {"Files": []}, "Success": True}
            if hub.unknown_revision_status == 404:
                body = {"Code": 10990101004, "Message": "获取模型目录树失败", "Success": False}
            return self.json(hub.unknown_revision_status, body)
        if hub.list_answer is not None:
            return self.json(200, {"Code": 200, "Data": hub.list_answer, "Success": True})
        if hub.lists > 1:
            hub.listed |= hub.from_second_list
            hub.files |= hub.from_second_list
        entries: list[dict[str, Any]] = [{"Path": "docs", "Type": "tree", "Size": 0}]
        for name, data in hub.listed.items():
            digest = "" if name in hub.without_sha256 else hashlib.sha256(data).hexdigest()
            entries.append({"Path": name, "Type": "blob", "Size": len(data), "Sha256": digest})
        return self.json(200, {"Code": 200, "Data": {"Files": entries}, "Success": True})

    def send_file(self, name: str) -> None:
        data = self.server.files[name]
        self.server.before_sending.get(name, lambda: None)()
        start = 0
        if header := self.headers.get("Range"):
            start = int(header.removeprefix("bytes=").split("-")[0])
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
        else:
            self.send_response(200)
        body = data[start:]
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if name in self.server.stall:
            self.wfile.write(body[: len(body) // 2])
            self.wfile.flush()
            time.sleep(60)
        cut = self.server.cut_after.get(name)
        if cut is not None:
            body = body[:cut]
            self.close_connection = True
        self.wfile.write(body)


@pytest.fixture
def hub() -> Iterator[Hub]:
    with Hub() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def output_dir(tmp_path: Path) -> Path:
    return tmp_path / "results" / "models" / "some"


def call(entry: dict[str, Any], output_dir: Path, endpoint: str) -> tuple[list[str], dict[str, str]]:
    """Return fetch_model's arguments as in the rule, and environment variables: a token and few retries."""
    home = output_dir.parents[2]
    variables = {
        "HOME": str(home),
        "MODELSCOPE_ENDPOINT": endpoint,
        "MODELSCOPE_API_TOKEN": TOKEN,
        "MODELSCOPE_CACHE": str(home / "cache"),
        "MODELSCOPE_DOWNLOAD_MAX_RETRIES": "1",
        "MODELSCOPE_REPO_TREE_PAGE_MAX_ATTEMPTS": "1",
    }
    return ["--model", "some", "--entry", json.dumps(entry), "--output-dir", str(output_dir)], variables


def start(entry: dict[str, Any], output_dir: Path, endpoint: str = "") -> subprocess.Popen[str]:
    """Start fetch_model in the background."""
    arguments, variables = call(entry, output_dir, endpoint)
    return subprocess.Popen(
        [sys.executable, str(SCRIPT), *arguments],
        env=os.environ | variables,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        # A shell starts background processes with SIGINT ignored, and their children inherit this.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        text=True,
    )


def fetch(entry: dict[str, Any], output_dir: Path, endpoint: str = "") -> tuple[int, str]:
    """Run fetch_model and assert that it prints no secret and no traceback."""
    arguments, variables = call(entry, output_dir, endpoint)
    done = run_script("fetch_model", *arguments, env=variables)
    output = done.stderr + done.stdout
    assert TOKEN not in output
    assert "not-for-logs" not in output
    assert "Traceback" not in output
    return done.returncode, output


def modelscope(**changes: Any) -> dict[str, Any]:
    return {"source": "modelscope", "id": MODEL_ID, "revision": REVISION} | changes


def manifest(output_dir: Path) -> dict[str, Any]:
    return dict(json.loads((output_dir / "manifest.json").read_text(encoding="utf-8")))


def expected_files(files: dict[str, bytes]) -> list[dict[str, Any]]:
    return [
        {"path": name, "size": len(data), "sha256": hashlib.sha256(data).hexdigest()}
        for name, data in sorted(files.items())
    ]


def downloads(hub: Hub) -> list[str]:
    """Return the names of the files that were requested since the last call."""
    names = [url.partition("/store/")[2].partition("?")[0] for url in hub.requests if "/store/" in url]
    names += [parse_qs(urlsplit(url).query)["FilePath"][0] for url in hub.requests if "FilePath=" in url]
    hub.requests.clear()
    return names


def test_a_repository_is_downloaded_and_verified(hub: Hub, output_dir: Path) -> None:
    code, output = fetch(modelscope(), output_dir, hub.endpoint)
    assert code == 0, output
    assert manifest(output_dir) == {
        "model": "some",
        "source": "modelscope",
        "revision": REVISION,
        "files": expected_files(hub.files),
    }
    for name, data in hub.files.items():
        assert (output_dir / name).read_bytes() == data
    progress = [line for line in output.splitlines() if line.startswith(f"stage 2 of 5, download {MODEL_ID}: ")]
    assert "\r" not in output
    assert re.search(r": 100 %, 0\.00 of 0\.00 GB, [\d.]+ MB/s, 0:00:00 left$", progress[-1])
    downloads(hub)
    code, output = fetch(modelscope(), output_dir, hub.endpoint)
    assert code == 0, output
    assert downloads(hub) == []  # complete: nothing is downloaded again


def test_a_branch_is_downloaded_and_its_checksums_are_printed(hub: Hub, output_dir: Path) -> None:
    code, output = fetch(modelscope(revision="master"), output_dir, hub.endpoint)
    assert code == 0, output
    assert f"master of {MODEL_ID} may change" in output
    printed = yaml.safe_load("sha256:" + output.split("  sha256:")[1])["sha256"]
    listed = {file["path"]: file["sha256"] for file in manifest(output_dir)["files"]}
    assert printed == {path: digest for path, digest in listed.items() if path != "docs/README.md"}
    hub.listed["config.json"] = hub.files["config.json"] = b'{"model_type": "other"}'
    code, output = fetch(modelscope(revision="master", sha256=printed), output_dir, hub.endpoint)
    assert code == 1
    assert "this is not the model of the registry" in output


def test_a_cut_connection_is_named_and_resumed(hub: Hub, output_dir: Path) -> None:
    hub.cut_after[SHARD] = 300_000
    code, output = fetch(modelscope(), output_dir, hub.endpoint)
    assert code == 1
    assert f"{SHARD}: the connection failed or broke off" in output
    assert "run the same command again" in output
    assert not (output_dir / "manifest.json").exists()
    assert not (output_dir / SHARD).exists()
    kept = (output_dir / f"{SHARD}.incomplete").stat().st_size
    assert kept == 600_000  # the first attempt and one retry, each cut
    downloads(hub)

    hub.cut_after.clear()
    code, output = fetch(modelscope(), output_dir, hub.endpoint)
    assert code == 0, output
    assert set(downloads(hub)) == {SHARD}  # only the rest
    assert manifest(output_dir)["files"] == expected_files(hub.files)


def test_a_killed_download_is_resumed(hub: Hub, output_dir: Path) -> None:
    hub.stall.add(SHARD)
    process = start(modelscope(), output_dir, hub.endpoint)
    partial = output_dir / f"{SHARD}.incomplete"
    wait_for(lambda: partial.exists() and partial.stat().st_size, 300, "download")
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert partial.stat().st_size > 0
    assert not (output_dir / "manifest.json").exists()

    hub.stall.clear()
    code, output = fetch(modelscope(), output_dir, hub.endpoint)
    assert code == 0, output
    assert manifest(output_dir)["files"] == expected_files(hub.files)


def test_an_interrupted_download_says_that_it_resumes(hub: Hub, output_dir: Path) -> None:
    hub.stall.add(SHARD)
    process = start(modelscope(), output_dir, hub.endpoint)
    wait_for((output_dir / f"{SHARD}.incomplete").exists, 300, "download")
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate()
    assert process.returncode == 130
    assert "the same command resumes" in output
    assert not (output_dir / "manifest.json").exists()


def test_a_truncated_file_is_refused(hub: Hub, output_dir: Path) -> None:
    hub.files[SHARD] = hub.files[SHARD][:-1]
    code, output = fetch(modelscope(), output_dir, hub.endpoint)
    assert code == 1
    assert f"{SHARD}: truncated" in output
    assert not (output_dir / SHARD).exists()
    assert (output_dir / "model-00001-of-00002.safetensors").exists()  # complete files are kept
    assert not (output_dir / "manifest.json").exists()


def test_a_corrupted_file_is_refused(hub: Hub, output_dir: Path) -> None:
    hub.files["config.json"] = hub.files["config.json"].replace(b"qwen2", b"qwen3")
    code, output = fetch(modelscope(), output_dir, hub.endpoint)
    assert code == 1
    assert "config.json: corrupted: the SHA-256" in output
    assert not (output_dir / "config.json").exists()
    assert not (output_dir / "manifest.json").exists()


def test_a_file_that_was_changed_on_disk_is_downloaded_again(hub: Hub, output_dir: Path) -> None:
    assert fetch(modelscope(), output_dir, hub.endpoint)[0] == 0
    (output_dir / "config.json").write_bytes(hub.files["config.json"].replace(b"qwen2", b"qwen3"))
    downloads(hub)
    assert fetch(modelscope(), output_dir, hub.endpoint)[0] == 0
    assert downloads(hub) == ["config.json"]


def test_a_missing_file_is_found_although_the_client_reports_success(hub: Hub, output_dir: Path) -> None:
    def lose() -> None:
        """Remove a completed file, which the client does not check again."""
        wait_for((output_dir / "config.json").exists, 300, "config.json")
        (output_dir / "config.json").unlink()

    hub.before_sending[SHARD] = lose
    code, output = fetch(modelscope(), output_dir, hub.endpoint)
    assert code == 1
    assert f"{output_dir / 'config.json'} is missing although the client reported success" in output
    assert not (output_dir / "manifest.json").exists()


def test_the_checked_list_is_the_downloaded_list(hub: Hub, output_dir: Path, tmp_path: Path) -> None:
    """The hub first lists harmless files and later files outside the folder; it is asked only once."""
    hub.from_second_list = {"../../../escaped": b"x", str(tmp_path / "absolute"): b"x", "model.py": b"x"}
    code, output = fetch(modelscope(), output_dir, hub.endpoint)
    assert code == 0, output
    assert hub.lists == 1
    assert manifest(output_dir)["files"] == expected_files(some_model())
    assert not {"escaped", "absolute"} & {path.name for path in tmp_path.iterdir()}
    assert not (output_dir / "model.py").exists()


def test_a_list_without_a_shard_is_refused(hub: Hub, output_dir: Path) -> None:
    del hub.listed[SHARD]
    code, output = fetch(modelscope(), output_dir, hub.endpoint)
    assert code == 1
    assert f"the model is not complete; it lacks {SHARD}" in output
    assert not (output_dir / "manifest.json").exists()


def test_a_list_without_a_checksum_is_refused(hub: Hub, output_dir: Path) -> None:
    hub.without_sha256.add(SHARD)
    code, output = fetch(modelscope(), output_dir, hub.endpoint)
    assert code == 1
    assert f"lists no SHA-256 for {SHARD}" in output
    assert downloads(hub) == []


@pytest.mark.parametrize("name", ["../../escaped", "/tmp/escaped", "escaped\n", "\ud800escaped"])
def test_a_listed_path_outside_the_directory_is_refused(hub: Hub, output_dir: Path, name: str) -> None:
    hub.listed[name] = hub.files[name] = b"x"
    code, output = fetch(modelscope(), output_dir, hub.endpoint)
    assert code == 1
    assert f"{printable(name)}, which is refused" in output
    assert not list(output_dir.parents[2].rglob("*escaped*"))
    assert downloads(hub) == []


def test_listed_files_that_would_overwrite_each_other_are_refused(hub: Hub, output_dir: Path) -> None:
    hub.listed["Config.json"] = hub.files["Config.json"] = b"x"
    code, output = fetch(modelscope(), output_dir, hub.endpoint)
    assert code == 1
    assert "config.json and Config.json are one file on file systems that ignore letter case" in output
    assert downloads(hub) == []


def listed(**changes: Any) -> dict[str, Any]:
    return {"Files": [{"Path": "config.json", "Type": "blob", "Size": 1, "Sha256": "0" * 64} | changes]}


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        ({"Files": {"a": 1}}, "could not be read from"),
        ({"Files": [1, 2]}, "could not be read from"),
        ({"Files": "config.json"}, "could not be read from"),
        (listed(Size="many"), "could not be read from"),
        (listed(Size=-1), "an invalid entry for config.json of Someone/Some-7B: size"),
        (listed(Size=10**18), "is too full: 1,000,000,000,000.0 MB to download"),
        (listed(Sha256="zz"), "an invalid entry for config.json of Someone/Some-7B: sha256"),
        (listed(Sha256=7), "an invalid entry for config.json of Someone/Some-7B: sha256"),
        (listed(Path=""), "with the name , which is refused"),
        ({"Files": listed()["Files"] * 2}, "config.json and config.json are one file"),
        ({"Files": listed()["Files"] * 2001}, "lists 2001 files"),
    ],
)
def test_an_absurd_list_is_named(hub: Hub, output_dir: Path, answer: Any, message: str) -> None:
    hub.list_answer = answer
    code, output = fetch(modelscope(), output_dir, hub.endpoint)
    assert code == 1
    assert message in output
    assert downloads(hub) == []


@pytest.mark.parametrize("location", ["file:///etc/passwd", "http://[", "ftp://127.0.0.1/x", "http://127.0.0.1:9/x"])
def test_a_redirect_to_nonsense_is_named(hub: Hub, output_dir: Path, location: str) -> None:
    hub.redirect[SHARD] = location
    code, output = fetch(modelscope(), output_dir, hub.endpoint)
    assert code == 1
    assert f"{SHARD}: " in output
    assert not (output_dir / SHARD).exists()


def pins() -> dict[str, str]:
    """Return the SHA-256 of every file of the model that an engine reads."""
    return {name: hashlib.sha256(data).hexdigest() for name, data in engine_files().items()}


def test_a_file_that_differs_from_the_registrys_pin_is_refused_before_the_download(hub: Hub, output_dir: Path) -> None:
    digest = hashlib.sha256(hub.files[SHARD]).hexdigest()
    upper = {name: pin.upper() for name, pin in pins().items()}
    assert fetch(modelscope(sha256=upper), output_dir, hub.endpoint)[0] == 0
    downloads(hub)
    code, output = fetch(modelscope(sha256={SHARD: "0" * 64}), output_dir, hub.endpoint)
    assert code == 1
    assert f"{SHARD} of {MODEL_ID} at revision {REVISION} has SHA-256 {digest}" in output
    code, output = fetch(modelscope(sha256={"model.safetensors": "0" * 64}), output_dir, hub.endpoint)
    assert code == 1
    assert "has no file model.safetensors, which the registry pins" in output
    assert downloads(hub) == []


def test_a_file_that_replaces_pinned_weights_is_refused(hub: Hub, output_dir: Path) -> None:
    """If a model has both, transformers loads model.safetensors and not the shards."""
    hub.listed["model.safetensors"] = hub.files["model.safetensors"] = b"other weights"
    code, output = fetch(modelscope(sha256=pins()), output_dir, hub.endpoint)
    assert code == 1
    assert "has files that the registry does not pin" in output
    assert f"    model.safetensors: {hashlib.sha256(b'other weights').hexdigest()}" in output
    assert downloads(hub) == []


def files_with(*names: str) -> tuple[ModelFile, ...]:
    """Return the files of the model and additional files."""
    pinned = [ModelFile(path=name, size=1, sha256=digest) for name, digest in pins().items()]
    return tuple(pinned + [ModelFile(path=name, size=1, sha256="7" * 64) for name in names])


@pytest.mark.parametrize(
    "name",
    [
        "pytorch_model.bin",
        "original/consolidated.00.pth",
        "model.gguf",
        "modeling_some.py",
        "tokenizer.model",
        "vocab.txt",
        "chat_template.jinja",
        "additional_chat_templates/tools.jinja",
        "generation_config.json",
        "adapter_config.json",
        "README/model.safetensors",
        "README.md.py",
        "something",
    ],
)
def test_a_file_that_an_engine_could_load_must_be_pinned_where_others_are(name: str) -> None:
    with pytest.raises(InputError, match=f"does not pin.*\n    {re.escape(name)}: {'7' * 64}$"):
        check_pins(files_with(name), pins(), "x")
    check_pins(files_with(name), pins() | {name: "7" * 64}, "x")
    check_pins(files_with(name), {}, "x")


@pytest.mark.parametrize(
    "name", ["LICENSE", "LICENSE.txt", "README.md", "configuration.json", "figures/scores.png", ".gitattributes"]
)
def test_documentation_needs_no_checksum(name: str) -> None:
    check_pins(files_with(name), pins(), "x")


@pytest.fixture
def local(tmp_path: Path) -> Path:
    """The folder of a local model."""
    for name, data in some_model().items():
        path = tmp_path / "local" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return tmp_path / "local"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("model.safetensors", "weights twice: model.safetensors and model-00001-of-00002.safetensors"),
        ("extra.safetensors", "weights twice: extra.safetensors"),
        ("adapter_config.json", "engines would load another base model"),
    ],
)
def test_files_that_engines_would_load_instead_are_refused_without_pins_too(
    local: Path, name: str, message: str
) -> None:
    check_complete(local, set(some_model()))
    (local / name).touch()
    with pytest.raises(InputError, match=message):
        check_complete(local, {*some_model(), name})


@pytest.mark.parametrize(
    ("index", "message"),
    [
        (b"not JSON", "model.safetensors.index.json:1: not JSON"),
        (b"\xff", "model.safetensors.index.json: not UTF-8"),
        (b"[]", "expected an object `weight_map`"),
        (b'{"weight_map": ["a"]}', "expected an object `weight_map`"),
        (b'{"weight_map": {"a": ["b"]}}', "expected an object `weight_map`"),
        (b'{"weight_map": {"a": "../../a.safetensors"}}', r"it lacks \.\./\.\./a\.safetensors"),
    ],
)
def test_a_broken_index_of_weights_is_named(local: Path, index: bytes, message: str) -> None:
    (local / "model.safetensors.index.json").write_bytes(index)
    with pytest.raises(InputError, match=message):
        check_complete(local, set(some_model()))


@pytest.mark.parametrize("status", [200, 404])
def test_an_unknown_revision_is_named(hub: Hub, output_dir: Path, status: int) -> None:
    hub.unknown_revision_status = status
    code, output = fetch(modelscope(revision="main"), output_dir, hub.endpoint)
    assert code == 1
    assert f"{hub.endpoint} has no revision main of {MODEL_ID}" in output


def test_an_unknown_model_is_named(hub: Hub, output_dir: Path) -> None:
    code, output = fetch(modelscope(id="Someone/Nothing"), output_dir, hub.endpoint)
    assert code == 1
    assert f"{hub.endpoint} has no model Someone/Nothing, or it is private" in output


@pytest.mark.parametrize(
    ("status", "message"),
    [
        (401, "refuses access to Someone/Some-7B; set MODELSCOPE_API_TOKEN"),
        (403, "refuses access to Someone/Some-7B; set MODELSCOPE_API_TOKEN"),
        (503, "the list of files of Someone/Some-7B could not be read from"),
    ],
)
def test_a_hub_that_refuses_is_named(hub: Hub, output_dir: Path, status: int, message: str) -> None:
    hub.list_status = status
    code, output = fetch(modelscope(), output_dir, hub.endpoint)
    assert code == 1
    assert message in output


def test_no_network_is_named(output_dir: Path) -> None:
    code, output = fetch(modelscope(), output_dir, "http://127.0.0.1:9")
    assert code == 1
    assert "could not be read from http://127.0.0.1:9: the connection failed" in output
    assert "MODELSCOPE_ENDPOINT" in output


@pytest.fixture
def small_disk(output_dir: Path) -> Iterator[Path]:
    """An output folder on a file system of 4 MiB, one more than the model needs."""
    output_dir.mkdir(parents=True)
    mount = ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(output_dir)]
    if os.geteuid() or shutil.which("mount") is None or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("only root can mount a small file system")
    yield output_dir
    subprocess.run(["umount", str(output_dir)], check=True)


def test_a_disk_that_fills_up_during_the_download_is_named(hub: Hub, small_disk: Path) -> None:
    ballast = small_disk / ".ballast"

    def fill_disk() -> None:
        """Use up the space for the last file when the others are complete."""
        others = hub.files.keys() - {SHARD}
        wait_for(lambda: all((small_disk / name).exists() for name in others), 300, "other files")
        ballast.write_bytes(bytes(2 << 20))

    hub.before_sending[SHARD] = fill_disk
    code, output = fetch(modelscope(), small_disk, hub.endpoint)
    assert code == 1
    assert f"{SHARD}: no space left on the disk; free some" in output
    assert (small_disk / "config.json").exists()  # complete files are kept
    assert not (small_disk / "manifest.json").exists()
    assert not (small_disk / SHARD).exists()

    hub.before_sending.clear()
    ballast.unlink()
    downloads(hub)
    code, output = fetch(modelscope(), small_disk, hub.endpoint)
    assert code == 0, output
    assert "config.json" not in downloads(hub)


def test_a_disk_that_is_too_small_is_named_before_the_download(hub: Hub, small_disk: Path) -> None:
    (small_disk / ".ballast").write_bytes(bytes(2 << 20))
    code, output = fetch(modelscope(), small_disk, hub.endpoint)
    assert code == 1
    assert f"the disk of {small_disk} is too full: 3.1 MB to download, 2.1 MB free" in output
    assert downloads(hub) == []


def test_a_local_model_is_linked_and_follows_its_source(local: Path, output_dir: Path) -> None:
    entry = {"source": "path", "path": str(local)}
    code, output = fetch(entry, output_dir)
    assert code == 0, output
    assert manifest(output_dir) == {
        "model": "some",
        "source": "path",
        "revision": None,
        "files": expected_files(engine_files()),
    }
    assert (output_dir / SHARD).is_symlink()

    changed = engine_files() | {SHARD: b"new" + some_model()[SHARD][3:]}
    del changed["merges.txt"]
    (local / SHARD).write_bytes(changed[SHARD])
    (local / "merges.txt").unlink()
    assert fetch(entry, output_dir)[0] == 0
    assert manifest(output_dir)["files"] == expected_files(changed)
    assert not (output_dir / "merges.txt").is_symlink()


def test_the_documentation_of_a_local_model_is_left_out(local: Path, output_dir: Path) -> None:
    """A corrected model card must not train anything again."""
    entry = {"source": "path", "path": str(local)}
    assert fetch(entry, output_dir)[0] == 0
    before = manifest(output_dir)
    (local / "docs" / "README.md").write_text("更正")
    (local / "loss.svg").write_text("<svg/>")
    assert fetch(entry, output_dir)[0] == 0
    assert manifest(output_dir) == before
    assert not (output_dir / "docs").exists()


def test_an_unchanged_local_model_is_not_read_again(local: Path, output_dir: Path) -> None:
    entry = {"source": "path", "path": str(local)}
    assert fetch(entry, output_dir)[0] == 0
    cache = output_dir / ".checksums.json"
    remembered = cache.read_text(encoding="utf-8")
    digest = hashlib.sha256(some_model()[SHARD]).hexdigest()
    cache.write_text(remembered.replace(digest, "7" * 64), encoding="utf-8")
    assert fetch(entry, output_dir)[0] == 0
    assert {item["path"]: item["sha256"] for item in manifest(output_dir)["files"]}[SHARD] == "7" * 64

    times = (local / SHARD).stat()
    (local / SHARD).write_bytes(bytes(len(some_model()[SHARD])))  # same size
    os.utime(local / SHARD, ns=(times.st_atime_ns, times.st_mtime_ns))  # same modification time
    assert fetch(entry, output_dir)[0] == 0
    assert manifest(output_dir)["files"] == expected_files(engine_files() | {SHARD: bytes(len(some_model()[SHARD]))})


def test_a_missing_or_incomplete_local_model_is_refused(local: Path, output_dir: Path) -> None:
    code, output = fetch({"source": "path", "path": "no/such"}, output_dir)
    assert code == 1
    assert "no/such is not a folder" in output
    (local / SHARD).unlink()
    code, output = fetch({"source": "path", "path": str(local)}, output_dir)
    assert code == 1
    assert f"it lacks {SHARD}" in output
    assert not (output_dir / "manifest.json").exists()


@pytest.mark.parametrize("damage", ["", "[]", '{"config.json": {"state": 1, "sha256": "x"}}'])
def test_damaged_cached_checksums_are_not_used(local: Path, output_dir: Path, damage: str) -> None:
    entry = {"source": "path", "path": str(local)}
    assert fetch(entry, output_dir)[0] == 0
    (output_dir / ".checksums.json").write_text(damage, encoding="utf-8")
    assert fetch(entry, output_dir)[0] == 0
    assert manifest(output_dir)["files"] == expected_files(engine_files())


def test_a_local_model_must_be_the_pinned_one(local: Path, output_dir: Path) -> None:
    entry = {"source": "path", "path": str(local), "sha256": pins()}
    assert fetch(entry, output_dir)[0] == 0
    (local / "tokenizer.json").write_text("{}")
    code, output = fetch(entry, output_dir)
    assert code == 1
    assert "has files that the registry does not pin" in output
    assert "    tokenizer.json: " in output
    (local / "tokenizer.json").unlink()
    (local / "config.json").write_text("{}")
    code, output = fetch(entry, output_dir)
    assert code == 1
    assert f"config.json of {local} has SHA-256" in output
    assert not (output_dir / "manifest.json").exists()


def test_a_local_model_may_consist_of_links_as_in_a_cache_of_a_hub(
    local: Path, output_dir: Path, tmp_path: Path
) -> None:
    (tmp_path / "blobs").mkdir()
    (local / SHARD).rename(tmp_path / "blobs" / "0")
    (local / SHARD).symlink_to("../blobs/0")
    (local / ".cache").mkdir()
    (local / ".cache" / "broken").symlink_to("nowhere")  # hidden: not part of the model
    code, output = fetch({"source": "path", "path": str(local)}, output_dir)
    assert code == 0, output
    assert manifest(output_dir)["files"] == expected_files(engine_files())


def pipe(path: Path) -> None:
    os.mkfifo(path)


def broken_link(path: Path) -> None:
    path.symlink_to("nowhere")


def link_to_folder(path: Path) -> None:
    path.symlink_to("docs")


def not_utf8(path: Path) -> None:
    (path.parent / os.fsdecode(b"\xff.json")).touch()


def other_case(path: Path) -> None:
    (path.parent / "CONFIG.json").touch()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (pipe, "tokenizer.json is not a regular file"),
        (broken_link, "tokenizer.json is not a regular file"),
        (link_to_folder, "tokenizer.json is a link to a folder"),
        (not_utf8, r"'\udcff.json' does not name a file"),
        (other_case, "CONFIG.json and config.json are one file"),
    ],
)
def test_a_local_file_that_cannot_be_part_of_a_model_is_named(
    local: Path, output_dir: Path, make: Callable[[Path], None], message: str
) -> None:
    make(local / "tokenizer.json")
    code, output = fetch({"source": "path", "path": str(local)}, output_dir)
    assert code == 1
    assert message in output


def test_a_local_model_in_its_own_output_folder_is_refused_and_kept(local: Path) -> None:
    for path in (local, local.parent):
        code, output = fetch({"source": "path", "path": str(path)}, local)
        assert code == 1
        assert "contains the other" in output
    assert (local / SHARD).read_bytes() == some_model()[SHARD]


def test_a_download_does_not_write_through_the_links_of_a_local_model(hub: Hub, local: Path, output_dir: Path) -> None:
    assert fetch({"source": "path", "path": str(local)}, output_dir)[0] == 0
    (output_dir / "docs").symlink_to(local / "docs")
    hub.listed["docs/README.md"] = hub.files["docs/README.md"] = b"new"
    code, output = fetch(modelscope(), output_dir, hub.endpoint)
    assert code == 0, output
    assert not [path for path in output_dir.rglob("*") if path.is_symlink()]
    assert (local / "docs" / "README.md").read_bytes() == some_model()["docs/README.md"]


def test_leftover_files_of_another_model_are_refused(local: Path, output_dir: Path) -> None:
    output_dir.mkdir(parents=True)
    (output_dir / "model.safetensors").write_bytes(b"older")
    code, output = fetch({"source": "path", "path": str(local)}, output_dir)
    assert code == 1
    assert "holds files that are not part of the model; delete them: model.safetensors" in output


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ("{", "must be a JSON object"),
        ("[]", "must be a JSON object"),
        ('{"source": "hf"}', "whose source is path or modelscope"),
        ('{"source": "modelscope", "id": "a/b"}', "a model of source modelscope needs revision"),
    ],
)
def test_a_bad_entry_is_an_error_of_usage(output_dir: Path, entry: str, message: str) -> None:
    result = run_script("fetch_model", "--model", "some", "--entry", entry, "--output-dir", output_dir)
    assert result.returncode == 2
    assert message in result.stderr
