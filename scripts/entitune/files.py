"""Read and write files, JSON, JSON lines and checksums. Files are written atomically: completely or not at all."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import IO, Any, TypeVar

from entitune.cli import InputError

Value = TypeVar("Value")


@contextlib.contextmanager
def atomic_write(path: str | Path, mode: str = "w") -> Iterator[IO[Any]]:
    r"""Open a temporary file next to `path` and rename it to `path` when the block ends without an error.

    Text is UTF-8 with `\n` line ends. On an error the temporary file is removed and `path` is left as it was.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    encoding, newline = (None, None) if "b" in mode else ("utf-8", "\n")
    try:
        with os.fdopen(descriptor, mode, encoding=encoding, newline=newline) as stream:
            yield stream
        umask = os.umask(0)
        os.umask(umask)
        os.chmod(temporary, 0o666 & ~umask)  # mkstemp makes files that only their owner can read
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)
        raise


NOT_AN_OBJECT = "expected an object in JSON, in UTF-8"


def read_lines(path: str | Path, read: Callable[[bytes], Value]) -> Iterator[Value]:
    """Yield the result of `read` for each line. Its ValueError becomes an InputError that names file and line."""
    with open(path, "rb") as stream:
        for number, line in enumerate(stream, 1):
            try:
                value = read(line)
            except (ValueError, RecursionError) as error:
                raise InputError(f"{path}:{number}: {error}") from None
            yield value


def read_jsonl(path: str | Path) -> Iterator[dict[str, Any]]:
    """Yield the object of each line. Raises InputError with file and line if a line is not a JSON object in UTF-8.

    For the records of `entitune.records`, use its readers: they also check keys and types.
    """
    return read_lines(path, _read_object)


def _read_object(line: bytes) -> dict[str, Any]:
    try:
        value = json.loads(line.decode("utf-8"))
        if b"\\u" in line:  # half a surrogate pair is JSON, but no file in UTF-8 can hold it
            to_json(value).encode("utf-8")
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{NOT_AN_OBJECT} ({error})") from None
    if not isinstance(value, dict):
        raise ValueError(NOT_AN_OBJECT)
    return value


def to_json(value: Any) -> str:
    """Return `value` as one line of JSON, with readable Chinese. EntiTune writes all its JSON lines in this form."""
    return json.dumps(value, ensure_ascii=False)


def write_jsonl(path: str | Path, values: Iterable[Any]) -> int:
    """Write one line of JSON per value, atomically. Returns the number of lines."""
    count = 0
    with atomic_write(path) as stream:
        for value in values:
            stream.write(to_json(value) + "\n")
            count += 1
    return count


def write_json(path: str | Path, value: Any) -> None:
    """Write a value as indented JSON for readers, atomically."""
    with atomic_write(path) as stream:
        stream.write(json.dumps(value, ensure_ascii=False, indent=2) + "\n")


def read_json(path: str | Path) -> Any:
    """Read a JSON file. Raises InputError with file and line if it is not JSON in UTF-8."""
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise InputError(f"{path}:{error.lineno}: not JSON ({error.msg})") from error
    except RecursionError:
        raise InputError(f"{path}: the JSON is nested too deeply to be read") from None
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not UTF-8 ({error})") from error


def write_rows(path: str | Path, rows: Iterable[Any]) -> None:
    """Write a JSON array with one row per line, so that readers find a row and a diff shows what changed."""
    with atomic_write(path) as stream:
        separator = "["
        for row in rows:
            stream.write(f"{separator}\n{to_json(row)}")
            separator = ","
        stream.write("[\n]\n" if separator == "[" else "\n]\n")


def sha256(path: str | Path) -> str:
    """Return the SHA-256 of a file's bytes, in hexadecimal."""
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
