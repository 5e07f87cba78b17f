"""Lint and format of all committed files, and text that must not be committed."""

from __future__ import annotations

import re
import shutil
import subprocess
import tomllib

import pytest
from helpers import ENVIRONMENT, ROOT, Result, snakemake

LINE_LENGTH = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["ruff"]["line-length"]
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")
RECIPES = dict(re.findall(r"^(\w+):.*\n\t(.+)$", MAKEFILE, re.MULTILINE))
"""The first command of each target."""
CHECKS = re.findall(r"^CHECKS = (.*)$", MAKEFILE, re.MULTILINE)[0].split()


def tool(*command: str) -> Result:
    return subprocess.run(command, cwd=ROOT, env=ENVIRONMENT, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("check", CHECKS)
def test_check_of_the_makefile(check: str) -> None:
    """Each command of `make check`, also on a machine without make."""
    done = tool("bash", "-o", "pipefail", "-c", RECIPES[check])
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_makefile_has_every_check() -> None:
    assert {RECIPES[check].split()[0] for check in CHECKS} >= {"ruff", "mypy", "snakefmt"}
    if shutil.which("make"):
        planned = tool("make", "--dry-run", "check").stdout.splitlines()
        assert planned == [RECIPES[check] for check in CHECKS]


@pytest.mark.parametrize("caller", [".pre-commit-config.yaml", ".github/workflows/test.yml"])
def test_pre_commit_and_the_forge_call_the_makefile(caller: str) -> None:
    """No check is written twice."""
    text = (ROOT / caller).read_text(encoding="utf-8")
    assert "make check" in text
    assert [RECIPES[check] for check in CHECKS if RECIPES[check] in text] == []


def test_no_line_of_a_rule_is_longer_than_the_limit() -> None:
    """snakefmt leaves shell commands and texts as they are."""
    too_long = [
        f"{path.relative_to(ROOT)}:{number}"
        for path in [ROOT / "Snakefile", *(ROOT / "rules").glob("*.smk")]
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if len(line) > LINE_LENGTH
    ]
    assert too_long == []


@pytest.mark.workflow
def test_snakemake_lint_reports_only_explained_findings() -> None:
    found = set(re.findall(r"^ +\* (.*?)[.:]*$", snakemake(ROOT, "--lint").stdout, re.MULTILINE))
    explained = re.findall(r"^- \*(.*)\.\* ", (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert found == set(explained)


def test_no_index_address_is_committed() -> None:
    addresses = r"--(extra-)?index-url|pypi\.org|files\.pythonhosted\.org"
    done = tool("git", "grep", "-nIE", "-e", addresses, "--", ".", ":!tests")
    assert (done.returncode, done.stdout) == (1, ""), done.stderr  # 1: nothing found


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
