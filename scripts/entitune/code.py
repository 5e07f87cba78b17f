"""Which files a script's behaviour depends on, so that a rule can declare them as inputs."""

from __future__ import annotations

import ast
import functools
from pathlib import Path

SCRIPTS = Path("scripts")


@functools.cache
def _imported_modules(path: Path) -> frozenset[Path]:
    """The files of package entitune that a file imports itself."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"), str(path))):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        for name in names:
            module = SCRIPTS / Path(*name.split(".")).with_suffix(".py")
            if name.startswith("entitune.") and module.is_file():
                found.add(module)
    return frozenset(found)


@functools.cache
def code_of(script: str) -> list[str]:
    """The script's file and every module of entitune that it imports, directly or not, sorted; paths from the root.

    `script` is a name without folder and suffix, as of the rule that runs it.
    """
    pending, reached = [SCRIPTS / f"{script}.py"], set[Path]()
    while pending:
        path = pending.pop()
        if path not in reached:
            reached.add(path)
            pending.extend(_imported_modules(path))
    return sorted(map(str, reached))
