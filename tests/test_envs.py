"""An environment is built when the content of its lock file has changed, and only then."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
from helpers import BIN, ENVIRONMENT, copy_repository, snakemake

pytestmark = [pytest.mark.workflow, pytest.mark.network]
MARKER = ".envs/tiny/.built"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A copy of the repository with its own environments and a lock file of one small package."""
    folder = copy_repository(tmp_path)
    (folder / ".envs").unlink()
    (folder / ".envs").mkdir()
    locked = re.search(r"^iniconfig==(?:.*\\\n)*.*\n", (folder / "envs/workflow.txt").read_text(), re.MULTILINE)
    assert locked
    (folder / "envs/tiny.txt").write_text(locked[0])
    return folder


def build(folder: Path) -> None:
    done = snakemake(folder, MARKER, "--cores", "1")
    assert done.returncode == 0, done.stdout


def test_an_environment_follows_its_lock_file(folder: Path) -> None:
    build(folder)
    python, lock = folder / ".envs/tiny/bin/python", folder / "envs/tiny.txt"
    subprocess.run([python, "-c", "import iniconfig"], check=True)

    # As in another clone that shares the environments: a lock file with the same content and a later date.
    subprocess.run(["rm", "-r", ".snakemake"], cwd=folder, check=True)
    lock.touch()
    (folder / ".envs/tiny/kept").touch()
    build(folder)
    assert (folder / ".envs/tiny/kept").exists()

    lock.write_text(lock.read_text() + "# changed\n")
    build(folder)
    assert not (folder / ".envs/tiny/kept").exists()

    python.unlink()  # a broken link, as after the removal of the Python that it was made with
    python.symlink_to("nowhere")
    build(folder)
    subprocess.run([python, "-c", "import iniconfig"], check=True)


def test_two_workflows_build_it_once(folder: Path) -> None:
    clone = folder / "clone"
    subprocess.run(["git", "worktree", "add", "-q", "--detach", "clone"], cwd=folder, check=True)
    (clone / "envs/tiny.txt").write_text((folder / "envs/tiny.txt").read_text())
    (clone / ".envs").symlink_to(folder / ".envs")
    command = [str(BIN / "snakemake"), MARKER, "--cores", "1"]
    both = [
        subprocess.Popen(
            command, cwd=place, env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        for place in (folder, clone)
    ]
    outputs = [process.communicate()[0] for process in both]
    assert [process.returncode for process in both] == [0, 0], outputs
    assert sum("Building .envs/tiny" in text for text in outputs) == 1
