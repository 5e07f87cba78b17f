"""A model's list of files, and the checks that compare a folder with it."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from entitune.cli import InputError
from entitune.manifests import ModelFile, ModelManifest, check_distinct, check_path, describe, files_in, verify


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A finished model."""
    folder = tmp_path / "some"
    (folder / "docs").mkdir(parents=True)
    (folder / "model.safetensors").write_bytes(b"weights")
    (folder / "docs" / "说明.md").write_text("...", encoding="utf-8")
    ModelManifest.of_folder(folder, model="some", source="path", revision=None).write(folder)
    return folder


def test_a_manifest_has_the_same_bytes_as_before(model: Path) -> None:
    files = [
        {"path": path, "size": size, "sha256": describe(model, [path])[0].sha256}
        for path, size in (("docs/说明.md", 3), ("model.safetensors", 7))
    ]
    expected = {"model": "some", "source": "path", "revision": None, "files": files}
    text = json.dumps(expected, ensure_ascii=False, indent=2) + "\n"
    assert (model / "manifest.json").read_text(encoding="utf-8") == text
    assert ModelManifest.read(model).files == tuple(ModelFile.model_validate(file) for file in files)


@pytest.mark.parametrize(
    "path",
    [
        "",
        ".",
        "..",
        "../x",
        "docs/../../x",
        "/x",
        "docs//x",
        "./x",
        "docs/",
        "..\\x",
        "x\n",
        "x\x1b[2J",
        "\ud800",
        "x\0",
        "Manifest.json",
        ".checksums.json",
        "x" * 256,
        "字" * 86,
    ],
)
def test_a_path_outside_the_folder_is_refused(path: str) -> None:
    with pytest.raises(ValueError, match=r"does not name a file|is reserved|is too long"):
        check_path(path)
    with pytest.raises(ValueError, match="path"):
        ModelFile(path=path, size=1, sha256="0" * 64)


@pytest.mark.parametrize("path", ["x", ".gitattributes", "docs/manifest.json", "..x", "a b/说明.md", "字" * 85])
def test_any_other_path_is_accepted(path: str) -> None:
    assert check_path(path) == path


@pytest.mark.parametrize(
    ("paths", "message"),
    [
        (["config.json", "config.json"], "config.json and config.json are one file"),
        (["config.json", "Config.JSON"], "config.json and Config.JSON are one file"),
        (["\u00e9.json", "e\u0301.json"], "are one file"),
        (["config.json", "config.json/x"], "config.json cannot be both a file and the folder of config.json/x"),
        (["a/b/c/d", "A/B"], "A/B cannot be both a file and the folder of a/b/c/d"),
    ],
)
def test_paths_that_could_be_the_same_file_are_refused(paths: list[str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        check_distinct(paths)
    with pytest.raises(ValueError, match=message):
        ModelManifest.model_validate(
            {
                "model": "some",
                "source": "path",
                "revision": None,
                "files": [{"path": path, "size": 1, "sha256": "0" * 64} for path in paths],
            }
        )


def missing(model: Path) -> None:
    (model / "model.safetensors").unlink()


def shorter(model: Path) -> None:
    (model / "model.safetensors").write_bytes(b"weight")


def additional(model: Path) -> None:
    (model / "adapter_config.json").write_text("{}")


def pipe(model: Path) -> None:
    os.mkfifo(model / "pipe")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (missing, r"model\.safetensors is missing"),
        (shorter, r"model\.safetensors has 6 bytes instead of 7"),
        (additional, r"adapter_config\.json is not a file of the model"),
        (pipe, "pipe is not a regular file"),
    ],
)
def test_a_difference_from_the_list_is_named(model: Path, damage: Callable[[Path], None], message: str) -> None:
    verify(model, deep=True)
    damage(model)
    for deep in (False, True):
        with pytest.raises(InputError, match=message):
            verify(model, deep=deep)


def test_only_a_deep_check_reads_the_files(model: Path) -> None:
    (model / "model.safetensors").write_bytes(b"WEIGHTS")
    verify(model, deep=False)
    with pytest.raises(InputError, match=r"model\.safetensors has SHA-256 .* instead of ") as caught:
        verify(model, deep=True)
    assert f"rm {model}/manifest.json && snakemake {model}/manifest.json" in str(caught.value)


def test_a_message_lists_ten_problems(model: Path) -> None:
    for number in range(100):
        (model / f"{number}.bin").touch()
    with pytest.raises(InputError, match=r"and 90 more") as caught:
        verify(model, deep=False)
    assert str(caught.value).count("is not a file of the model") == 10


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"{", "manifest.json:1: not JSON"),
        (b"\xff", "manifest.json: not UTF-8"),
        (b"[]", "manifest.json: not the manifest of a model"),
        (b"{}", "manifest.json: not the manifest of a model: model: Field required"),
        (b'{"model": "a", "source": "path", "revision": null, "files": [{}]}', "files: 0: path: Field required"),
        (
            b'{"model": "a", "source": "path", "revision": null, "files": [{"path": "..", "size": 0, "sha256": ""}]}',
            r"files: 0: path: \.\. does not name a file",
        ),
    ],
)
def test_a_damaged_manifest_is_named(model: Path, content: bytes, message: str) -> None:
    (model / "manifest.json").write_bytes(content)
    with pytest.raises(InputError, match=message):
        verify(model, deep=False)


@pytest.mark.parametrize("size", [-1, 1.5, "1", None, True])
def test_a_size_is_a_number_of_bytes(size: Any) -> None:
    with pytest.raises(ValueError, match="size"):
        ModelFile(path="x", size=size, sha256="0" * 64)


def test_hidden_files_are_left_out_on_request(model: Path) -> None:
    (model / ".cache").mkdir()
    (model / ".cache" / "lock").symlink_to("nowhere")
    (model / ".gitattributes").touch()
    assert files_in(model, hidden=False) == ["docs/说明.md", "model.safetensors"]
    with pytest.raises(InputError, match="lock is not a regular file"):
        files_in(model)
    (model / ".cache" / "lock").unlink()
    assert files_in(model) == [".gitattributes", "docs/说明.md", "model.safetensors"]
