"""Which files a script's behaviour depends on, so that a rule can declare them as inputs."""

from __future__ import annotations

import ast
import functools
from collections.abc import Iterator
from pathlib import Path

SCRIPTS = Path("scripts")
PACKAGE = "entitune"


def _names(node: ast.AST, package: str) -> list[str]:
    """The dotted names that an import statement may load; `package` is what a relative import starts from."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if not isinstance(node, ast.ImportFrom):
        return []
    if node.level:
        parts = package.split(".")[: len(package.split(".")) - node.level + 1]
        module = ".".join([*parts, *([node.module] if node.module else [])])
    else:
        module = node.module or ""
    return [module, *(f"{module}.{alias.name}" for alias in node.names)]


def _files(name: str) -> Iterator[Path]:
    """The files that importing a dotted name runs: the module, and `__init__.py` of every package above it."""
    parts = name.split(".")
    for length in range(1, len(parts) + 1):
        module = SCRIPTS / Path(*parts[:length])
        for file in (module / "__init__.py", module.with_suffix(".py")):
            if file.is_file():
                yield file


@functools.cache
def _imported_files(path: Path) -> frozenset[Path]:
    """The files of package entitune that a file imports itself."""
    package = ".".join(path.relative_to(SCRIPTS).parent.parts)
    return frozenset(
        file
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"), str(path)))
        for name in _names(node, package)
        if name.split(".")[0] == PACKAGE
        for file in _files(name)
    )


@functools.cache
def code_of(script: str) -> list[str]:
    """The script's file and every file of entitune that it imports, directly or not, sorted; paths from the root.

    `script` is a name without folder and suffix, as of the rule that runs it.
    """
    pending, reached = [SCRIPTS / f"{script}.py"], set[Path]()
    while pending:
        path = pending.pop()
        if path not in reached:
            reached.add(path)
            pending.extend(_imported_files(path))
    return sorted(map(str, reached))
