"""Fixtures and the kinds of tests: the demo with finished results, and markers that follow from fixtures."""

from __future__ import annotations

import functools
from pathlib import Path

import pytest
from helpers import CLUENER, ROOT, copy_repository, snakemake
from hypothesis import HealthCheck, settings

# Property tests draw the same examples in every run. CONTRIBUTING.md says how to search for new ones.
# A busy machine is no failure: time decides nothing.
PATIENT = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("repeatable", PATIENT, max_examples=50, derandomize=True, database=None)
settings.register_profile("search", PATIENT, max_examples=2000, print_blob=True)
settings.load_profile("repeatable")

SLOW = {"engine", "browser", "slurm", "network"}
"""The kinds of tests that take long. They are marked `slow` too."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option that saves the demo's training while one works on tests."""
    parser.addoption("--demo", type=Path, metavar="FOLDER", help="a copy of the repository in which the demo has run")


@functools.cache
def build_environments() -> None:
    """Build the engines' environments with the workflow's own rule, unless they are there."""
    done = snakemake(ROOT, ".envs/train/.built", ".envs/predict-cpu/.built", "--cores", "1")
    assert done.returncode == 0, done.stdout


def mark(item: pytest.Item) -> None:
    """Add the markers that follow from a test's fixtures and its other markers; pyproject.toml explains them."""
    if "demo" in getattr(item, "fixturenames", ()):
        item.add_marker("engine")
    kinds = {marker.name for marker in item.iter_markers()}
    if kinds & SLOW:
        item.add_marker("slow")
    elif not kinds & {"workflow", "slow"}:
        item.add_marker("unit")


@pytest.hookimpl(tryfirst=True)  # before -m selects by the markers
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests, and run the fast ones first: what is wrong with our own code shows in seconds."""
    for item in items:
        mark(item)
    items.sort(key=lambda item: item.get_closest_marker("slow") is not None)


@pytest.hookimpl(tryfirst=True)  # before the test's fixtures
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Tests of engines find the engines' environments built."""
    if item.get_closest_marker("engine"):
        build_environments()


@pytest.fixture(scope="session")
def demo(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the repository in which the README's main command has run on the embedded default."""
    given: Path | None = request.config.getoption("--demo")
    folder = given.resolve() if given else copy_repository(tmp_path_factory.mktemp("demo"))
    done = snakemake(folder, "results/metrics.tsv", "--cores", "all")
    assert done.returncode == 0, done.stdout
    return folder


@pytest.fixture(scope="session")
def reported(demo: Path) -> Path:
    """The demo, with what its report shows."""
    done = snakemake(demo, "report", "--cores", "all")
    assert done.returncode == 0, done.stdout
    return demo


@pytest.fixture(scope="session")
def cluener_archive() -> Path:
    """CLUENER's archive, which is not part of the repository."""
    if not CLUENER.is_file():
        pytest.skip(f"the CLUENER archive is not at {CLUENER}")
    return CLUENER
