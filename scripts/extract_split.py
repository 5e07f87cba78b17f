"""Write a raw split byte for byte, from a member of a zip or tar archive or from a local file.

python scripts/extract_split.py --source results/datasets/cluener/raw/archive --member train.json --output OUTPUT
python scripts/extract_split.py --source data/demo/train.json --output OUTPUT
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import io
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO

from entitune.cli import InputError, printable, run
from entitune.corpus.sources import decompressor_of, pack
from entitune.files import atomic_write

MAX_SPLIT_BYTES = 2 << 30
MAX_RATIO = 200
"""The largest unpacked size, as a multiple of the archive's size. Text compresses to a tenth, tags to a fiftieth."""
FREE_BYTES = 10_000_000
"""The unpacked size that is always allowed."""
MAX_LISTED = 20
"""The most members that a message lists."""
_CHUNK_BYTES = 1 << 16


@dataclass(frozen=True)
class Member:
    """A regular file in an archive: its name, its size in bytes according to the archive, and a function to open it."""

    name: str
    size: int
    open: Callable[[], IO[bytes] | None]


class BoundedReader(io.RawIOBase):
    """A stream that raises InputError beyond `limit` bytes, because a small archive can unpack to any size."""

    def __init__(self, stream: IO[bytes], limit: int) -> None:
        self._stream, self._limit = stream, limit

    def read(self, size: int = -1) -> bytes:
        """Read `size` bytes within the limit."""
        if size < 0 or self._stream.tell() + size > self._limit:
            raise InputError(f"the archive unpacks to more than {self._limit:,} bytes, or is damaged")
        return self._stream.read(size)

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Move to an offset within the limit."""
        if whence != io.SEEK_SET or not 0 <= offset <= self._limit:
            raise InputError(f"the archive unpacks to more than {self._limit:,} bytes, or is damaged")
        return self._stream.seek(offset)

    def tell(self) -> int:
        """Return the offset."""
        return self._stream.tell()


@contextlib.contextmanager
def members_of(archive: Path, limit: int) -> Iterator[list[Member]]:
    """Yield the regular files of a tar or zip archive. At most `limit` bytes of a tar archive are unpacked."""
    with contextlib.ExitStack() as stack:
        decompress = decompressor_of(archive)
        stream = stack.enter_context(decompress(archive) if decompress else archive.open("rb"))
        try:
            tar = stack.enter_context(tarfile.open(fileobj=BoundedReader(stream, limit), mode="r:"))
        except tarfile.ReadError:
            if not zipfile.is_zipfile(archive):
                raise InputError("the archive is neither zip nor tar") from None
            packed = stack.enter_context(zipfile.ZipFile(archive))
            yield [
                Member(info.filename, info.file_size, partial(packed.open, info))
                for info in packed.infolist()
                if not info.is_dir()
            ]
        else:
            yield [
                Member(info.name, info.size, partial(tar.extractfile, info)) for info in tar if _is_regular_file(info)
            ]


def _is_regular_file(info: tarfile.TarInfo) -> bool:
    if info.size < 0:
        raise InputError(f"the archive is damaged: {printable(info.name)} has {info.size} bytes")
    return info.isfile()


def unpack(archive: Path, name: str) -> Iterator[bytes]:
    """Yield the bytes of a member of an archive. Raises InputError if it is missing, too large or unreadable."""
    limit = max(FREE_BYTES, MAX_RATIO * archive.stat().st_size)
    try:
        with members_of(archive, limit) as members:
            member = find(members, name)
            most = min(limit, MAX_SPLIT_BYTES)
            if member.size > most:
                raise InputError(
                    f"{printable(name)} has {member.size:,} bytes unpacked; an archive of this size may unpack to "
                    f"{most:,}. Unpack it yourself and give the file as a local split"
                )
            stream = member.open()
            assert stream is not None  # it is None only for members that are not regular files
            with stream:
                while chunk := stream.read(_CHUNK_BYTES):
                    yield chunk
    except InputError:
        raise
    # Python's readers raise many exceptions for bytes that are not an archive: struct.error, UnicodeDecodeError, ...
    except Exception as error:
        raise InputError(f"the archive cannot be read: {str(error) or type(error).__name__}") from error


def find(members: list[Member], name: str) -> Member:
    """Return the member of that name. Raises InputError unless there is exactly one."""
    found = [member for member in members if member.name == name]
    if len(found) > 1:
        raise InputError(f"the archive has {len(found)} files named {printable(name)}; unpack it and give one of them")
    if not found:
        names = sorted(printable(member.name) for member in members)
        listed = ", ".join(names[:MAX_LISTED]) + (", ..." if len(names) > MAX_LISTED else "")
        raise InputError(f"the archive has no file {printable(name)}; it has: {listed}")
    return found[0]


def check_source(path: Path) -> None:
    """Raise InputError if `path` is a folder, a pipe or a device. A missing file raises OSError when it is opened."""
    if path.is_dir():
        raise InputError(f"{path} is a folder; a split must be one file or a member of one archive")
    if path.exists() and not path.is_file():
        raise InputError(f"{path} is a pipe or a device; a split must be a file")


def read_file(path: Path) -> Iterator[bytes]:
    """Yield the bytes of a local file."""
    with path.open("rb") as stream:
        while chunk := stream.read(_CHUNK_BYTES):
            yield chunk


def write_split(chunks: Iterator[bytes], name: str, checksum: str | None, output: Path) -> None:
    """Write a raw split. Raises InputError if `checksum` is given and the split has another SHA-256."""
    digest = hashlib.sha256()
    with atomic_write(output, "wb") as stream:
        for chunk in chunks:
            stream.write(chunk)
            digest.update(chunk)
        if checksum not in (None, digest.hexdigest()):
            raise InputError(f"{name} has the sha256 {digest.hexdigest()}, expected {checksum}")
    print(f"{output}: {output.stat().st_size} bytes, sha256 {digest.hexdigest()}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--source", required=True, type=Path, nargs="+", help="a local file; with --member: a zip or tar archive"
    )
    parser.add_argument(
        "--pack", action="store_true", help="pack --source into one tar archive if it is a folder or several files"
    )
    parser.add_argument(
        "--member", help="the split's name in the archive (which may be compressed with gzip, bzip2 or xz)"
    )
    parser.add_argument("--sha256", metavar="HASH", help="the split's checksum (default: not checked)")
    parser.add_argument("--output", required=True, type=Path, help="the raw split")
    args = parser.parse_args()
    source, *others = args.source
    if args.pack and (others or source.is_dir()):
        pack(args.source, args.output)
        print(f"{args.output}: {args.output.stat().st_size} bytes, an archive of {' and '.join(map(str, args.source))}")
        return
    if others:
        raise InputError(f"{source} {others[0]}: several files need --pack; in most formats a split is one file")
    check_source(source)
    chunks = unpack(source, args.member) if args.member else read_file(source)
    write_split(chunks, args.member or str(source), args.sha256, args.output)


if __name__ == "__main__":
    run(main)
