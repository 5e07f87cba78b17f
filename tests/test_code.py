"""The code that a rule depends on: the modules that its script imports, and the digest of their code."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from helpers import ROOT

from entitune import code_inputs
from entitune.code_inputs import code_digest, code_of

Write = Callable[[dict[str, str]], None]


@pytest.fixture(autouse=True)
def _at_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)


def test_transitive_imports_are_found() -> None:
    declared = code_of("read_answers")
    assert "scripts/read_answers.py" in declared
    assert "scripts/entitune/prompting/grounding.py" in declared
    assert "scripts/entitune/records.py" in declared
    assert "scripts/entitune/study.py" not in declared


@pytest.mark.parametrize("script", ["train_adapter", "merge_adapter", "predict_shard", "train_crf"])
def test_a_change_of_provenance_reruns_no_engine(script: str) -> None:
    assert "scripts/entitune/job_records.py" in code_of(script)
    assert "scripts/entitune/provenance.py" not in code_of(script)


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


# --- a small package for these tests ---------------------------------------------------------------------------------


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Write:
    """Write a new scripts/ folder, which code_of and code_digest then read."""
    written = 0

    def files(contents: dict[str, str]) -> None:
        nonlocal written
        written += 1
        folder = tmp_path / str(written) / "scripts"
        for name, content in contents.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(content, encoding="utf-8")
        monkeypatch.setattr(code_inputs, "SCRIPTS", folder)
        code_digest.cache_clear()

    return files


def found() -> set[str]:
    return {str(Path(path).relative_to(code_inputs.SCRIPTS)) for path in code_of("step")}


PACKAGE = {
    "step.py": "from package.inner.first import value\n",
    "package/__init__.py": "",
    "package/base.py": "",
    "package/unused.py": "",
    "package/inner/__init__.py": "",
    "package/inner/first.py": "value = 1\n",
    "package/inner/second.py": "import package.unused\n",
}
INNER = {"step.py", "package/__init__.py", "package/inner/__init__.py", "package/inner/first.py"}


@pytest.mark.parametrize(
    ("statement", "more"),
    [
        ("", set()),
        ("import json, os.path", set()),
        ("from . import second", {"package/inner/second.py", "package/unused.py"}),
        ("from .second import anything", {"package/inner/second.py", "package/unused.py"}),
        ("from .. import base", {"package/base.py"}),
        ("from ..base import anything", {"package/base.py"}),
        ("from ..inner import second as other", {"package/inner/second.py", "package/unused.py"}),
        ("import package.base as base", {"package/base.py"}),
        ("def late():\n    from .. import base", {"package/base.py"}),
        ("try:\n    from ..base import anything\nexcept ImportError:\n    pass", {"package/base.py"}),
        ("import other_step", {"other_step.py"}),
    ],
)
def test_an_import_is_followed(write: Write, statement: str, more: set[str]) -> None:
    write(PACKAGE | {"package/inner/first.py": statement, "other_step.py": ""})
    assert found() == INNER | more


def test_the_imports_of_a_package_itself_are_followed(write: Write) -> None:
    write(
        PACKAGE
        | {"package/inner/__init__.py": "from . import second\n", "package/__init__.py": "from .base import x\n"}
    )
    assert found() == INNER | {"package/inner/second.py", "package/unused.py", "package/base.py"}


def test_modules_that_import_each_other_end(write: Write) -> None:
    write({"step.py": "import one", "one.py": "import other", "other.py": "import one"})
    assert found() == {"step.py", "one.py", "other.py"}


MODULE = '''\
"""What the module is for."""

from __future__ import annotations

LIMIT = 10
"""What the limit is for."""


class Counter:
    """What a counter is for."""

    start: int = 0
    """Where it starts."""

    def count(self, *names: str, step: int = 1) -> str:
        """What it does."""
        # Why.
        total = self.start + step * len(names)
        return f"{total:>{LIMIT}}" + "counted" if total < LIMIT else ""
'''


def digest_of(write: Write, module: str) -> str:
    write({"step.py": "from package.module import Counter\n", "package/__init__.py": "", "package/module.py": module})
    return code_digest("step")


def changed(old: str, new: str) -> str:
    assert old in MODULE
    return MODULE.replace(old, new)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("# Why.", "# For another reason."),
        ("        # Why.\n", ""),
        ('"""What the module is for."""', '"""For something else."""'),
        ('"""What the module is for."""\n', ""),
        ('"""What the limit is for."""\n', ""),
        ('"""What a counter is for."""', "'''Another docstring\n    of two lines.'''"),
        ('        """What it does."""\n', ""),
        ('    """Where it starts."""\n', ""),
        ("self.start + step * len(names)", "(\n            self.start\n            + (step * len(names))\n        )"),
        ('"counted"', "'counted'"),
        ('"counted"', 'u"counted"'),
        ('"counted"', '"count" "ed"'),
        ("\n\nLIMIT", "\n\n\n\nLIMIT"),
        ("= 10\n", "= 0xA  # ten\n"),
    ],
)
def test_comments_and_format_do_not_change_the_digest(write: Write, old: str, new: str) -> None:
    assert digest_of(write, changed(old, new)) == digest_of(write, MODULE)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("= 10\n", "= 11\n"),
        ("= 10\n", "= 10.0\n"),
        ("= 10\n", "= '10'\n"),
        ("start: int = 0", "start: int = False"),
        ("start: int = 0", "start: int"),
        ("start: int = 0", "start: float = 0"),
        ('"counted"', '"Counted"'),
        ('"counted"', 'b"counted"'),
        ('"counted"', '("counted",)'),
        ("self.start + step", "self.start - step"),
        ("step * len", "step // len"),
        ("total < LIMIT", "total <= LIMIT"),
        (">{LIMIT}", "<{LIMIT}"),
        ("{total:", "{total!r:"),
        ("*names: str, step", "*names: str, by, step"),
        ("*names: str, step: int = 1", "step: int = 1, *names: str"),
        ('if total < LIMIT else ""', 'if total < LIMIT else "" or None'),
        ("        total = ", "        totals = "),
        ("        return f", "        f"),
        ("    def count", "    @staticmethod\n    def count"),
        ("    def count", "    async def count"),
        ("LIMIT = 10", "LIMIT = NAME = 10"),
        ("LIMIT = 10", 'print("""What the limit is for.""")\nLIMIT = 10'),
        ("from __future__ import annotations\n", ""),
        ("class Counter:", "class Counter(object):"),
    ],
)
def test_any_other_change_changes_the_digest(write: Write, old: str, new: str) -> None:
    assert digest_of(write, changed(old, new)) != digest_of(write, MODULE)


def test_the_digest_covers_every_file_that_is_imported(write: Write) -> None:
    digests = []
    for name in [None, *PACKAGE]:
        write(PACKAGE | ({name: PACKAGE[name] + "more = 1\n"} if name else {}))
        digests.append((name, code_digest("step")))
    changes = {name for name, digest in digests if digest != digests[0][1]}
    assert changes == INNER


def test_a_renamed_module_changes_the_digest(write: Write) -> None:
    write({"step.py": "import one\nimport other\n", "one.py": "x = 1\n", "other.py": "y = 2\n"})
    before = code_digest("step")
    write({"step.py": "import one\nimport other\n", "one.py": "y = 2\n", "other.py": "x = 1\n"})
    assert code_digest("step") != before


def test_the_digest_is_the_same_in_all_versions_of_python(write: Write) -> None:
    """Results stay valid when Python is upgraded. The value was the same with Python 3.11, 3.12 and 3.13."""
    assert digest_of(write, MODULE) == "20411211520ccf8beda901676b1573d1f276863c889228b0957133d34afc04b4"


def test_every_script_has_a_digest_of_its_own() -> None:
    code_digest.cache_clear()
    scripts = [path.stem for path in Path("scripts").glob("*.py")]
    assert len({code_digest(script) for script in scripts}) == len(scripts)
