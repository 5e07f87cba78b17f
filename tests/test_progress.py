"""Progress lines: frequent on a terminal, rare in a log, none with --quiet."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from helpers import copy_repository, snakemake

from entitune.progress import QUIET, Progress


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def lines_of(stream: io.StringIO, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return the output of a stage of 120 s that reports its progress every second."""
    clock = 1000.0
    monkeypatch.setattr("time.monotonic", lambda: clock)
    progress = Progress("train x", stream)
    for step in range(1, 121):
        clock += 1
        progress.show(100 * step / 120, f"step {step}/120", f"{120 - step} s")
    progress.show(100, "step 120/120", "0 s")
    return stream.getvalue().splitlines()


def test_a_terminal_gets_a_line_every_few_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = lines_of(Terminal(), monkeypatch)
    assert lines[0] == "train x: 1 %, step 1/120, 119 s left"
    assert len(lines) == 25
    assert lines[-1] == "train x: 100 %, step 120/120, 0 s left"


def test_a_log_gets_a_line_a_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = lines_of(io.StringIO(), monkeypatch)
    assert [line.split(",")[1] for line in lines] == [" step 1/120", " step 61/120", " step 120/120"]


def test_quiet_is_quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(QUIET, "1")
    assert lines_of(Terminal(), monkeypatch) == []


@pytest.mark.workflow
@pytest.mark.parametrize(("options", "value"), [([], ""), (["--quiet"], "1")])
def test_jobs_inherit_quiet(tmp_path: Path, options: list[str], value: str) -> None:
    folder = copy_repository(tmp_path)
    with (folder / "Snakefile").open("a", encoding="utf-8") as snakefile:
        snakefile.write(f'\n\nrule tell:\n    shell:\n        "echo quiet: [${{{{{QUIET}:-}}}}]"\n')
    done = snakemake(folder, "tell", "--cores", "1", *options)
    assert f"quiet: [{value}]" in done.stdout
