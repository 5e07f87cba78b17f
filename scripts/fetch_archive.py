"""Fetch the archive of a dataset from the first address that delivers it, or from a local copy.

The archive must have the given SHA-256. Addresses are tried in turn. An interrupted download is resumed, also by the
next run of this script; its bytes are kept next to the output until it is complete.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import re
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import FrameType
from typing import NoReturn

import requests
import urllib3
from tqdm import tqdm

from entitune.cli import InputError, printable, run
from entitune.files import atomic_write, sha256

ATTEMPTS = 4  # per address
BACKOFF_SECONDS = 1.0  # doubled after each attempt
MAX_REDIRECTS = 10
MAX_BYTES = 4 << 30
"""The largest accepted archive. Corpora for NER have megabytes; a server that sends more sends something else."""
MIN_BYTES_PER_SECOND = 1000
_CHUNK_BYTES = 1 << 16


def download(urls: Sequence[str], checksum: str, part: Path, timeout: float, deadline: float) -> None:
    """Download the file with this SHA-256 to `part`, from the first of `urls` that delivers it, or resume a download.

    Args:
        urls: Addresses, tried in turn.
        checksum: SHA-256 in hexadecimal.
        part: The file. If no address delivers it completely, it is kept to be resumed.
        timeout: Seconds in which a server must send something, and MIN_BYTES_PER_SECOND on average.
        deadline: Seconds after which the next address is tried.

    Raises:
        InputError: All addresses failed. The message has the failure of each.
    """
    if part.exists() and sha256(part) == checksum:
        return
    retry = urllib3.Retry(
        total=ATTEMPTS - 1,
        backoff_factor=BACKOFF_SECONDS,
        status_forcelist=(429, 500, 502, 503, 504),
        retry_after_max=60,
    )
    failures: list[str] = []
    with requests.Session() as session:
        session.max_redirects = MAX_REDIRECTS
        for scheme in ("http://", "https://"):
            session.mount(scheme, requests.adapters.HTTPAdapter(max_retries=retry))
        for url in urls:
            if failures:
                print(f"{failures[-1]}; trying the next address", file=sys.stderr)
            try:
                with time_limit(deadline):
                    _download_from(session, url, checksum, part, timeout)
            # requests lets ValueError and HTTPError through if a redirect leads to an invalid address.
            except (requests.RequestException, urllib3.exceptions.HTTPError, InputError, ValueError) as error:
                failures.append(f"{url}: {printable(str(error))}")
            else:
                return
    failed = "\n  ".join(failures)
    raise InputError(
        f"no address delivered the archive:\n  {failed}\nThe same command resumes an incomplete download. You can also "
        "download the archive yourself and give its path as local_archive"
    )


@contextlib.contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """Raise InputError in the block after `seconds`, even while it waits for a server. Only for the main thread."""

    def stop(signum: int, frame: FrameType | None) -> NoReturn:
        raise InputError(f"not complete after {seconds:g} seconds")

    previous = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds, 1.0)  # repeated in case the exception gets lost in a callback
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)


def _download_from(session: requests.Session, url: str, checksum: str, part: Path, timeout: float) -> None:
    """Download `url` to `part`. The session retries requests; this function resumes an answer that broke off.

    Raises InputError or an exception of requests or urllib3 if the address does not deliver the file.
    """
    failure = ""
    for attempt in range(ATTEMPTS):
        if attempt:
            print(f"{url}: {failure}; trying again", file=sys.stderr)
            time.sleep(BACKOFF_SECONDS * 2 ** (attempt - 1))
        size = part.stat().st_size if part.exists() else 0
        headers = {"Accept-Encoding": "identity"}  # the unmodified bytes, to which a range refers
        if size:
            headers["Range"] = f"bytes={size}-"
        with session.get(url, headers=headers, stream=True, timeout=timeout) as response:
            if response.status_code == requests.codes.requested_range_not_satisfiable:
                part.unlink(missing_ok=True)
                failure = f"the server has no bytes after the first {size}"
                continue
            response.raise_for_status()
            resumed = response.status_code == requests.codes.partial_content
            _check_answer(response, size if resumed else 0)
            try:
                _save(url, response, part, size if resumed else 0, timeout)
            except (requests.RequestException, urllib3.exceptions.HTTPError) as error:
                failure = f"broke off after {part.stat().st_size} bytes ({error})"
                continue
        found = sha256(part)
        if found == checksum:
            return
        part.unlink()
        failure = f"the file has the sha256 {found}, expected {checksum}"
        if not resumed:  # the server has another file and would send it again
            break
    raise InputError(failure)


def _check_answer(response: requests.Response, size: int) -> None:
    """Raise InputError if the headers of an answer show that it is not the archive, or not its bytes after `size`."""
    if response.headers.get("Content-Type", "").lower().startswith("text/html"):
        raise InputError("the answer is a web page, for example to sign in, not an archive")
    if size and not response.headers.get("Content-Range", "").startswith(f"bytes {size}-"):
        raise InputError(f"the answer is not the requested bytes after the first {size}")
    length = _content_length(response)
    if length is not None and size + length > MAX_BYTES:
        raise InputError(f"the file has {size + length:,} bytes; an archive may have at most {MAX_BYTES:,}")


def _content_length(response: requests.Response) -> int | None:
    length = response.headers.get("Content-Length", "")
    return int(length) if length.isascii() and length.isdecimal() and len(length) < 20 else None


def _save(url: str, response: requests.Response, part: Path, size: int, timeout: float) -> None:
    """Append the body of `response` to `part`, which has `size` bytes.

    Raises InputError if the body is too long, or too slow over `timeout` seconds.
    """
    length = _content_length(response)
    total = None if length is None else size + length
    what = f"{url}: {'unknown size' if total is None else f'{total / 1e6:.1f} MB'}"
    print(f"{what}, resumed after {size / 1e6:.1f} MB" if size else what, file=sys.stderr)
    with (
        open(part, "ab" if size else "wb") as stream,
        tqdm(initial=size, total=total, unit="B", unit_scale=True, disable=None) as progress,  # None: only a terminal
    ):
        since, received = time.monotonic(), 0
        # iter_content would wait until a chunk is full, however slowly it arrives.
        while chunk := response.raw.read1(_CHUNK_BYTES, decode_content=True):
            stream.write(chunk)
            progress.update(len(chunk))
            received += len(chunk)
            if stream.tell() > MAX_BYTES:
                part.unlink()
                raise InputError(f"sent more than {MAX_BYTES:,} bytes, the largest accepted archive")
            seconds = time.monotonic() - since
            if seconds >= timeout:
                if received < MIN_BYTES_PER_SECOND * seconds:
                    raise InputError(f"too slow: {received} bytes in {seconds:.0f} seconds")
                since, received = time.monotonic(), 0


def copy_verified(archive: Path, checksum: str, output: Path) -> None:
    """Copy a local archive to `output`. Raises InputError if it has another SHA-256."""
    if not archive.is_file():
        raise InputError(f"{archive}: no such file; local_archive must name the archive itself")
    digest = hashlib.sha256()
    with archive.open("rb") as stream, atomic_write(output, "wb") as copy:
        while chunk := stream.read(_CHUNK_BYTES):
            copy.write(chunk)
            digest.update(chunk)
        if digest.hexdigest() != checksum:
            raise InputError(f"{archive} has the sha256 {digest.hexdigest()}, expected {checksum}")


def _checksum(value: str) -> str:
    if not re.fullmatch("[0-9a-f]{64}", value):
        raise argparse.ArgumentTypeError(f"{value}; expected 64 hexadecimal digits in lower case")
    return value


def _seconds(value: str) -> float:
    seconds = float(value)
    if not 0 < seconds < 1e9:
        raise argparse.ArgumentTypeError(f"{value}; expected a positive number")
    return seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--urls", nargs="+", default=[], metavar="URL", help="addresses, tried in turn")
    parser.add_argument("--sha256", required=True, type=_checksum, metavar="HASH", help="the archive's checksum")
    parser.add_argument("--local-archive", metavar="FILE", help="a local copy to use instead of a download")
    parser.add_argument("--output", required=True, type=Path, help="the archive, verified")
    parser.add_argument(
        "--timeout",
        type=_seconds,
        default=30.0,
        metavar="SECONDS",
        help=f"how long a server may send nothing or less than {MIN_BYTES_PER_SECOND} bytes per second (default: 30)",
    )
    parser.add_argument(
        "--deadline",
        type=_seconds,
        default=3600.0,
        metavar="SECONDS",
        help="how long a download from one address may take before the next is tried (default: 3600)",
    )
    args = parser.parse_args()
    if not args.urls and not args.local_archive:
        parser.error("one of --urls and --local-archive is needed")

    if args.local_archive:
        copy_verified(Path(args.local_archive), args.sha256, args.output)
    else:
        args.output.parent.mkdir(parents=True, exist_ok=True)
        # Named after the checksum, so that a part of another version of the archive is not resumed.
        part = args.output.with_name(f".{args.sha256}.part")
        download(args.urls, args.sha256, part, args.timeout, args.deadline)
        part.replace(args.output)
    print(f"{args.output}: {args.output.stat().st_size} bytes, sha256 {args.sha256}")


if __name__ == "__main__":
    run(main)
