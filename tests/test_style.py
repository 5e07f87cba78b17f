"""Lint and format of everything that is committed, and what a stranger must not find in it."""

from __future__ import annotations

import re
import subprocess
import tomllib

import pytest
from helpers import ENVIRONMENT, ROOT, Result, snakemake

LINE_LENGTH = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["ruff"]["line-length"]


def tool(*command: str) -> Result:
    return subprocess.run(command, cwd=ROOT, env=ENVIRONMENT, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("command", [("check",), ("format", "--check")])
def test_ruff(command: tuple[str, ...]) -> None:
    done = tool("ruff", *command, ".")
    assert done.returncode == 0, done.stdout


def test_mypy() -> None:
    done = tool("mypy")
    assert done.returncode == 0, done.stdout


def test_snakefmt() -> None:
    done = tool("snakefmt", "--check", "Snakefile", "rules")
    assert done.returncode == 0, done.stdout + done.stderr


def test_no_line_of_a_rule_is_longer_than_the_limit() -> None:
    """snakefmt leaves shell commands and texts as they are."""
    too_long = [
        f"{path.relative_to(ROOT)}:{number}"
        for path in [ROOT / "Snakefile", *(ROOT / "rules").glob("*.smk")]
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if len(line) > LINE_LENGTH
    ]
    assert too_long == []


def test_shfmt() -> None:
    scripts = tool("git", "ls-files", "*.sh", ".ci/run").stdout.split()
    assert len(scripts) >= 3
    done = tool("shfmt", "--diff", "--indent", "4", *scripts)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.workflow
def test_lint_finds_only_what_the_readme_explains() -> None:
    found = set(re.findall(r"^ +\* (.*?)[.:]*$", snakemake(ROOT, "--lint").stdout, re.MULTILINE))
    explained = re.findall(r"^- \*(.*)\.\* ", (ROOT / "README.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert found == set(explained)


def test_no_index_address_is_committed() -> None:
    addresses = r"--(extra-)?index-url|pypi\.org|files\.pythonhosted\.org"
    done = tool("git", "grep", "-nIE", addresses, "--", ".", ":!tests")
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
