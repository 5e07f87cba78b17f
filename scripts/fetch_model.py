"""Bring a base model into `results/models/{model}/` and write its manifest last.

The registry entry says where the model comes from:

    {"source": "path", "path": "data/models/entitune-tiny"}
        The files are linked, not copied: a 15 GB model costs no disk and is hashed once.
    {"source": "modelscope", "id": "Qwen/Qwen2.5-7B-Instruct", "revision": "16c1749...", "sha256": {FILE: HASH, ...}}
        `snapshot_download` of the ModelScope client. `sha256` is optional and pins files beyond the revision.

Every file is checked against its size and SHA-256 before `manifest.json` is written, so a directory without a
manifest is not finished. Running the same command again resumes: what is complete is kept. Another hub address is
set by MODELSCOPE_ENDPOINT, a token for a private model by MODELSCOPE_API_TOKEN.
"""

from __future__ import annotations

import argparse
import errno
import json
import os
import shutil
import sys
import threading
import time
from datetime import timedelta
from pathlib import Path, PurePosixPath
from typing import Any

from entitune.cli import InputError, run
from entitune.files import atomic_write, sha256, to_json
from entitune.progress import Progress

MANIFEST = "manifest.json"
CHECKSUMS = ".checksums.json"


def fetch_path(source: Path, output_dir: Path) -> list[dict[str, Any]]:
    """Link every file of a local model into `output_dir` and return the manifest's list of files."""
    if not source.is_dir():
        raise InputError(f"{source} is not a directory; `path` of the model's registry entry must name one")
    paths = sorted(
        path.relative_to(source)
        for path in source.rglob("*")
        if path.is_file() and not any(part.startswith(".") for part in path.relative_to(source).parts)
    )
    # A model directory that EntiTune made itself may be the source: its manifest is not part of the model.
    names = [path.as_posix() for path in paths if path.as_posix() != MANIFEST]
    for name in names:
        link = output_dir / name
        link.parent.mkdir(parents=True, exist_ok=True)
        temporary = link.with_name(f".{link.name}.link")
        temporary.unlink(missing_ok=True)
        # Relative, so that the repository can be moved as a whole.
        temporary.symlink_to(os.path.relpath((source / name).resolve(), link.parent.resolve()))
        temporary.replace(link)
    for path in output_dir.rglob("*"):
        if path.is_symlink() and path.relative_to(output_dir).as_posix() not in names:
            path.unlink()  # the link of a file that the source no longer has
    return describe(output_dir, names)


def describe(output_dir: Path, names: list[str]) -> list[dict[str, Any]]:
    """Return path, size and SHA-256 of each file, hashing only files that changed since the last call.

    A file counts as unchanged while size and change time are the same; no program can set the change time.
    """
    cache_path = output_dir / CHECKSUMS
    try:
        known = json.loads(cache_path.read_text(encoding="utf-8"))
    except (FileNotFoundError, json.JSONDecodeError):
        known = {}
    files, cache = [], {}
    for name in names:
        path = output_dir / name
        stat = path.stat()
        state = [str(path.resolve()), stat.st_size, stat.st_ctime_ns]
        old = known.get(name)
        digest = old["sha256"] if old and old["state"] == state else sha256(path)
        cache[name] = {"state": state, "sha256": digest}
        files.append({"path": name, "size": stat.st_size, "sha256": digest})
    with atomic_write(cache_path) as stream:
        stream.write(to_json(cache) + "\n")
    return files


class Download:
    """Progress of all files of a model together."""

    def __init__(self, model_id: str, total: int) -> None:
        self._progress = Progress(f"stage 2 of 5, download {model_id}", sys.stderr)
        self._total, self._done = total, 0
        self._started = time.monotonic()
        self._lock = threading.Lock()

    def add(self, size: int) -> None:
        """So many bytes more are there."""
        with self._lock:
            self._done = min(self._total, self._done + size)  # what is fetched anew counts again
            rate = self._done / max(1e-9, time.monotonic() - self._started)
            details = f"{self._done / 1e9:.2f} of {self._total / 1e9:.2f} GB, {rate / 1e6:.1f} MB/s"
            remaining = timedelta(seconds=round((self._total - self._done) / rate))
            self._progress.show(100 * self._done / self._total, details, str(remaining))


def fetch_modelscope(model_id: str, revision: str, pins: dict[str, str], output_dir: Path) -> list[dict[str, Any]]:
    """Download a ModelScope repository, verify every file and return the manifest's list of files."""
    os.environ["TQDM_DISABLE"] = "1"  # the client's bars, one a file, written over each other: Download has lines
    # Imported here: the client takes a second to load, and a local model does not need it.
    from modelscope.hub.snapshot_download import snapshot_download  # type: ignore[import-untyped]
    from modelscope_hub import ProgressCallback, get_default_config
    from modelscope_hub.errors import FileDownloadError, HubError

    # One hub for the list and the files: without it the client looks for the model on two sites.
    endpoint = str(get_default_config().endpoint)
    listed = list_modelscope(model_id, revision, endpoint)
    check_pins(listed, pins, f"{model_id} at revision {revision}")
    check_disk_space(listed, output_dir)
    download = Download(model_id, sum(item["size"] for item in listed))
    # The client makes one object a file, in threads of its own.
    report = type("Report", (ProgressCallback,), {"update": lambda _, size: download.add(size)})
    try:
        snapshot_download(
            model_id, revision=revision, local_dir=str(output_dir), endpoint=endpoint, progress_callbacks=[report]
        )
    except FileDownloadError as error:
        lines = [f"  {name}: {explain(cause)}" for name, cause in sorted(error.failed_files.items())]
        raise InputError(
            f"{len(lines)} of {error.total} files of {model_id} could not be downloaded:\n"
            + "\n".join(lines)
            + f"\nWhat is complete is kept in {output_dir}; run the same command again to fetch only the rest"
        ) from error
    except (HubError, OSError) as error:
        raise InputError(f"downloading {model_id} failed: {explain(error)}; run the same command again") from error

    # The client has reported success with a file missing, so its word is not enough.
    files = []
    for item in listed:
        path = output_dir / item["path"]
        if not path.is_file():
            problem = "is missing although the client reported success"
        elif path.stat().st_size != item["size"]:
            problem = f"has {path.stat().st_size} bytes, the hub lists {item['size']}"
        elif sha256(path) != item["sha256"]:
            problem = "does not have the SHA-256 that the hub lists"
        else:
            files.append(item)
            continue
        path.unlink(missing_ok=True)
        raise InputError(f"{path} {problem}; it was removed, run the same command again to fetch it anew")
    return files


def list_modelscope(model_id: str, revision: str, endpoint: str) -> list[dict[str, Any]]:
    """Return path, size and SHA-256 of each file that the hub lists for a revision."""
    from modelscope_hub import HubApi
    from modelscope_hub.errors import AuthenticationError, HubError, NotExistError, PermissionDeniedError

    api = HubApi(endpoint=endpoint)
    try:
        entries = [entry for entry in api.list_repo_files(model_id, "model", revision=revision) if not entry.is_dir]
    except NotExistError as error:
        try:
            exists = api.repo_exists(model_id, "model")
        except HubError:
            exists = False
        if exists:
            raise unknown_revision(model_id, revision, endpoint) from error
        raise InputError(
            f"{endpoint} has no model {model_id}, or it is private; check `id` in the model's registry entry, "
            "and set MODELSCOPE_API_TOKEN for a private model"
        ) from error
    except (AuthenticationError, PermissionDeniedError) as error:
        raise InputError(f"{endpoint} refuses access to {model_id}; set MODELSCOPE_API_TOKEN") from error
    except (HubError, OSError, ValueError) as error:
        raise InputError(
            f"the list of files of {model_id} could not be read from {endpoint}: {explain(error)}; check the network "
            "or set MODELSCOPE_ENDPOINT, or use a local copy: source: path"
        ) from error
    if not entries:
        # The hub answers a revision that it does not know with an empty list.
        raise unknown_revision(model_id, revision, endpoint)
    files = []
    for entry in entries:
        path = PurePosixPath(entry.path)
        if path.is_absolute() or ".." in path.parts or entry.path in (MANIFEST, CHECKSUMS):
            raise InputError(f"{endpoint} lists a file with the name {entry.path}, which is refused")
        if not entry.sha256:
            raise InputError(f"{endpoint} lists no SHA-256 for {entry.path} of {model_id}: it could not be verified")
        files.append({"path": entry.path, "size": entry.size, "sha256": entry.sha256.lower()})
    return sorted(files, key=lambda item: item["path"])


def unknown_revision(model_id: str, revision: str, endpoint: str) -> InputError:
    """The error for a revision that the hub does not have."""
    return InputError(
        f"{endpoint} has no revision {revision} of {model_id}; `revision` in the model's registry entry must be a "
        "commit, tag or branch of that repository"
    )


def check_pins(files: list[dict[str, Any]], pins: dict[str, str], what: str) -> None:
    """Raise InputError unless every file that the registry pins is listed with the pinned SHA-256."""
    found = {item["path"]: item["sha256"] for item in files}
    for name, digest in pins.items():
        if name not in found:
            raise InputError(f"{what} has no file {name}, which the registry pins by `sha256`")
        if found[name] != digest.lower():
            raise InputError(
                f"{name} of {what} has SHA-256 {found[name]}, the registry pins {digest}: not the model that the "
                "registry means; nothing was written"
            )


def check_disk_space(files: list[dict[str, Any]], output_dir: Path) -> None:
    """Raise InputError if what is still to be downloaded does not fit, before the first byte is."""
    missing = 0
    for item in files:
        path = output_dir / item["path"]
        partial = path.with_name(path.name + ".incomplete")  # where the client resumes
        done = max((p.stat().st_size for p in (path, partial) if p.is_file()), default=0)
        missing += max(0, item["size"] - done)
    free = shutil.disk_usage(output_dir).free
    if missing > free:
        raise InputError(
            f"the disk of {output_dir} is too full: {missing / 1e6:,.1f} MB to download, {free / 1e6:,.1f} MB free"
        )


def explain(error: BaseException) -> str:
    """One line for a person: what went wrong with a file or a connection, and what to do about it."""
    from modelscope_hub.errors import FileIntegrityError, FileSizeMismatchError, NetworkError

    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return "no space left to write it; free some"
    if isinstance(error, FileSizeMismatchError):
        return "truncated: the hub sent another number of bytes than it lists"
    if isinstance(error, FileIntegrityError):
        return "corrupted: the SHA-256 is not the one that the hub lists"
    if isinstance(error, NetworkError):
        return "the connection failed or broke off"
    # Only the first line: the client appends requests and responses.
    return str(error).splitlines()[0] if str(error) else type(error).__name__


def check_complete(output_dir: Path, names: list[str]) -> None:
    """Raise InputError unless configuration, tokenizer and every weight shard are there, and nothing else is."""
    index = "model.safetensors.index.json"
    if index in names:
        weights = set(json.loads((output_dir / index).read_text(encoding="utf-8"))["weight_map"].values())
    else:
        weights = {"model.safetensors"}
    missing = sorted(({"config.json", "tokenizer_config.json"} | weights) - set(names))
    if missing:
        raise InputError(f"the model is not complete, it lacks {', '.join(missing)}")
    present = {path.relative_to(output_dir).as_posix() for path in output_dir.rglob("*") if not path.is_dir()}
    strangers = sorted(present - set(names) - {CHECKSUMS})
    if strangers:
        # Not deleted unasked; an old model.safetensors would be loaded instead of new shards.
        raise InputError(f"{output_dir} holds files of something else, delete them: {', '.join(strangers)}")


def registry_entry(text: str) -> dict[str, Any]:
    """Parse `--entry`; argparse reports the ArgumentTypeError."""
    required = {"path": {"path"}, "modelscope": {"id", "revision"}}
    try:
        entry = json.loads(text)
        missing = required[entry["source"]] - entry.keys()
    except (json.JSONDecodeError, KeyError, TypeError) as error:
        raise argparse.ArgumentTypeError("must be a JSON object whose source is path or modelscope") from error
    if missing:
        raise argparse.ArgumentTypeError(f"a model of source {entry['source']} needs {', '.join(sorted(missing))}")
    return dict(entry)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True, help="the model's name in the registry")
    parser.add_argument("--entry", required=True, type=registry_entry, help="the model's registry entry, as JSON")
    parser.add_argument("--output-dir", required=True, type=Path, help="where the model's files and manifest go")
    args = parser.parse_args()

    entry, output_dir = args.entry, args.output_dir
    output_dir.mkdir(parents=True, exist_ok=True)
    (output_dir / MANIFEST).unlink(missing_ok=True)  # from here on the directory is not finished
    try:
        if entry["source"] == "path":
            files = fetch_path(Path(entry["path"]), output_dir)
            check_pins(files, entry.get("sha256", {}), entry["path"])
        else:
            files = fetch_modelscope(entry["id"], entry["revision"], entry.get("sha256", {}), output_dir)
    except KeyboardInterrupt:
        print(f"interrupted; what is complete is kept in {output_dir}, the same command resumes", file=sys.stderr)
        raise
    check_complete(output_dir, [item["path"] for item in files])
    manifest = {"model": args.model, "source": entry["source"], "revision": entry.get("revision"), "files": files}
    with atomic_write(output_dir / MANIFEST) as stream:
        stream.write(json.dumps(manifest, ensure_ascii=False, indent=2) + "\n")


if __name__ == "__main__":
    run(main)
