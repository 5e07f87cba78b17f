"""Read the files under conf/, and turn a mistake in one into a message that names the file, the key and the fix.

Needs PyYAML and pydantic (every environment has both).
"""

from __future__ import annotations

import io
import re
import stat
from collections.abc import Hashable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import yaml
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from entitune.cli import InputError, printable

Entry = TypeVar("Entry", bound=BaseModel)
JSON_NAMES = {
    "string": "string",
    "int": "integer",
    "float": "number",
    "bool": "boolean",
    "dict": "object",
    "list": "array",
    "tuple": "array",
    "model": "object",
}
"""The name in messages for each type that pydantic expects."""


MAX_DEPTH = 50
"""The deepest nesting that a YAML file may have. The files of the repository need five levels."""

MAX_BYTES = 1 << 20
"""The largest size of a file under conf/."""

MAX_VALUES = 1 << 20
"""The most values in a YAML file. An alias (`*name`) counts as all that it repeats: a short file may have billions."""


class ConfigError(InputError):
    """A mistake in conf/. The message names the file, the key and the fix."""


class _Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]  # the C parser: 10x faster
    """PyYAML's safe loader, with three differences.

    A repeated key is an error; PyYAML silently keeps its last value. As in YAML 1.2, only true and false are booleans
    (a label may be called NO), and a date is text.
    """

    yaml_implicit_resolvers: ClassVar[dict[str, list[tuple[str, re.Pattern[str]]]]] = {
        first: [
            (tag, re.compile(r"(true|True|TRUE|false|False|FALSE)$") if tag.endswith(":bool") else pattern)
            for tag, pattern in resolvers
            if not tag.endswith(":timestamp")
        ]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[Any] = set()
        for key_node, _ in node.value:
            if key_node.tag == "tag:yaml.org,2002:merge":  # <<: another entry's keys, which this entry's keys override
                continue
            key = self.construct_object(key_node, deep=True)
            where = f"{node.start_mark.name}:{key_node.start_mark.line + 1}"
            if not isinstance(key, Hashable):
                raise ConfigError(f"{where}: a key must be a name, not a list or a mapping")
            if key in seen:
                raise ConfigError(f"{where}: the key {key!r} is given twice; names must be unique")
            seen.add(key)
        mapping: dict[Hashable, Any] = super().construct_mapping(node, deep)
        return mapping


def read_text(path: Path) -> str:
    r"""Return the text of a file, without a byte order mark and with `\n` line ends.

    Raises ConfigError if it is not a regular file, is too large, or is not UTF-8.
    """
    try:
        status = path.stat()
        if stat.S_ISREG(status.st_mode) and status.st_size > MAX_BYTES:
            raise ConfigError(f"{path}: {status.st_size:,} bytes; a file under conf/ may have at most {MAX_BYTES:,}")
        if not stat.S_ISREG(status.st_mode) and not stat.S_ISDIR(status.st_mode):  # reading a pipe may never end
            raise ConfigError(f"{path}: not a regular file")
        return path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such file") from None
    except UnicodeDecodeError as error:
        line = path.read_bytes()[: error.start].count(b"\n") + 1
        raise ConfigError(f"{path}:{line}: not UTF-8; save the file as UTF-8") from None
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from None


def read_yaml(path: Path) -> Any:
    """Return the value of a YAML file. Raises ConfigError with file and line if it is not YAML or repeats a key."""
    stream = io.StringIO(read_text(path))
    stream.name = str(path)  # the name in messages
    try:
        _check_depth(yaml.parse(stream, _Loader), path)
        stream.seek(0)
        value = yaml.load(stream, _Loader)
        if _size_of(value, {}) > MAX_VALUES:
            raise ConfigError(f"{path}: its aliases (*name) expand to more than {MAX_VALUES:,} values")
        return value
    except yaml.YAMLError as error:
        raise ConfigError(f"{path}: not YAML: {error}") from None
    except (ValueError, RecursionError) as error:  # such as an impossible date or a thousand brackets
        raise ConfigError(f"{path}: not YAML: {error}; put text that looks like a number in quotes") from None


def _check_depth(events: Iterable[yaml.Event], path: Path) -> None:
    """Raise ConfigError if a file is nested too deeply: the C parser would crash the process."""
    depth = 0
    for event in events:
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > MAX_DEPTH:
            line = event.start_mark.line + 1 if event.start_mark else 1
            raise ConfigError(f"{path}:{line}: nested more than {MAX_DEPTH} levels deep")


def _size_of(value: Any, known: dict[int, int]) -> int:
    """Return how many values a value holds. An alias counts as all that it repeats, a value within itself once."""
    if not isinstance(value, dict | list | set | tuple):
        return 1
    if id(value) not in known:
        known[id(value)] = 1
        inner = [*value, *value.values()] if isinstance(value, dict) else value
        known[id(value)] = 1 + sum(_size_of(one, known) for one in inner)
    return known[id(value)]


def read_scalar(text: str) -> Any:
    """Return a single value, read as in the files under conf/: text, a number, true, false or null."""
    return yaml.load(text, _Loader)


def read_sheet(path: Path, optional: Sequence[str] = ()) -> list[dict[str, str]]:
    """Return the rows of a tab-separated file with a header line.

    Empty lines and lines that begin with # are skipped. A row may lack last columns that are `optional`: editors strip
    tabs at the end of a line.
    """
    lines = read_text(path).splitlines()
    numbered = [(number, line) for number, line in enumerate(lines, 1) if line.strip() and not line.startswith("#")]
    if not numbered:
        raise ConfigError(f"{path}: empty; expected a header line and one line per run")
    rows = []
    for number, line in numbered:
        if '"' in line:
            raise ConfigError(f"{path}:{number}: remove the quotes; fields are separated by tabs and are not quoted")
        rows.append(line.split("\t"))
    header, *body = rows
    if repeated := [name for number, name in enumerate(header) if name in header[:number]]:
        raise ConfigError(f"{path}: the header has the column {printable(repeated[0])!r} twice")
    needed = len(header)
    while needed and header[needed - 1] in optional:
        needed -= 1
    for (number, _), row in zip(numbered[1:], body, strict=True):
        if not needed <= len(row) <= len(header):
            raise ConfigError(f"{path}:{number}: {len(row)} columns, the header has {len(header)} (tab-separated)")
    return [dict(zip(header, [*row, *[""] * (len(header) - len(row))], strict=True)) for row in body]


def parse_entry(model: type[Entry], value: Any, where: str) -> Entry:
    """Return `value` as a model. Raises ConfigError with one line per problem, each beginning with `where`."""
    if not isinstance(value, Mapping):
        raise ConfigError(f"{where}: expected keys and values, found {value!r}")
    try:
        return model.model_validate(value)
    except ValidationError as error:
        raise ConfigError("\n".join(_describe(problem, model, where) for problem in error.errors())) from None


def parse_registry(model: type[Entry], value: Any, file: str) -> dict[str, Entry]:
    """Return the entries of a registry file by name. Raises ConfigError about the first invalid entry."""
    if not isinstance(value, Mapping) or not value:
        raise ConfigError(f"{file}: expected one or more named entries")
    entries = {}
    for name, entry in value.items():
        if not isinstance(name, str):
            raise ConfigError(f"{file}: YAML reads the name {name!r} as type {type(name).__name__}; put it in quotes")
        where = f"{file}: {printable(name)}"
        if not isinstance(entry, Mapping):
            raise ConfigError(f"{where}: expected keys and values, found {entry!r}")
        entries[name] = parse_entry(model, {"name": name, **entry}, where)
    return entries


def _describe(problem: ErrorDetails, model: type[BaseModel], where: str) -> str:
    place = ": ".join([where, *(printable(str(part)) for part in problem["loc"] if part != "name")])
    kind, value, context = problem["type"], problem["input"], problem.get("ctx", {})
    if kind == "extra_forbidden":
        *parents, key = problem["loc"]
        owner = ": ".join([where, *map(str, parents)])
        return f"{owner}: unknown key {key!r}; known: {', '.join(_keys_at(model, parents))}"
    if kind == "missing":
        *parents, key = problem["loc"]
        return f"{': '.join([where, *map(str, parents)])}: the key {key!r} is missing"
    if kind == "literal_error":
        return f"{place}: {value!r} is not one of {context['expected'].replace(' or ', ', ')}"
    if kind in ("value_error", "assertion_error"):
        return f"{place}: {context['error']}"
    expected = next((name for prefix, name in JSON_NAMES.items() if kind.startswith(prefix + "_")), None)
    if expected and kind.endswith("_type"):
        hint = f"; put it in quotes: '{_as_yaml(value)}'" if expected == "string" and _is_scalar(value) else ""
        return f"{place}: {_as_yaml(value)} is not of type {expected}{hint}"
    return f"{place}: {value!r}: {problem['msg']}"


def _is_scalar(value: Any) -> bool:
    return isinstance(value, bool | int | float) or value is None


def _as_yaml(value: Any) -> str:
    """Return a scalar as a user probably wrote it."""
    if value is None:
        return "null"
    return repr(value).lower() if isinstance(value, bool) else repr(value)


def _keys_at(model: type[BaseModel], parents: Sequence[int | str]) -> list[str]:
    """Return the keys of the model at the place `parents` below `model`."""
    current: Any = model
    for part in parents:
        if isinstance(part, str) and part in getattr(current, "model_fields", {}):
            annotation = current.model_fields[part].annotation
            current = next(
                (one for one in (annotation, *getattr(annotation, "__args__", ())) if hasattr(one, "model_fields")),
                None,
            )
    return [
        field.alias or key
        for key, field in getattr(current, "model_fields", {}).items()
        if key != "name" or current is not model
    ]
