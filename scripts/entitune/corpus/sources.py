r"""The files of a raw split: one file, two parallel files, or the files of a folder or an archive.

Lines end at `\n` only: other separators, such as U+2028, are characters of the text.
"""

from __future__ import annotations

import bz2
import codecs
import contextlib
import gzip
import lzma
import re
import shutil
import stat
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import IO, NamedTuple, cast

from entitune.cli import InputError
from entitune.corpus.rows import MAX_ROW_BYTES, Reading
from entitune.files import atomic_write


class Source(NamedTuple):
    """The files of a raw split, and their names in messages."""

    paths: tuple[Path, ...]
    names: tuple[str, ...]

    @classmethod
    def of(cls, paths: Sequence[str | Path], names: Sequence[str] = ()) -> Source:
        """Check that the paths are files or folders. Raises OSError or InputError.

        `names` are the user's own files, if `paths` are copies of them. A path without a name has the path as its name.
        """
        for path in paths:
            mode = Path(path).stat().st_mode
            if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
                raise InputError(f"{path} is not a file (a pipe?); it is read more than once: save it to a file first")
        given = tuple(names) if len(names) >= len(paths) else (*names, *map(str, paths[len(names) :]))
        return cls(tuple(map(Path, paths)), given)

    @property
    def name(self) -> str:
        """The name of the split in messages."""
        return self.names[0]

    @property
    def path(self) -> Path:
        """The only file. Raises InputError if there are several paths or if it is a folder."""
        if len(self.paths) != 1:
            raise InputError(f"{' '.join(map(str, self.paths))}: expected one file")
        if self.paths[0].is_dir():
            raise InputError(f"{self.name} is a folder; expected a file")
        return self.paths[0]


# Lines


def read_lines(path: Path) -> Iterator[tuple[int, bytes]]:
    """Yield each line's 1-based number and its bytes, with the line end and without a byte order mark.

    A line of more than MAX_ROW_BYTES is cut off, and has no line end.
    """
    with path.open("rb") as stream:
        yield from lines_of(stream)


def lines_of(stream: IO[bytes]) -> Iterator[tuple[int, bytes]]:
    """Do what `read_lines` does, for an open file."""
    for number, line in enumerate(iter(partial(stream.readline, MAX_ROW_BYTES + 1), b""), 1):
        if len(line) > MAX_ROW_BYTES:
            rest = line
            while rest and not rest.endswith(b"\n"):
                rest = stream.readline(MAX_ROW_BYTES)
        if number > 1 or (line := line.removeprefix(codecs.BOM_UTF8)):
            yield number, line


def first_line(path: Path) -> bytes:
    """Return the first line of a file that is not blank; empty if there is none."""
    return next((line for _, line in read_lines(path) if not line.isspace()), b"")


def begins_with_mark(path: Path) -> bool:
    """Return whether a file begins with the byte order mark of UTF-8."""
    with path.open("rb") as stream:
        return stream.read(3) == codecs.BOM_UTF8


def note_file(path: Path, reading: Reading) -> None:
    """Note that the byte order mark of a file is skipped, if it has one."""
    if begins_with_mark(path):
        reading.note("a byte order mark was skipped", 1)


def skip_inner_mark(line: bytes, number: int, reading: Reading | None) -> bytes:
    """Return a line without a byte order mark, and note it: files with such marks were joined."""
    if not line.startswith(codecs.BOM_UTF8):
        return line
    if reading:
        reading.note("a byte order mark inside the file was skipped", number)
    return line.removeprefix(codecs.BOM_UTF8)


def note_line_ends(raw: bytes, line: int, reading: Reading, file: str = "") -> None:
    """Note the lines of a row that end with CRLF."""
    if b"\r" in raw and (count := raw.count(b"\r\n")):
        reading.note("lines that end with CRLF were read as if they ended with LF", line, count, file)


def decode(line: bytes) -> tuple[str, str | None]:
    """Decode a line without its line end. Return (text, None), or ("", reason) if it is too long or not UTF-8."""
    if len(line) > MAX_ROW_BYTES and not line.endswith(b"\n"):
        return "", f"line of more than {MAX_ROW_BYTES} bytes; expected one sentence per line"
    content = line[:-2] if line.endswith(b"\r\n") else line.removesuffix(b"\n")
    try:
        return content.decode(), None
    except UnicodeDecodeError as error:
        return "", f"{not_utf8(content, error)} of the line; expected UTF-8"


def not_utf8(content: bytes, error: UnicodeDecodeError) -> str:
    """Return the beginning of a message about bytes that are not UTF-8."""
    found = content[error.start : error.start + 3]
    surrogate = "half of a surrogate pair (CESU-8), " if re.fullmatch(b"\xed[\xa0-\xbf][\x80-\xbf]", found) else ""
    return f"not UTF-8: {surrogate}byte 0x{content[error.start]:02x} at byte {error.start + 1}"


def other_encoding(path: Path) -> str | None:
    """Return the encoding of a file that is not UTF-8, with the command that converts it; None if it is not certain."""
    with path.open("rb") as stream:
        return encoding_of(stream)


def encoding_of(stream: IO[bytes]) -> str | None:
    """Do what `other_encoding` does, for an open file."""
    name = _unicode_encoding(stream.read(4096))
    stream.seek(0)
    name = name or _chinese_encoding(stream)
    return name and f"{name}, not UTF-8; convert it: iconv -f {name} -t UTF-8 FILE > NEW_FILE"


def _unicode_encoding(beginning: bytes) -> str | None:
    """Recognise UTF-32 and UTF-16, by the byte order mark or by the zeros in every second byte of ASCII characters."""
    if beginning.startswith((codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE)):
        return "UTF-32"
    if beginning.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "UTF-16"
    zeros = [beginning[place::2].count(0) for place in (0, 1)]
    if sum(zeros) <= len(beginning) / 20 or min(zeros) > max(zeros) / 10:
        return None
    return "UTF-16BE" if zeros[0] > zeros[1] else "UTF-16LE"


def _chinese_encoding(stream: IO[bytes]) -> str | None:
    """Recognise GB18030 and Big5.

    Almost any bytes can be decoded as GB18030. So the whole file must be GB18030, and no line may be Chinese in UTF-8:
    two characters of three bytes each, which is unlikely by chance in a line of GB18030. Big5 that is decoded as
    GB18030 has many characters outside GB2312; traditional Chinese in GB18030 has as many, but is not valid Big5.
    """
    gb18030, big5 = (codecs.getincrementaldecoder(name)() for name in ("gb18030", "big5hkscs"))
    is_utf8, is_big5 = True, True
    characters = rare = 0
    try:
        for _, line in lines_of(stream):
            found = gb18030.decode(line)
            if line.isascii():
                continue
            text, reason = decode(line)
            is_utf8 = is_utf8 and reason is None
            if sum("\u3000" <= character <= "\uffef" for character in text) >= 2:
                return None
            if any(character < "\t" for character in found):
                return None  # not a text
            characters += len(found) - len(found.encode("ascii", "ignore"))
            rare += len(found) - len(found.encode("gb2312", "ignore").decode("gb2312"))
            with contextlib.suppress(UnicodeDecodeError):
                big5.decode(line)
                continue
            is_big5 = False
        gb18030.decode(b"", final=True)
    except UnicodeDecodeError:
        return None
    if is_utf8:
        return None
    return "BIG5-HKSCS" if is_big5 and rare > characters / 5 else "GB18030"


# Folders and archives

_DECOMPRESSORS: dict[bytes, Callable[[Path], IO[bytes]]] = {
    b"\x1f\x8b": lambda path: cast("IO[bytes]", gzip.GzipFile(path)),
    b"BZh": bz2.open,
    b"\xfd7zXZ": lzma.open,
}
"""The first bytes of a compressed file -> the function that opens it."""

_DAMAGES = (tarfile.TarError, zipfile.BadZipFile, gzip.BadGzipFile, zlib.error, lzma.LZMAError, EOFError)
"""The exceptions that the libraries raise for a damaged archive."""


def decompressor_of(path: Path) -> Callable[[Path], IO[bytes]] | None:
    """Return the function that opens a file that is compressed with gzip, bzip2 or xz; None for other files."""
    with path.open("rb") as stream:
        beginning = stream.read(6)
    return next((opener for magic, opener in _DECOMPRESSORS.items() if beginning.startswith(magic)), None)


class Member(NamedTuple):
    """A file of a folder or an archive."""

    name: str
    open: Callable[[], IO[bytes]]


def is_folder(path: Path) -> bool:
    """Return whether a path is a folder, or a zip or tar archive of one."""
    if path.is_dir() or zipfile.is_zipfile(path):
        return True
    try:
        return tarfile.is_tarfile(path)
    except _DAMAGES:
        return False


@contextlib.contextmanager
def open_members(source: Source) -> Iterator[list[Member]]:
    """Open the files of a folder, or of a zip or tar archive. Hidden files are left out.

    Raises InputError if `source` is not one of these or is damaged.
    """
    with contextlib.ExitStack() as stack:
        try:
            members = _members(source.paths[0], stack)
            yield [
                member
                for member in members
                if not any(part.startswith((".", "__MACOSX")) for part in member.name.removeprefix("./").split("/"))
            ]
        except (*_DAMAGES, OSError) as error:
            raise InputError(f"{source.name}: expected a folder, or a zip or tar archive of one ({error})") from None


def _members(path: Path, stack: contextlib.ExitStack) -> list[Member]:
    if path.is_dir():
        files = sorted(file for file in path.rglob("*") if file.is_file())
        return [Member(file.relative_to(path).as_posix(), partial(_open_file, file)) for file in files]
    if zipfile.is_zipfile(path):
        archive = stack.enter_context(zipfile.ZipFile(path))
        return [Member(info.filename, partial(archive.open, info)) for info in archive.infolist() if not info.is_dir()]
    stream: IO[bytes]
    if decompress := decompressor_of(path):  # members are read in any order, so the stream must be seekable
        stream = stack.enter_context(tempfile.TemporaryFile())  # noqa: SIM115 - the stack closes it
        with decompress(path) as content:
            shutil.copyfileobj(content, stream)
        stream.seek(0)
    else:
        stream = stack.enter_context(path.open("rb"))
    tar = stack.enter_context(tarfile.open(fileobj=stream, mode="r:"))  # noqa: SIM115
    return [Member(info.name, partial(_open_tar_member, tar, info)) for info in tar if info.isfile()]


def _open_file(path: Path) -> IO[bytes]:
    return path.open("rb")


def _open_tar_member(tar: tarfile.TarFile, info: tarfile.TarInfo) -> IO[bytes]:
    stream = tar.extractfile(info)
    assert stream is not None, "only files are listed"
    return stream


def pack(paths: Sequence[Path], output: Path) -> None:
    """Write the files of a folder, or several files, to one tar archive that the readers accept instead of them.

    The archive has no dates or owners, so the same files give the same bytes.
    """
    with atomic_write(output, "wb") as stream, tarfile.open(fileobj=stream, mode="w") as tar:
        for path in paths:
            files = sorted(file for file in path.rglob("*") if file.is_file()) if path.is_dir() else [path]
            for file in files:
                info = tarfile.TarInfo(file.relative_to(path if path.is_dir() else path.parent).as_posix())
                info.size = file.stat().st_size
                with file.open("rb") as content:
                    tar.addfile(info, content)
