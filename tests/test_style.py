"""Lint and format of everything that is committed, and what a stranger must not find in it."""

from __future__ import annotations

import re
import subprocess

import pytest
from conftest import BIN, ENVIRONMENT, ROOT, snakemake


def tool(*words: str) -> subprocess.CompletedProcess[str]:
    command = [str(BIN / words[0]), *words[1:]]
    return subprocess.run(command, cwd=ROOT, env=ENVIRONMENT, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("command", [("check",), ("format", "--check")])
def test_ruff(command: tuple[str, ...]) -> None:
    done = tool("ruff", *command, ".")
    assert done.returncode == 0, done.stdout


@pytest.mark.slow
def test_snakefmt() -> None:
    done = tool("snakefmt", "--check", "Snakefile", "rules")
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.slow
def test_lint_finds_only_what_the_readme_explains() -> None:
    found = set(re.findall(r"^ +\* (.*?)[.:]*$", snakemake(ROOT, "--lint").stdout, re.MULTILINE))
    explained = re.findall(r"^- \*(.*)\.\* ", (ROOT / "README.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert found == set(explained)


def test_no_index_address_is_committed() -> None:
    done = subprocess.run(
        ["git", "grep", "-nIE", r"--(extra-)?index-url|pypi\.org|files\.pythonhosted\.org", "--", ".", ":!tests"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout == ""


def test_every_locked_package_has_a_hash() -> None:
    for lock in (ROOT / "envs").glob("*.txt"):
        entries = re.split(r"\n(?=[a-zA-Z0-9])", lock.read_text(encoding="utf-8").strip())
        assert [entry.split()[0] for entry in entries if "--hash=sha256:" not in entry] == []


def test_continuous_integration_runs_the_readme_command() -> None:
    blocks = re.findall(
        r"^```sh\n(.*?)^```", (ROOT / "README.md").read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL
    )
    assert blocks[1].count("\n") == 1
    assert blocks[1].strip() in (ROOT / ".ci" / "run").read_text(encoding="utf-8").splitlines()
