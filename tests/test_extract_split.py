"""extract_split with damaged, malicious and wrong archives and files."""

from __future__ import annotations

import bz2
import contextlib
import gzip
import hashlib
import io
import lzma
import os
import random
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from helpers import run_script
from hypothesis import given
from hypothesis import strategies as st

import extract_split
from entitune.cli import InputError
from extract_split import read_file, unpack, write_split

# More than one chunk, and incompressible.
TRAIN = random.Random(1).randbytes(300_000)
DEV = '{"text": "温格\u2028"}\r\n'.encode()
COMPRESSIONS: dict[str, Callable[[bytes], bytes]] = {
    "none": bytes,
    "gzip": gzip.compress,
    "bzip2": bz2.compress,
    "xz": lzma.compress,
}


def zip_archive(*more: tuple[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("data/", "")
        archive.writestr("data/train.json", TRAIN)
        archive.writestr("dev.json", DEV)
        archive.writestr("../outside", b"never read")
        for name, content in more:
            archive.writestr(name, content)
    return buffer.getvalue()


def tar_archive(*more: tarfile.TarInfo) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, content in (("data/train.json", TRAIN), ("dev.json", DEV)):
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
        link = tarfile.TarInfo("link.json")
        link.type, link.linkname = tarfile.SYMTYPE, "dev.json"
        archive.addfile(link)
        for member in more:
            archive.addfile(member, io.BytesIO(bytes(member.size)))
    return buffer.getvalue()


def member_of(tmp_path: Path, archive: bytes, name: str) -> bytes:
    (tmp_path / "archive").write_bytes(archive)
    return b"".join(unpack(tmp_path / "archive", name))


def test_a_zip_archive_is_read(tmp_path: Path) -> None:
    assert member_of(tmp_path, zip_archive(), "data/train.json") == TRAIN
    assert member_of(tmp_path, zip_archive(), "dev.json") == DEV
    # A zip archive at the end of a tar archive is only a member of it.
    inner = tarfile.TarInfo("inner.zip")
    inner.size = len(zip_archive())
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        archive.addfile(inner, io.BytesIO(zip_archive()))
    assert member_of(tmp_path, buffer.getvalue(), "inner.zip") == zip_archive()


@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_tar_archives_are_read(tmp_path: Path, compression: str) -> None:
    archive = COMPRESSIONS[compression](tar_archive())
    assert member_of(tmp_path, archive, "data/train.json") == TRAIN
    assert member_of(tmp_path, archive, "dev.json") == DEV
    with pytest.raises(InputError, match=r"no file link\.json; it has: data/train\.json, dev\.json$"):
        member_of(tmp_path, archive, "link.json")


@pytest.mark.parametrize("name", ["train.json", "data", "data/", "DEV.json", "", "dev.json\n"])
def test_a_missing_member_is_named_with_the_existing_ones(tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError, match=r"it has: \.\./outside, data/train\.json, dev\.json$"):
        member_of(tmp_path, zip_archive(), name)


def test_names_of_members_cannot_rewrite_the_terminal(tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        member_of(tmp_path, zip_archive(("\x1b[2J", b"")), "x\x1b[2J")
    assert str(caught.value).isprintable()


def test_a_duplicate_name_is_refused(tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match="Duplicate name"):
        twice = zip_archive(("dev.json", b"other"))
    with pytest.raises(InputError, match=r"has 2 files named dev\.json"):
        member_of(tmp_path, twice, "dev.json")
    with pytest.raises(InputError, match=r"has 2 files named dev\.json"):
        member_of(tmp_path, tar_archive(tarfile.TarInfo("dev.json")), "dev.json")


@pytest.mark.parametrize(
    ("archive", "expected"),
    [
        (b"", "neither zip nor tar"),
        (b"not packed", "neither zip nor tar"),
        (gzip.compress(DEV), "neither zip nor tar"),
        (zip_archive()[:-9], "neither zip nor tar"),
        (zip_archive().replace(TRAIN[1000:1010], bytes(10)), "cannot be read: Bad CRC-32 for file 'data/train.json'"),
        (gzip.compress(tar_archive())[:-200], "the archive cannot be read"),
        (b"\x1f\x8bnothing", "the archive cannot be read"),
    ],
    ids=["empty", "no archive", "no tar", "zip cut", "zip broken", "tar cut", "no gzip"],
)
def test_an_unusable_archive_is_named(tmp_path: Path, archive: bytes, expected: str) -> None:
    with pytest.raises(InputError, match=expected):
        member_of(tmp_path, archive, "data/train.json")


def bomb(size: int) -> tarfile.TarInfo:
    member = tarfile.TarInfo("bomb")
    member.size = size
    return member


@pytest.mark.parametrize("compression", ["gzip", "bzip2", "xz"])
@pytest.mark.parametrize("name", ["bomb", "dev.json"])
def test_a_tar_archive_that_unpacks_to_far_more_than_itself_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, compression: str, name: str
) -> None:
    """Also if another member is requested: finding it requires unpacking the complete archive."""
    monkeypatch.setattr(extract_split, "FREE_BYTES", 1_000_000)
    monkeypatch.setattr(extract_split, "MAX_RATIO", 10)
    with pytest.raises(InputError, match=r"unpacks to more than|bytes unpacked"):
        member_of(tmp_path, COMPRESSIONS[compression](tar_archive(bomb(20_000_000))), name)
    assert member_of(tmp_path, COMPRESSIONS[compression](tar_archive()), "dev.json") == DEV


def test_a_zip_member_that_unpacks_to_far_more_than_the_archive_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(extract_split, "FREE_BYTES", 1_000_000)
    monkeypatch.setattr(extract_split, "MAX_RATIO", 10)
    archive = zip_archive(("bomb", bytes(20_000_000)))
    assert member_of(tmp_path, archive, "dev.json") == DEV
    with pytest.raises(InputError, match=r"bomb has 20,000,000 bytes unpacked; an archive of this size may unpack to "):
        member_of(tmp_path, archive, "bomb")


def test_a_file_larger_than_any_split_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(extract_split, "MAX_SPLIT_BYTES", 100_000)
    with pytest.raises(InputError, match=r"data/train\.json has 300,000 bytes unpacked; .* may unpack to 100,000"):
        member_of(tmp_path, zip_archive(), "data/train.json")


def header(size: bytes, kind: bytes, real_size: bytes = b"") -> bytes:
    """Return a tar header with these twelve bytes as its size, and a correct checksum."""
    info = tarfile.TarInfo("dev.json")
    info.type = kind
    block = bytearray(info.tobuf()[:512])
    block[124:136] = size.ljust(12, b"\0")
    block[483:495] = real_size.ljust(12, b"\0")
    block[148:156] = b" " * 8
    block[148:156] = f"{sum(block):06o}\0 ".encode()
    return bytes(block)


@pytest.mark.parametrize("kind", [tarfile.REGTYPE, tarfile.XHDTYPE, tarfile.GNUTYPE_LONGNAME])
@pytest.mark.parametrize(
    "size",
    [
        b"\xff" * 12,  # -1
        b"\xff" * 10 + b"\x00\x00",  # -65,536
        b"\x80" + b"\x7f" * 11,
        b"7" * 11,
        b"9" * 11,
    ],
)
def test_absurd_sizes_in_a_tar_archive_end_with_a_message(tmp_path: Path, size: bytes, kind: bytes) -> None:
    with pytest.raises(InputError):
        member_of(tmp_path, header(size, kind) + bytes(10_240), "dev.json")


def test_a_sparse_file_counts_with_its_holes(tmp_path: Path) -> None:
    archive = header(b"0", tarfile.GNUTYPE_SPARSE, b"7" * 11) + bytes(10_240)
    with pytest.raises(InputError, match=r"dev\.json has 8,589,934,591 bytes unpacked"):
        member_of(tmp_path, archive, "dev.json")


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """Draw a small archive with a few changed bytes."""
    buffer = io.BytesIO()
    if draw(st.booleans()):
        with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("dev.json", DEV)
            archive.writestr("训练.json", DEV * 2)
    else:
        with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as tar:
            for name in ("训练.json", "dev.json"):
                info = tarfile.TarInfo(name)
                info.size = len(DEV)
                tar.addfile(info, io.BytesIO(DEV))
    content = bytearray(buffer.getvalue())
    end = min(len(content), 4096)
    for place, value in draw(st.lists(st.tuples(st.integers(0, end - 1), st.integers(0, 255)), max_size=4)):
        content[place] = value
    compress = COMPRESSIONS[draw(st.sampled_from(sorted(COMPRESSIONS)))]
    return compress(bytes(content))


@pytest.fixture(scope="module")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("damaged")


@given(archive=damaged())
def test_a_damaged_archive_is_read_or_refused(scratch: Path, archive: bytes) -> None:
    with contextlib.suppress(InputError):
        member_of(scratch, archive, "dev.json")


def test_local_files_are_copied_and_verified(tmp_path: Path) -> None:
    (tmp_path / "d.json").write_bytes(DEV)
    checksum = hashlib.sha256(DEV).hexdigest()
    for number, expected in enumerate((None, checksum)):
        output = tmp_path / "raw" / str(number)
        write_split(read_file(tmp_path / "d.json"), "d.json", expected, output)
        assert output.read_bytes() == DEV
    (tmp_path / "d.json").write_bytes(DEV + b"\n")
    with pytest.raises(InputError, match=rf"d\.json has the sha256 .*, expected {checksum}"):
        write_split(read_file(tmp_path / "d.json"), "d.json", checksum, tmp_path / "again" / "dev")
    assert not list((tmp_path / "again").iterdir())


def test_a_failure_keeps_the_previous_split(tmp_path: Path) -> None:
    (tmp_path / "dev").write_bytes(b"former")
    broken = zip_archive().replace(TRAIN[1000:1010], bytes(10))
    (tmp_path / "archive").write_bytes(broken)
    with pytest.raises(InputError, match="Bad CRC-32"):
        write_split(unpack(tmp_path / "archive", "data/train.json"), "train", None, tmp_path / "dev")
    assert (tmp_path / "dev").read_bytes() == b"former"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["archive", "dev"]


@pytest.mark.parametrize(
    ("options", "code", "expected"),
    [
        (["--source", "nowhere.json"], 1, "error: [Errno 2] No such file or directory: 'nowhere.json'"),
        (["--source", "."], 1, "error: . is a folder; a split must be one file or a member of one archive"),
        (["--source", "/dev/zero"], 1, "error: /dev/zero is a pipe or a device"),
        (["--source", "pipe"], 1, "error: pipe is a pipe or a device"),
        (["--source", "nowhere.zip", "--member", "x"], 1, "No such file or directory: 'nowhere.zip'"),
        (["--source", ".", "--member", "x"], 1, "error: . is a folder"),
        (["--source", "/dev/zero", "--member", "x"], 1, "error: /dev/zero is a pipe or a device"),
        (["--member", "x"], 2, "the following arguments are required: --source"),
    ],
)
def test_command_line_ends_with_a_message(tmp_path: Path, options: list[str], code: int, expected: str) -> None:
    os.mkfifo(tmp_path / "pipe")
    done = run_script("extract_split", *options, "--output", "out/dev", cwd=tmp_path)
    assert done.returncode == code
    assert expected in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "out" / "dev").exists()


def test_command_line_prints_its_output(tmp_path: Path) -> None:
    (tmp_path / "a.zip").write_bytes(zip_archive())
    options = ["--source", "a.zip", "--member", "dev.json", "--output", "raw/dev"]
    done = run_script("extract_split", *options, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"raw/dev: {len(DEV)} bytes, sha256 {hashlib.sha256(DEV).hexdigest()}\n"
    assert (tmp_path / "raw" / "dev").read_bytes() == DEV
