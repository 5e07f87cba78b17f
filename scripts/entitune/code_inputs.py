"""Which code the results of a script depend on: the files that it runs, and one digest of what they do.

A rule runs again when the digest changes. Comments, docstrings and formatting do not change it.
"""

from __future__ import annotations

import ast
import functools
import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple, TypeGuard

SCRIPTS = Path("scripts")


class _Module(NamedTuple):
    """What is read from a Python file, once per process."""

    imported: frozenset[Path]
    """The files under SCRIPTS that the file imports directly."""
    digest: bytes
    """SHA-256 of the file's syntax tree."""


def _names(node: ast.AST, package: str) -> list[str]:
    """Return the dotted names that an import statement may load; `package` is the base of relative imports."""
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
    """Yield the files that importing a dotted name runs: the module, and `__init__.py` of every package above it.

    Yields nothing for a module outside SCRIPTS, such as those of the standard library.
    """
    parts = name.split(".")
    for length in range(1, len(parts) + 1):
        module = SCRIPTS / Path(*parts[:length])
        for file in (module / "__init__.py", module.with_suffix(".py")):
            if file.is_file():
                yield file


def _write(value: object, text: list[str]) -> None:
    """Append a text to `text` that identifies a part of a syntax tree.

    Unlike that of `ast.dump`, the text is the same in all versions of Python: empty fields are left out, which includes
    fields that a later version adds. Strings that are statements are left out as well: docstrings, and descriptions of
    variables.
    """
    if isinstance(value, ast.AST):
        text.append(type(value).__name__ + "(")
        for name in value._fields:
            part = getattr(value, name, None)
            if isinstance(value, ast.JoinedStr):  # Python 3.12 may add an empty piece to the parts of an f-string
                part = [piece for piece in value.values if not (_is_string(piece) and not piece.value)]
            if part is not None and part != [] and name not in ("ctx", "kind"):  # `kind` is the u of u"text"
                text.append(name + "=")
                _write(part, text)
        text.append(")")
    elif isinstance(value, list):
        text.append("[")
        for item in value:
            if not (isinstance(item, ast.Expr) and _is_string(item.value)):
                _write(item, text)
                text.append(",")
        text.append("]")
    else:
        text.append(repr(value))


def _is_string(node: ast.expr) -> TypeGuard[ast.Constant]:
    return isinstance(node, ast.Constant) and isinstance(node.value, str)


@functools.cache
def _read(path: Path) -> _Module:
    tree = ast.parse(path.read_text(encoding="utf-8"), str(path))
    package = ".".join(path.relative_to(SCRIPTS).parent.parts)
    names = {name for node in ast.walk(tree) for name in _names(node, package)}
    imported = frozenset(file for name in names for file in _files(name))
    text: list[str] = []
    _write(tree, text)
    return _Module(imported, hashlib.sha256("".join(text).encode()).digest())


def code_of(script: str) -> list[str]:
    """Return the script's file and every file under scripts/ that it imports, directly or indirectly, sorted.

    `script` is a name without folder and suffix, usually that of the rule that runs it. The paths are relative to the
    repository's root.
    """
    pending, reached = [SCRIPTS / f"{script}.py"], set[Path]()
    while pending:
        path = pending.pop()
        if path not in reached:
            reached.add(path)
            pending.extend(_read(path).imported)
    return sorted(map(str, reached))


def imported_by(script: str) -> list[str]:
    """Return the files under scripts/ that the script imports directly, sorted; relative to the repository's root."""
    return sorted(map(str, _read(SCRIPTS / f"{script}.py").imported))


@functools.cache
def code_digest(script: str) -> str:
    """Return the SHA-256, in hexadecimal, of what the files of `code_of(script)` do.

    It depends on their names and syntax trees, but not on comments, docstrings, formatting or the version of Python.
    """
    digest = hashlib.sha256()
    for path in map(Path, code_of(script)):
        digest.update(path.relative_to(SCRIPTS).as_posix().encode() + b"\0" + _read(path).digest)
    return digest.hexdigest()
