"""Fixtures (the demo with finished results) and the markers that tests get from their fixtures."""

from __future__ import annotations

import functools
import os
import shlex
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from helpers import BIN, CLUENER, ENVIRONMENT, ROOT, copy_repository, snakemake
from hypothesis import HealthCheck, settings

# Property tests draw the same examples in every run. CONTRIBUTING.md says how to search for new ones.
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


ENVIRONMENTS = [".envs/train/.built", ".envs/predict-cpu/.built", "--cores", "1"]
MEANWHILE: list[subprocess.Popen[bytes]] = []
"""The process that makes the demo while the fast tests run."""


@functools.cache
def build_environments() -> None:
    """Build the engines' environments with the workflow's own rule, unless they exist."""
    for process in MEANWHILE:  # it also builds them
        process.wait()
    done = snakemake(ROOT, *ENVIRONMENTS)
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


@pytest.fixture(scope="session", autouse=True)
def demo_meanwhile(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[[], Path] | None]:
    """Start making the environments and the demo on one core; return a function that waits for the demo's folder."""
    if not any("demo" in getattr(item, "fixturenames", ()) for item in request.session.items):
        yield None
        return
    given: Path | None = request.config.getoption("--demo")
    folder = given.resolve() if given else copy_repository(tmp_path_factory.mktemp("demo"))
    program, log = str(BIN / "snakemake"), tmp_path_factory.mktemp("meanwhile") / "log"
    both = shlex.join([program, *ENVIRONMENTS])
    both += f" && cd {shlex.quote(str(folder))} && {shlex.join([program, 'results/metrics.tsv', '--cores', 'all'])}"
    with log.open("w") as stream:
        process = subprocess.Popen(
            ["bash", "-c", both], cwd=ROOT, env=ENVIRONMENT, stdout=stream, stderr=stream, start_new_session=True
        )
    MEANWHILE.append(process)

    def finished() -> Path:
        assert process.wait() == 0, log.read_text(encoding="utf-8")
        return folder

    yield finished
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait()


@pytest.fixture(scope="session")
def demo(demo_meanwhile: Callable[[], Path]) -> Path:
    """A copy of the repository in which the README's main command has run with the default runs."""
    return demo_meanwhile()


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
