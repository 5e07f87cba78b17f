"""Fixtures: the repository, a copy of it to work in, and finished demo results."""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# Property tests draw the same examples in every run. CONTRIBUTING.md says how to search for new ones.
# A busy machine is no failure: time decides nothing.
PATIENT = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("repeatable", PATIENT, derandomize=True, database=None)
settings.register_profile("search", PATIENT, max_examples=2000, print_blob=True)
settings.load_profile("repeatable")

ROOT = Path(__file__).resolve().parent.parent
BIN = Path(sys.executable).parent
ENVIRONMENT = {**os.environ, "PATH": f"{BIN}:{os.environ['PATH']}"}
CLUENER = ROOT.parent / "shared" / "data" / "cluener_public.zip"


def copy_repository(target: Path) -> Path:
    """Copy the files that git knows or would add; the environments are shared, results are not."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    for name in filter(None, listed.split("\0")):
        if (ROOT / name).is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, target / name)
    (ROOT / ".envs").mkdir(exist_ok=True)
    (target / ".envs").symlink_to(ROOT / ".envs")
    for git in (["init", "-q"], ["add", "-A"], ["-c", "user.name=t", "-c", "user.email=t@t", "commit", "-qm", "copy"]):
        subprocess.run(["git", *git], cwd=target, check=True)
    return target


def run_in(folder: Path, *command: str) -> subprocess.CompletedProcess[str]:
    """Run a command in `folder`, the workflow's environment first on PATH; stderr is folded into stdout."""
    return subprocess.run(
        command,
        cwd=folder,
        env=ENVIRONMENT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )


def snakemake(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run Snakemake in `folder`."""
    return run_in(folder, str(BIN / "snakemake"), *arguments)


@functools.cache
def build_environments() -> None:
    """Build .envs of this repository with the workflow's own rule, unless it is there."""
    done = snakemake(ROOT, ".envs/train/.built", ".envs/predict-cpu/.built", "--cores", "1")
    assert done.returncode == 0, done.stdout


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Fast tests first: what is wrong with our own code shows in seconds."""
    items.sort(key=lambda item: item.get_closest_marker("slow") is not None)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Slow tests find the engines' environments built, before any of their fixtures."""
    if item.get_closest_marker("slow"):
        build_environments()


@pytest.fixture(scope="session")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the repository in which the README's main command has run on the embedded default."""
    folder = copy_repository(tmp_path_factory.mktemp("demo"))
    done = snakemake(folder, "results/metrics.tsv", "--cores", "all")
    assert done.returncode == 0, done.stdout
    return folder


@pytest.fixture(scope="session")
def cluener_archive() -> Path:
    if not CLUENER.is_file():
        pytest.skip(f"the CLUENER archive is not at {CLUENER}")
    return CLUENER
