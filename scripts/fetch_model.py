"""Fetch a base model into `results/models/{model}/` and write its manifest last.

The registry entry gives the source of the model:

    {"source": "path", "path": "data/models/entitune-tiny"}
        The files are linked, not copied: a 15 GB model needs no disk space and is read once for its checksums.
    {"source": "modelscope", "id": "Qwen/Qwen2.5-7B-Instruct", "revision": "16c1749..."}
        The files are downloaded with the ModelScope client.

An optional key `sha256`, {FILE: HASH, ...}, pins the files of either source: other contents are refused, and so are
files that are not pinned but that an engine could load.

The size and SHA-256 of all files are checked before `manifest.json` is written, so a folder without a manifest is not
finished. The same command resumes a download and keeps complete files. Code of a model is never run.
MODELSCOPE_ENDPOINT sets another hub, and MODELSCOPE_API_TOKEN a token for private models.
"""

from __future__ import annotations

import argparse
import errno
import json
import os
import re
import shutil
import sys
import threading
import time
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from pydantic import ValidationError

from entitune.cli import InputError, printable, run
from entitune.files import read_json
from entitune.manifests import (
    MANIFEST,
    ModelFile,
    ModelManifest,
    check_distinct,
    check_path,
    check_unlisted,
    describe,
    engine_files,
    first_problem,
    is_documentation,
)
from entitune.progress import Progress

INDEX = "model.safetensors.index.json"
WEIGHTS = "model.safetensors"
REQUIRED = {"config.json", "tokenizer_config.json"}
MAX_FILES = 2000
"""The most files of a model. A base model has tens of files, and the hub silently cuts its list at 3,000."""
COMMIT = re.compile("[0-9a-f]{40}")
"""A revision whose files never change."""


@dataclass(frozen=True)
class LocalModel:
    """A model in a local folder. `pins`: file -> SHA-256."""

    path: Path
    revision: str | None
    pins: dict[str, str]


@dataclass(frozen=True)
class HubModel:
    """A model on ModelScope at a commit, tag or branch. `pins`: file -> SHA-256."""

    id: str
    revision: str
    pins: dict[str, str]


def parse_entry(text: str) -> LocalModel | HubModel:
    """Parse `--entry`; argparse reports the ArgumentTypeError."""
    required = {"path": {"path"}, "modelscope": {"id", "revision"}}
    try:
        entry = json.loads(text)
        missing = required[entry["source"]] - entry.keys()
        pins = {name: digest.lower() for name, digest in entry.get("sha256", {}).items()}
    except (json.JSONDecodeError, KeyError, TypeError, AttributeError) as error:
        raise argparse.ArgumentTypeError("must be a JSON object whose source is path or modelscope") from error
    if missing:
        raise argparse.ArgumentTypeError(f"a model of source {entry['source']} needs {', '.join(sorted(missing))}")
    if entry["source"] == "path":
        return LocalModel(Path(entry["path"]), entry.get("revision"), pins)
    return HubModel(entry["id"], entry["revision"], pins)


def fetch_local(model: LocalModel, output_dir: Path) -> tuple[ModelFile, ...]:
    """Link a local model's files into `output_dir`. Raises InputError if a file does not match its pin.

    Documentation without a pin is left out: a corrected model card must not train anything again.
    """
    if not model.path.is_dir():
        raise InputError(f"{model.path} is not a folder; `path` of the model's registry entry must name one")
    source, target = model.path.resolve(), output_dir.resolve()
    if source.is_relative_to(target) or target.is_relative_to(source):
        raise InputError(f"one of {model.path} and {output_dir} contains the other; move the model's files elsewhere")
    names = engine_files(source, model.pins)
    for name in names:
        link = output_dir / name
        link.parent.mkdir(parents=True, exist_ok=True)
        link.unlink(missing_ok=True)
        # The link is relative, so that the repository can be moved.
        link.symlink_to(os.path.relpath(source / name, link.parent.resolve()))
    files = describe(output_dir, names, remember=True)
    check_pins(files, model.pins, str(model.path))
    return files


def fetch_hub(model: HubModel, output_dir: Path) -> tuple[ModelFile, ...]:
    """Download a model from ModelScope into `output_dir` and verify all files."""
    os.environ["TQDM_DISABLE"] = "1"  # the client's bars, one per file, overwrite each other; Progress prints lines
    # Imported here, because the client takes a second to load and a local model does not need it.
    from modelscope_hub import get_default_config

    # List and files must come from one hub: without an endpoint, the client looks for the model on two sites.
    endpoint = str(get_default_config().endpoint)
    files = list_hub(model, endpoint)
    check_pins(files, model.pins, f"{model.id} at revision {model.revision}")
    check_disk_space(files, output_dir)
    download(model, files, endpoint, output_dir)
    # The client has been seen to report success although a file was missing.
    listed = ModelManifest(model=model.id, source="modelscope", revision=model.revision, files=files)
    if problems := listed.differences(output_dir, deep=True):
        raise InputError(f"{problems[0]} although the client reported success; run the same command again")
    return files


def list_hub(model: HubModel, endpoint: str) -> tuple[ModelFile, ...]:
    """Return the files that the hub lists for a model. Raises InputError if one of them cannot be accepted."""
    entries = request_list(model, endpoint)
    if not entries:
        # The hub answers an unknown revision with an empty list.
        raise unknown_revision(model, endpoint)
    if len(entries) > MAX_FILES:
        raise InputError(f"{endpoint} lists {len(entries)} files for {model.id}; a base model has at most {MAX_FILES}")
    files = []
    for path, size, digest in entries:
        if not digest:
            raise InputError(f"{endpoint} lists no SHA-256 for {printable(path)} of {model.id}; it cannot be verified")
        try:
            check_path(path)
        except ValueError as error:
            raise InputError(f"{endpoint} lists a file with the name {printable(path)}, which is refused") from error
        try:
            files.append(ModelFile(path=path, size=size, sha256=digest.lower()))
        except ValidationError as error:
            raise InputError(
                f"{endpoint} has an invalid entry for {path} of {model.id}: {first_problem(error)}"
            ) from error
    try:
        check_distinct(file.path for file in files)
    except ValueError as error:
        raise InputError(f"{endpoint} lists files of {model.id} that are refused: {error}") from error
    return tuple(files)


def request_list(model: HubModel, endpoint: str) -> list[tuple[str, int, str]]:
    """Return the hub's unchecked list: path, size in bytes and SHA-256 ("" if there is none) of each file."""
    from modelscope_hub import HubApi
    from modelscope_hub.errors import AuthenticationError, HubError, NotExistError, PermissionDeniedError

    api = HubApi(endpoint=endpoint)
    try:
        entries = api.list_repo_files(model.id, "model", revision=model.revision)
        return [(str(entry.path), entry.size, str(entry.sha256 or "")) for entry in entries if not entry.is_dir]
    except NotExistError as error:
        try:
            exists = api.repo_exists(model.id, "model")
        except HubError:
            exists = False
        if exists:
            raise unknown_revision(model, endpoint) from error
        raise InputError(
            f"{endpoint} has no model {model.id}, or it is private; check `id` in the model's registry entry, "
            "and set MODELSCOPE_API_TOKEN for a private model"
        ) from error
    except (AuthenticationError, PermissionDeniedError) as error:
        raise InputError(f"{endpoint} refuses access to {model.id}; set MODELSCOPE_API_TOKEN") from error
    # The client raises TypeError, KeyError and others if an answer has an unexpected form.
    except Exception as error:
        raise InputError(
            f"the list of files of {model.id} could not be read from {endpoint}: {explain(error)}; check the network, "
            "set MODELSCOPE_ENDPOINT, or use a local copy with `source: path`"
        ) from error


def unknown_revision(model: HubModel, endpoint: str) -> InputError:
    """Return the error for a revision that the hub does not have."""
    return InputError(
        f"{endpoint} has no revision {model.revision} of {model.id}; `revision` in the model's registry entry must be "
        "a commit, tag or branch of that repository"
    )


def check_pins(files: tuple[ModelFile, ...], pins: dict[str, str], what: str) -> None:
    """Raise InputError unless all pinned files match, and all other files are documentation."""
    if not pins:
        return
    found = {file.path: file.sha256 for file in files}
    for name, digest in pins.items():
        if name not in found:
            raise InputError(f"{what} has no file {name}, which the registry pins with `sha256`")
        if found[name] != digest:
            raise InputError(
                f"{name} of {what} has SHA-256 {found[name]}, but the registry pins {digest}: this is not the model of "
                "the registry"
            )
    unpinned = [name for name in found if name not in pins and not is_documentation(name)]
    if unpinned:
        lines = "\n".join(f"    {name}: {found[name]}" for name in unpinned)
        raise InputError(
            f"{what} has files that the registry does not pin, but an engine could load them. If they belong to the "
            f"model, add them to `sha256` of its registry entry:\n{lines}"
        )


def check_disk_space(files: tuple[ModelFile, ...], output_dir: Path) -> None:
    """Raise InputError if the disk has no room for the rest of the download."""
    missing = 0
    for file in files:
        path = output_dir / file.path
        partial = path.with_name(path.name + ".incomplete")  # the client's file for an incomplete download
        done = max((p.stat().st_size for p in (path, partial) if p.is_file()), default=0)
        missing += max(0, file.size - done)
    free = shutil.disk_usage(output_dir).free
    if missing > free:
        raise InputError(
            f"the disk of {output_dir} is too full: {missing / 1e6:,.1f} MB to download, {free / 1e6:,.1f} MB free"
        )


class Download:
    """The progress of a download of several files."""

    def __init__(self, model_id: str, total: int) -> None:
        self._progress = Progress(f"stage 2 of 5, download {model_id}", sys.stderr)
        self._total, self._done = total, 0
        self._started = time.monotonic()
        self._lock = threading.Lock()

    def add(self, size: int) -> None:
        """Count `size` more bytes and show the progress."""
        with self._lock:
            self._done = min(self._total, self._done + size)  # bytes that are fetched again count twice
            rate = self._done / max(1e-9, time.monotonic() - self._started)
            details = f"{self._done / 1e9:.2f} of {self._total / 1e9:.2f} GB, {rate / 1e6:.1f} MB/s"
            remaining = timedelta(seconds=round((self._total - self._done) / rate))
            self._progress.show(100 * self._done / self._total, details, str(remaining))


def download(model: HubModel, files: tuple[ModelFile, ...], endpoint: str, output_dir: Path) -> None:
    """Download only `files`, with the ModelScope client. Complete files and parts of files are kept."""
    from modelscope_hub import HubApi, ProgressCallback
    from modelscope_hub.errors import FileDownloadError, HubError

    progress = Download(model.id, sum(file.size for file in files))
    # The client creates one object per file, in its own threads.
    report = type("Report", (ProgressCallback,), {"update": lambda _, size: progress.add(size)})
    try:
        HubApi(endpoint=endpoint).download_repo(
            model.id,
            "model",
            revision=model.revision,
            local_dir=output_dir,
            progress_callbacks=[report],
            # The checked list. Without it, the client would request the list again and write the files in it unchecked.
            file_list=[{"Path": file.path, "Size": file.size, "Sha256": file.sha256} for file in files],
        )
    except FileDownloadError as error:
        lines = [f"  {name}: {explain(cause)}" for name, cause in sorted(error.failed_files.items())]
        raise InputError(
            f"{len(lines)} of {error.total} files of {model.id} could not be downloaded:\n"
            + "\n".join(lines)
            + f"\nComplete files are kept in {output_dir}; run the same command again to fetch only the rest"
        ) from error
    except (HubError, OSError) as error:
        raise InputError(f"downloading {model.id} failed: {explain(error)}; run the same command again") from error


def explain(error: BaseException) -> str:
    """Return a one-line message about a failure of a file or a connection."""
    from modelscope_hub.errors import FileIntegrityError, FileSizeMismatchError, NetworkError

    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return "no space left on the disk; free some"
    if isinstance(error, FileSizeMismatchError):
        return "truncated: the size differs from the one that the hub lists"
    if isinstance(error, FileIntegrityError):
        return "corrupted: the SHA-256 differs from the one that the hub lists"
    if isinstance(error, NetworkError):
        return "the connection failed or broke off"
    # Only the first line, because the client appends requests and responses.
    return printable(str(error).splitlines()[0]) if str(error) else type(error).__name__


def check_complete(output_dir: Path, names: set[str]) -> None:
    """Raise InputError unless the folder has configuration, tokenizer and weights, and only files of the model."""
    weights = weights_of(output_dir, names)
    if missing := sorted((REQUIRED | weights) - names):
        raise InputError(f"the model is not complete; it lacks {', '.join(map(printable, missing))}")
    if "adapter_config.json" in names:
        raise InputError("the model has an adapter_config.json: engines would load another base model instead")
    if others := sorted(name for name in names - weights if name.endswith(".safetensors") and "/" not in name):
        raise InputError(
            f"the model has weights twice: {', '.join(others)} and {', '.join(sorted(weights))}; transformers and vLLM "
            "would load different ones. Use a local copy without the former, with `source: path`"
        )
    check_unlisted(output_dir, names)


def weights_of(output_dir: Path, names: set[str]) -> set[str]:
    """Return the files with the model's weights: those in the index if there is one."""
    if INDEX not in names:
        return {WEIGHTS}
    index = read_json(output_dir / INDEX)
    files = index.get("weight_map") if isinstance(index, dict) else None
    if not isinstance(files, dict) or not all(isinstance(name, str) for name in files.values()):
        raise InputError(f"{output_dir / INDEX}: expected an object `weight_map` from weights to files")
    return set(files.values())


def advise_pins(model: HubModel, files: tuple[ModelFile, ...]) -> str:
    """Return the lines that pin the present files of a model at a branch or tag in its registry entry."""
    lines = [f"    {file.path}: {file.sha256}" for file in files if not is_documentation(file.path)]
    return "\n".join(
        [
            f"{model.revision} of {model.id} may change: another download may bring other files. To refuse them, add",
            "to the model's entry in conf/models.yaml:",
            "  sha256:",
            *lines,
        ]
    )


def drop_links(folder: Path) -> None:
    """Remove the links of an earlier local source. A download could otherwise write through them."""
    for path in list(folder.rglob("*")):
        if path.is_symlink():
            path.unlink()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True, help="the model's name in the registry")
    parser.add_argument("--entry", required=True, type=parse_entry, help="the model's registry entry, as JSON")
    parser.add_argument("--output-dir", required=True, type=Path, help="folder for the model's files and manifest")
    args = parser.parse_args()

    model, output_dir = args.entry, args.output_dir
    output_dir.mkdir(parents=True, exist_ok=True)
    (output_dir / MANIFEST).unlink(missing_ok=True)  # marks the folder as not finished
    drop_links(output_dir)
    try:
        local = isinstance(model, LocalModel)
        files = fetch_local(model, output_dir) if local else fetch_hub(model, output_dir)
    except KeyboardInterrupt:
        print(f"interrupted; complete files are kept in {output_dir}; the same command resumes", file=sys.stderr)
        raise
    check_complete(output_dir, {file.path for file in files})
    if not local and not model.pins and not COMMIT.fullmatch(model.revision):
        print(advise_pins(model, files))
    source = "path" if local else "modelscope"
    ModelManifest(model=args.model, source=source, revision=model.revision, files=files).write(output_dir)


if __name__ == "__main__":
    run(main)
