"""The list of a model's files: `manifest.json` in the model's folder, written last, and the checks against it.

Needs pydantic (every environment has it).
"""

from __future__ import annotations

import os
import re
import shlex
import unicodedata
from collections.abc import Container, Iterable
from pathlib import Path, PurePosixPath
from typing import Annotated, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, field_validator

from entitune.cli import InputError, printable
from entitune.files import atomic_write, read_json, sha256, write_json

MANIFEST = "manifest.json"
CHECKSUMS = ".checksums.json"
"""A file next to the manifest with checksums of the model's files, so that unchanged files are not read again."""

DOCUMENTATION = re.compile(
    r"(readme|licen[cs]e|notice|copying|use_policy)(\.(md|txt|rst|pdf))?|.*\.(md|pdf|png|jpe?g|gif|svg|webp)"
    r"|\.gitattributes|\.gitignore|configuration\.json",
    re.IGNORECASE,
)
"""Names of files that neither transformers nor vLLM reads. configuration.json is a description by the hub."""

MAX_NAME_BYTES = 255
"""The longest name of a file or folder on Linux file systems, in bytes."""
MAX_PROBLEMS = 10
"""The most problems of a folder that a message lists."""

Sha256 = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]


def check_path(path: str) -> str:
    """Return `path` if it names a file within a model's folder in its normal form. Raises ValueError otherwise."""
    parts = path.split("/")
    if not path.isprintable() or "\\" in path or any(part in ("", ".", "..") for part in parts):
        raise ValueError(f"{printable(path)} does not name a file within the model's folder")
    if path.casefold() in (MANIFEST, CHECKSUMS):
        raise ValueError(f"{path} is reserved: EntiTune writes a file of this name")
    if any(len(part.encode()) > MAX_NAME_BYTES for part in parts):
        raise ValueError(f"{path} is too long for a file system")
    return path


def check_distinct(paths: Iterable[str]) -> None:
    """Raise ValueError if two paths name one file on some file system, or if one is a folder of another."""
    seen: dict[str, str] = {}
    for path in paths:
        key = unicodedata.normalize("NFC", path).casefold()
        if key in seen:
            raise ValueError(
                f"{seen[key]} and {path} are one file on file systems that ignore letter case or Unicode form"
            )
        seen[key] = path
    for key, path in seen.items():
        for folder in map(str, PurePosixPath(key).parents):
            if folder in seen:
                raise ValueError(f"{seen[folder]} cannot be both a file and the folder of {path}")


class ModelFile(BaseModel):
    """One file of a model: its path within the model's folder, its size in bytes and its SHA-256."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    path: Annotated[str, AfterValidator(check_path)]
    size: Annotated[int, Field(ge=0)]
    sha256: Sha256


class ModelManifest(BaseModel):
    """The files in a model's folder, and where the model came from."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: str
    """The model's name in conf/models.yaml, or the folders that it was made from."""
    source: str
    """`path`, `modelscope` or `package` as in conf/models.yaml, or the script that made it from other models:
    `merge_adapter`, or `train_adapter` for candidates."""
    revision: str | None
    files: tuple[ModelFile, ...]
    """All files of the model, sorted by path."""

    @field_validator("files")
    @classmethod
    def _sorted_and_distinct(cls, files: tuple[ModelFile, ...]) -> tuple[ModelFile, ...]:
        check_distinct(file.path for file in files)
        return tuple(sorted(files, key=lambda file: file.path))

    @classmethod
    def of_folder(cls, folder: Path, *, model: str, source: str, revision: str | None) -> Self:
        """Return the manifest of all files in `folder`. Raises InputError if a file cannot be part of a model."""
        files = describe(folder, files_in(folder))
        return cls(model=model, source=source, revision=revision, files=files)

    @classmethod
    def read(cls, folder: Path) -> Self:
        """Read `folder`/manifest.json. Raises OSError if it is missing, and InputError if it is not a manifest."""
        path = folder / MANIFEST
        try:
            return cls.model_validate(read_json(path))
        except ValidationError as error:
            raise InputError(f"{path}: not the manifest of a model: {first_problem(error)}") from error

    def write(self, folder: Path) -> None:
        """Write `folder`/manifest.json, which marks the folder as finished."""
        write_json(folder / MANIFEST, self.model_dump(mode="json"))

    def differences(self, folder: Path, deep: bool) -> list[str]:
        """Return one line for each listed file that is missing in `folder` or differs.

        `deep` compares checksums and reads all files; otherwise only sizes are compared.
        """
        return [problem for file in self.files if (problem := _difference(folder / file.path, file, deep))]


def verify(folder: Path, deep: bool) -> None:
    """Raise InputError unless `folder` holds exactly the files that its manifest lists.

    `deep` compares checksums and reads all files (about 1 GB per second); otherwise only sizes are compared.
    """
    listed = ModelManifest.read(folder)
    problems = listed.differences(folder, deep)
    for name in unlisted_files(folder, (file.path for file in listed.files)):
        problems.append(f"{folder / printable(name)} is not a file of the model; remove it")
    if problems:
        more = len(problems) - MAX_PROBLEMS
        lines = problems[:MAX_PROBLEMS] + ([f"... and {more} more"] if more > 0 else [])
        described, manifest = "\n    ".join(lines), folder / MANIFEST
        raise InputError(
            f"{folder}: the files are not those that {manifest} lists:\n    {described}\nmake the model again with\n"
            f"    rm {shlex.quote(str(manifest))} && snakemake {shlex.quote(str(manifest))} --cores all"
        )


def check_model(folder: Path) -> None:
    """Raise InputError if a model of the pipeline lacks files or has other ones. Call it before loading the model.

    Only sizes are compared. A folder without a manifest is not checked: it does not come from the pipeline.
    """
    if (folder / MANIFEST).exists():
        verify(folder, deep=False)


def first_problem(error: ValidationError) -> str:
    """Return the first problem of a record: its place and a message."""
    first = error.errors()[0]
    message = first["msg"].removeprefix("Value error, ")
    return ": ".join([*map(str, first["loc"]), message])


def _difference(path: Path, file: ModelFile, deep: bool) -> str | None:
    """Return how a file on disk differs from the listed one, or None if it does not."""
    if not path.is_file():
        return f"{path} is missing"
    if (size := path.stat().st_size) != file.size:
        return f"{path} has {size} bytes instead of {file.size}"
    if deep and (digest := sha256(path)) != file.sha256:
        return f"{path} has SHA-256 {digest} instead of {file.sha256}"
    return None


def files_in(folder: Path, hidden: bool = True) -> list[str]:
    """Return the paths of all files below `folder`, relative to it and sorted, without EntiTune's own files.

    With `hidden`, the result includes files whose name, or that of a folder, begins with a dot. A link to a file counts
    as the file: the caches of model hubs consist of such links. Raises InputError for everything that is neither a file
    nor a folder: a link to a folder, a broken link, a pipe, a device.
    """
    found = []
    for parent, folders, files in os.walk(folder):
        if not hidden:
            folders[:] = [name for name in folders if not name.startswith(".")]
            files = [name for name in files if not name.startswith(".")]
        for path in (Path(parent, name) for name in [*folders, *files]):
            if path.is_symlink() and path.is_dir():
                raise InputError(f"{path} is a link to a folder; links are not followed, so copy the folder instead")
            if not path.is_file() and not path.is_dir():
                raise InputError(f"{path} is not a regular file (a broken link, a pipe or a device); remove it")
        found += [Path(parent, name).relative_to(folder).as_posix() for name in files]
    return sorted(set(found) - {MANIFEST, CHECKSUMS})


def is_documentation(path: str) -> bool:
    """Return whether a file of a model is documentation, which no engine loads."""
    return DOCUMENTATION.fullmatch(PurePosixPath(path).name) is not None


def engine_files(folder: Path, pinned: Container[str]) -> list[str]:
    """Return the paths of a model's files that are pinned or that an engine could load.

    The others are hidden or documentation. Raises InputError as `files_in` does.
    """
    return [path for path in files_in(folder, hidden=False) if path in pinned or not is_documentation(path)]


def unlisted_files(folder: Path, paths: Iterable[str]) -> list[str]:
    """Return the files of `folder` that are not among `paths`. Engines load files by name, listed or not."""
    return sorted(set(files_in(folder)) - set(paths))


def check_unlisted(folder: Path, paths: Iterable[str]) -> None:
    """Raise InputError if `folder` holds other files than `paths`. They are not deleted without the user's consent."""
    if others := unlisted_files(folder, paths):
        # For example, an old model.safetensors would be loaded instead of new shards.
        listed = ", ".join(map(printable, others))
        raise InputError(f"{folder} holds files that are not part of the model; delete them: {listed}")


class _Checksum(BaseModel):
    """The checksum of a file in a certain state: its resolved path, size, and change time in nanoseconds."""

    state: tuple[str, int, int]
    sha256: Sha256


_CHECKSUMS = TypeAdapter(dict[str, _Checksum])


def describe(folder: Path, paths: Iterable[str], remember: bool = False) -> tuple[ModelFile, ...]:
    """Return path, size and SHA-256 of the files `paths` in `folder`. Raises InputError if a path is invalid.

    With `remember`, only files that changed since the last call are read. A file counts as unchanged if its path, size
    and change time are the same: programs cannot set the change time.
    """
    paths, memory = list(paths), folder / CHECKSUMS
    try:
        check_distinct(map(check_path, paths))
    except ValueError as error:
        raise InputError(f"{folder}: {error}; rename or remove the file") from error
    known: dict[str, _Checksum] = {}
    if remember and memory.is_file():
        try:
            known = _CHECKSUMS.validate_json(memory.read_bytes())
        except ValidationError:
            memory.unlink()  # damaged: all files are read again
    checksums: dict[str, _Checksum] = {}
    for path in paths:
        file = folder / path
        stat = file.stat()
        state = (str(file.resolve()), stat.st_size, stat.st_ctime_ns)
        old = known.get(path)
        digest = old.sha256 if old and old.state == state else sha256(file)
        checksums[path] = _Checksum(state=state, sha256=digest)
    if remember:
        with atomic_write(memory, "wb") as stream:
            stream.write(_CHECKSUMS.dump_json(checksums) + b"\n")
    return tuple(ModelFile(path=path, size=one.state[1], sha256=one.sha256) for path, one in checksums.items())
