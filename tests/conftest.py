"""Fixtures (the demo with finished results) and the markers that tests get from their fixtures."""

from __future__ import annotations

import contextlib
import fcntl
import functools
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from helpers import CLUENER, ROOT, copy_repository, snakemake
from hypothesis import HealthCheck, settings

# Property tests draw the same examples in every run. CONTRIBUTING.md explains how to search for new ones.
# A slow machine is not a failure, so there is no deadline.
PATIENT = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("repeatable", PATIENT, max_examples=50, derandomize=True, database=None)
settings.register_profile("search", PATIENT, max_examples=2000, print_blob=True)
settings.load_profile("repeatable")

SLOW = {"engine", "browser", "slurm", "network"}
"""Markers of tests that take long. These tests are also marked `slow`."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option `--demo`, which saves the time to make the demo."""
    parser.addoption("--demo", type=Path, metavar="FOLDER", help="a copy of the repository in which the demo has run")


WORKER = os.environ.get("PYTEST_XDIST_WORKER")
"""The name of this process if `pytest -n 2` runs the tests in two processes, else None."""


@contextlib.contextmanager
def one_at_a_time(lock: Path) -> Iterator[None]:
    """Hold `lock`, so that only one process of this test run executes the block at a time."""
    with lock.open("w") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        yield


@functools.cache
def build_environments() -> None:
    """Build the engines' environments with the workflow's own rule, unless they exist."""
    (ROOT / ".envs").mkdir(exist_ok=True)
    with one_at_a_time(ROOT / ".envs" / ".tests.lock"):
        done = snakemake(ROOT, ".envs/train/.built", ".envs/predict-cpu/.built", "--cores", "1")
    assert done.returncode == 0, done.stdout


def mark(item: pytest.Item) -> None:
    """Add the markers that a test's fixtures and other markers imply; pyproject.toml explains them."""
    if "demo" in getattr(item, "fixturenames", ()):
        item.add_marker("engine")
    kinds = {marker.name for marker in item.iter_markers()}
    if kinds & SLOW:
        item.add_marker("slow")
    elif not kinds & {"workflow", "slow"}:
        item.add_marker("unit")


@pytest.hookimpl(tryfirst=True)  # before -m selects by the markers
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Mark the tests, and run the fast ones first, so that most mistakes in our own code show within seconds.

    Tests that download gigabytes are left out unless `-m` names them.
    """
    if "download" not in config.option.markexpr:
        left_out = [item for item in items if item.get_closest_marker("download")]
        items[:] = [item for item in items if item not in left_out]
        config.hook.pytest_deselected(items=left_out)
    for item in items:
        mark(item)
    items.sort(key=lambda item: item.get_closest_marker("slow") is not None)


@pytest.hookimpl(tryfirst=True)  # before the test's fixtures
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Build the engines' environments before a test that needs them."""
    if item.get_closest_marker("engine"):
        build_environments()


@pytest.fixture(scope="session")
def demo(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the repository in which the README's main command has run with the default runs.

    The first process that needs it makes it. With several processes, each one works on its own copy.
    """
    shared = tmp_path_factory.getbasetemp()
    if WORKER:
        shared = shared.parent
    given: Path | None = request.config.getoption("--demo")
    folder = given.resolve() if given else shared / "demo"
    with one_at_a_time(shared / "demo.lock"):
        if not folder.exists():
            folder.mkdir()
            copy_repository(folder)
        done = snakemake(folder, "results/metrics.tsv", "--cores", "all")
        assert done.returncode == 0, done.stdout
        if WORKER:
            folder = shutil.copytree(folder, tmp_path_factory.mktemp("demo") / "demo", symlinks=True)
    return folder


@pytest.fixture(scope="session")
def reported(demo: Path) -> Path:
    """The demo with all figures and pages of its report."""
    done = snakemake(demo, "report", "--cores", "all")
    assert done.returncode == 0, done.stdout
    return demo


@pytest.fixture(scope="session")
def cluener_archive() -> Path:
    """CLUENER's archive, which is not part of the repository."""
    if not CLUENER.is_file():
        pytest.skip(f"the CLUENER archive is not at {CLUENER}")
    return CLUENER
