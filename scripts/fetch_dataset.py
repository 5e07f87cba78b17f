"""Fetch the raw splits of a dataset, byte for byte: local files, or members of a zip or tar archive.

The source is given as JSON with the keys of the dataset's registry entry that concern it:

  local files      {"splits": {"train": "data/demo/train.json"}}
  archive          {"archive": {"urls": ["https://host/a.zip", "https://mirror/a.zip"], "sha256": "6dcc..."},
                    "splits": {"train": "train.json"}}
  archive at hand  the same with "local_archive": "a.zip"; it must have the same checksum

Splits of an archive are names of its members. A split may also be {"path": ..., "sha256": ...}. URLs are tried in turn.
An interrupted download is resumed, in the next run too; nothing is unpacked before the checksum fits.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import lzma
import re
import sys
import tarfile
import time
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO, Any

import requests
from tqdm import tqdm
from urllib3.util import Retry

from entitune.cli import InputError, run
from entitune.files import atomic_write, sha256

ATTEMPTS = 4  # at each URL
BACKOFF_SECONDS = 1.0  # doubled after every attempt
_CHUNK_BYTES = 1 << 16


@dataclass(frozen=True)
class Source:
    """Where the splits come from. `splits` is split -> (path or member, SHA-256 or None)."""

    splits: dict[str, tuple[str, str | None]]
    urls: tuple[str, ...] = ()
    archive_sha256: str | None = None
    local_archive: str | None = None


def parse_source(entry: Any) -> Source:
    """Read a registry entry's source. Raises ValueError naming the key that is wrong."""
    _check_keys("the entry", entry, required={"splits"}, optional={"archive", "local_archive"})
    local_archive = entry.get("local_archive")
    if not isinstance(local_archive, str | None):
        raise ValueError("local_archive must be a path or null")
    archive = entry.get("archive")
    urls: list[str] = []
    checksum = None
    if archive is not None:
        _check_keys("archive", archive, required={"sha256"}, optional={"urls", "revision"})
        urls = archive.get("urls", [])
        if not isinstance(urls, list) or not all(isinstance(url, str) for url in urls):
            raise ValueError("archive.urls must be a list of addresses")
        if not urls and local_archive is None:
            raise ValueError("archive.urls is missing or empty, and there is no local_archive")
        checksum = _checksum("archive.sha256", archive["sha256"])
    elif local_archive is not None:
        raise ValueError("local_archive needs archive.sha256")
    if not isinstance(entry["splits"], dict) or not entry["splits"]:
        raise ValueError("splits must name at least one split and its file")
    splits = {}
    for split, value in entry["splits"].items():
        if not re.fullmatch(r"\w[\w.-]*", split):
            raise ValueError(f"splits: {split!r} cannot name a file; expected letters, digits, _ and -")
        file = value if isinstance(value, dict) else {"path": value}
        _check_keys(f"splits.{split}", file, required={"path"}, optional={"sha256"})
        if not isinstance(file["path"], str) or not file["path"]:
            raise ValueError(f"splits.{split} must be a path or a member of the archive")
        splits[split] = (
            file["path"],
            _checksum(f"splits.{split}.sha256", file["sha256"]) if "sha256" in file else None,
        )
    return Source(splits, tuple(urls), checksum, local_archive)


def _check_keys(name: str, value: Any, required: set[str], optional: set[str]) -> None:
    if not isinstance(value, dict):
        raise ValueError(f"{name} must be an object")
    for key in required - value.keys():
        raise ValueError(f"{name}: key {key!r} is missing")
    for key in value.keys() - required - optional:
        raise ValueError(f"{name}: unknown key {key!r}; known are {', '.join(sorted(required | optional))}")


def _checksum(name: str, value: Any) -> str:
    if not isinstance(value, str) or not re.fullmatch("[0-9a-f]{64}", value):
        raise ValueError(f"{name} must be 64 hexadecimal digits in lower case")
    return value


def fetch(source: Source, output_dir: Path, timeout: float) -> None:
    """Write every split to `output_dir`/{split}. `timeout` is in seconds without a byte from a server.

    Raises InputError or OSError. A split that is there is whole; the others are not there.
    """
    if source.archive_sha256 is None:
        for split, (path, checksum) in source.splits.items():
            with open(path, "rb") as stream:
                _write_split(stream, path, checksum, output_dir / split)
        return
    if source.local_archive is not None:
        archive = Path(source.local_archive)
        found = sha256(archive)
        if found != source.archive_sha256:
            raise InputError(f"{archive} has the sha256 {found}, expected {source.archive_sha256}")
        unpack(archive, source, output_dir)
        return
    # Named after the checksum: what another version of the archive left behind is not resumed.
    part = output_dir / f".{source.archive_sha256}.part"
    output_dir.mkdir(parents=True, exist_ok=True)
    download(source.urls, source.archive_sha256, part, timeout)
    unpack(part, source, output_dir)
    part.unlink()


def download(urls: tuple[str, ...], checksum: str, part: Path, timeout: float) -> None:
    """Download to `part` from the first of `urls` that delivers the bytes with this SHA-256, resuming what is there.

    Raises InputError with the failure of every URL where none does; an incomplete `part` stays to be resumed.
    """
    if part.exists() and sha256(part) == checksum:
        return
    retry = Retry(
        total=ATTEMPTS - 1,
        backoff_factor=BACKOFF_SECONDS,
        status_forcelist=(429, 500, 502, 503, 504),
        retry_after_max=60,
    )
    failures: list[str] = []
    with requests.Session() as session:
        for scheme in ("http://", "https://"):
            session.mount(scheme, requests.adapters.HTTPAdapter(max_retries=retry))
        for url in urls:
            if failures:
                print(f"{failures[-1]}; trying the next address", file=sys.stderr)
            try:
                _download_from(session, url, checksum, part, timeout)
            except (requests.RequestException, InputError) as error:
                failures.append(f"{url}: {error}")
            else:
                return
    failed = "\n  ".join(failures)
    raise InputError(
        f"no address delivered the archive:\n  {failed}\nA copy that was brought by hand can be named as local_archive"
    )


def _download_from(session: requests.Session, url: str, checksum: str, part: Path, timeout: float) -> None:
    """Download `url` to `part`. The session retries requests; an answer that breaks off is resumed here."""
    failure: object = None
    for attempt in range(ATTEMPTS):
        if attempt:
            print(f"{url}: {failure}; trying again", file=sys.stderr)
            time.sleep(BACKOFF_SECONDS * 2 ** (attempt - 1))
        size = part.stat().st_size if part.exists() else 0
        headers = {"Accept-Encoding": "identity"}  # the archive's own bytes, which a range can count
        if size:
            headers["Range"] = f"bytes={size}-"
        with session.get(url, headers=headers, stream=True, timeout=timeout) as response:
            if response.status_code == requests.codes.requested_range_not_satisfiable:
                part.unlink()
                failure = f"there are no bytes after the first {size}"
                continue
            response.raise_for_status()
            resumed = response.status_code == requests.codes.partial_content
            try:
                _save(response, part, size if resumed else 0)
            except requests.RequestException as error:
                failure = f"broke off after {part.stat().st_size} bytes ({error})"
                continue
        found = sha256(part)
        if found == checksum:
            return
        part.unlink()
        failure = f"the file has the sha256 {found}, expected {checksum}"
        if not resumed:  # the server has another file, and would send it again
            break
    raise InputError(failure)


def _save(response: requests.Response, part: Path, size: int) -> None:
    """Write the body of `response` to `part`, after the first `size` bytes that are there."""
    length = response.headers.get("Content-Length", "")
    total = size + int(length) if length.isdecimal() else None
    what = f"{response.url}: {'unknown size' if total is None else f'{total / 1e6:.1f} MB'}"
    print(f"{what}, resumed after {size / 1e6:.1f} MB" if size else what, file=sys.stderr)
    with (
        open(part, "ab" if size else "wb") as stream,
        tqdm(initial=size, total=total, unit="B", unit_scale=True, disable=None) as progress,  # None: only a terminal
    ):
        for chunk in response.iter_content(_CHUNK_BYTES):
            stream.write(chunk)
            progress.update(len(chunk))


def unpack(archive: Path, source: Source, output_dir: Path) -> None:
    """Write the members that `source` names to `output_dir`.

    Raises InputError, before anything is written, where one is missing, and where the archive cannot be read.
    """
    try:
        with _open_archive(archive) as members:
            missing = [member for member, _ in source.splits.values() if member not in members]
            if missing:
                there = ", ".join(sorted(members)[:20]) + (", ..." if len(members) > 20 else "")
                raise InputError(f"the archive has no file {', '.join(missing)}; there are: {there}")
            for split, (member, checksum) in source.splits.items():
                with members[member]() as stream:
                    _write_split(stream, member, checksum, output_dir / split)
    except (zipfile.BadZipFile, tarfile.TarError, zlib.error, lzma.LZMAError, EOFError, RuntimeError) as error:
        raise InputError(f"the archive cannot be read: {error}") from error


@contextlib.contextmanager
def _open_archive(archive: Path) -> Iterator[dict[str, Callable[[], IO[bytes]]]]:
    """Yield the regular files of a tar or zip archive: name -> function that opens it."""
    if tarfile.is_tarfile(archive):
        with tarfile.open(archive) as tar:
            yield {member.name: partial(_extract, tar, member) for member in tar if member.isfile()}
    elif zipfile.is_zipfile(archive):
        with zipfile.ZipFile(archive) as packed:
            yield {info.filename: partial(packed.open, info) for info in packed.infolist() if not info.is_dir()}
    else:
        raise InputError("the archive is neither zip nor tar")


def _extract(tar: tarfile.TarFile, member: tarfile.TarInfo) -> IO[bytes]:
    stream = tar.extractfile(member)
    assert stream is not None  # it is None for what is no regular file
    return stream


def _write_split(stream: IO[bytes], name: str, checksum: str | None, target: Path) -> None:
    with atomic_write(target, "wb") as output:
        digest = hashlib.sha256()
        while chunk := stream.read(_CHUNK_BYTES):
            output.write(chunk)
            digest.update(chunk)
        if checksum not in (None, digest.hexdigest()):
            raise InputError(f"{name} has the sha256 {digest.hexdigest()}, expected {checksum}")
    print(f"{target}: {target.stat().st_size} bytes, sha256 {digest.hexdigest()}")


def _source(value: str) -> Source:
    try:
        return parse_source(json.loads(value))
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def _seconds(value: str) -> float:
    seconds = float(value)
    if not 0 < seconds < float("inf"):
        raise argparse.ArgumentTypeError(f"{value}; expected a positive number")
    return seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--entry", required=True, type=_source, metavar="JSON", help="the source, as above")
    parser.add_argument("--output-dir", required=True, type=Path, help="each split is written to OUTPUT_DIR/SPLIT")
    parser.add_argument(
        "--timeout",
        type=_seconds,
        default=30.0,
        metavar="SECONDS",
        help="how long a server may send nothing (default: 30)",
    )
    args = parser.parse_args()
    fetch(args.entry, args.output_dir, args.timeout)


if __name__ == "__main__":
    run(main)
