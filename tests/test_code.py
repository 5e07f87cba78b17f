"""The modules that a rule declares are those that its script imports."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT

from entitune.code_inputs import code_of


@pytest.fixture(autouse=True)
def _at_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)


def test_transitive_imports_are_found() -> None:
    declared = code_of("read_answers")
    assert "scripts/read_answers.py" in declared
    assert "scripts/entitune/prompting/grounding.py" in declared
    assert "scripts/entitune/records.py" in declared
    assert "scripts/entitune/study.py" not in declared


@pytest.mark.parametrize("script", ["read_answers", "build_alpaca", "render_config", "write_manifest"])
def test_declared_modules_are_those_that_python_loads(script: str) -> None:
    program = (
        "import sys, runpy; sys.path.insert(0, 'scripts'); sys.argv = ['x', '--help']\n"
        f"try: runpy.run_path('scripts/{script}.py', run_name='__main__')\n"
        "except SystemExit: pass\n"
        "print('\\n'.join(m.__file__ for n, m in sys.modules.items() if n.split('.')[0] == 'entitune'))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    loaded = {str(Path(line).resolve().relative_to(ROOT)) for line in done.stdout.splitlines() if "/entitune/" in line}
    assert {path for path in code_of(script) if "/entitune/" in path} == loaded
