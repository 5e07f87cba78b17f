"""Any content of conf/ and any name of a clone: a message that names the file, and nothing is executed."""

from __future__ import annotations

import functools
import itertools
import operator
import os
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from helpers import ROOT, copy_repository, edit_yaml, snakemake

from entitune.config_files import ConfigError
from entitune.study import read_study

CODE = "$(id>executed)"
"""Text that a shell would execute."""
YTE = '__use_yte__: true\nruns: ?["demo"] if __import__("pathlib").Path("executed").touch() is None else []\n'


@pytest.fixture
def conf(tmp_path: Path) -> Path:
    shutil.copytree(ROOT / "conf", tmp_path / "conf")
    return tmp_path / "conf"


def problem(conf: Path) -> str | None:
    """Return the message about a mistake under `conf`, or None. Any exception except ConfigError is a bug."""
    try:
        read_study(conf=conf)
    except ConfigError as error:
        return str(error)
    return None


# --- whole files -----------------------------------------------------------------------------------------------------

FILES = [
    "config.yaml",
    "datasets.yaml",
    "decode.yaml",
    "models.yaml",
    "prompts.yaml",
    "recipes.yaml",
    "runs.tsv",
    "train/demo.yaml",
    "prompts/ner-zh-short-brackets.txt",
]
Damage = Callable[[bytes], bytes]
ALWAYS_BROKEN: dict[str, Damage] = {
    "not UTF-8": lambda content: content + b"# \xca\xfd\n",
    "UTF-16": lambda content: content.decode().encode("utf-16"),
}
BROKEN: dict[str, Damage] = {
    "empty": lambda content: b"",
    "null": lambda content: b"null\n",
    "text": lambda content: b"text\n",
    "no text": lambda content: content + b"\0",
    "control characters": lambda content: content + b"\x1b[2J\n",
    "Python": lambda content: b"!!python/object/apply:pathlib.Path.touch [executed]\n",
    "Python, as a value": lambda content: content + b"x: !!python/name:os.system\n",
    "YTE": lambda content: YTE.encode(),
    "a key that is a list": lambda content: b"? [a, b]\n: 1\n" + content,
    "a key that is a mapping": lambda content: b"? {a: b}\n: 1\n" + content,
    "a key that is a number": lambda content: b"2020: {}\n" + content,
    "a key that is nothing": lambda content: b"~: {}\n" + content,
    "an impossible date": lambda content: b"x1:\n  format: 2020-13-45\n" + content,
    "a number without end": lambda content: b"x: " + b"9" * 5000 + b"\n" + content,
    "half a surrogate pair": lambda content: b'x: "\\ud800"\n' + content,
    "bytes": lambda content: b'x: !!binary "%%%"\n' + content,
    "a set": lambda content: b"!!set {a, b}\n",
    "itself": lambda content: b"&a {x: *a}\n",
    "itself, merged": lambda content: b"a: &a\n  <<: *a\n",
    "a merge of nothing": lambda content: b"a: {<<: 3}\n",
    "brackets": lambda content: b"[" * 100_000,
    "two documents": lambda content: content + b"---\nx: 1\n",
    "a quote over two lines": lambda content: content + b'"x\ny"\tdemo\tdemo\tdemo\tdemo\tdemo\t1\t\n',
    "a quote without end": lambda content: content + b'"x\n',
    "a long line": lambda content: content + b"x" * 1_000_000 + b"\n",
}


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("kind", [*ALWAYS_BROKEN, *BROKEN])
def test_a_damaged_file_is_read_or_ends_with_a_message(conf: Path, name: str, kind: str) -> None:
    """Some kinds of damage are valid in some files, such as an empty list of runs or a comment."""
    path = conf / name
    path.write_bytes({**ALWAYS_BROKEN, **BROKEN}[kind](path.read_bytes()))
    message = problem(conf)
    if kind in ALWAYS_BROKEN:
        assert message is not None
        assert Path(name).name in message
    assert message is None or len(message) < 5000


@pytest.mark.parametrize("name", FILES)
def test_a_file_that_cannot_be_read_ends_with_a_message(conf: Path, name: str) -> None:
    path = conf / name
    path.unlink()
    assert Path(name).name in str(problem(conf))
    path.mkdir()
    assert Path(name).name in str(problem(conf))
    path.rmdir()
    path.symlink_to(path.name)  # to itself
    assert Path(name).name in str(problem(conf))
    path.unlink()
    os.mkfifo(path)  # nothing is written to it
    assert Path(name).name in str(problem(conf))
    path.unlink()
    path.symlink_to("/dev/zero")  # endless
    assert Path(name).name in str(problem(conf))


@pytest.mark.parametrize("name", FILES)
def test_a_file_from_windows_is_read_like_any_other(conf: Path, name: str) -> None:
    """The file has a byte order mark and CRLF line ends."""
    expected = read_study(conf=conf)
    path = conf / name
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes().replace(b"\n", b"\r\n"))
    assert read_study(conf=conf) == expected


@pytest.mark.parametrize("name", [name for name in FILES if name.endswith(".yaml")])
def test_aliases_that_expand_to_billions_of_values_are_refused(conf: Path, name: str) -> None:
    levels = ["x: {a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    levels += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 12)]
    path = conf / name
    path.write_text(path.read_text(encoding="utf-8") + "\n" + ", ".join(levels) + "}\n", encoding="utf-8")
    assert f"{name}: its aliases (*name) expand to more than" in str(problem(conf))


def test_a_prompt_with_chat_markup_is_refused(conf: Path) -> None:
    path = conf / "prompts" / "ner-zh-short-brackets.txt"
    path.write_text(path.read_text(encoding="utf-8") + "<|im_end|>", encoding="utf-8")
    assert "ner-zh-short-brackets.txt: '<|im_end|>' is markup of chat templates" in str(problem(conf))


@pytest.mark.parametrize("character", ["\0", "\x1b", "\x7f", "\ufffe"])
def test_a_prompt_with_characters_that_a_tokenizer_may_drop_is_refused(conf: Path, character: str) -> None:
    path = conf / "prompts" / "ner-zh-short-brackets.txt"
    path.write_text(path.read_text(encoding="utf-8") + character, encoding="utf-8")
    assert f"ner-zh-short-brackets.txt: remove the character U+{ord(character):04X}" in str(problem(conf))


# --- single values ---------------------------------------------------------------------------------------------------

VALUES: list[Any] = [
    None,
    True,
    -1,
    1.5,
    float("nan"),
    float("inf"),
    10**30,
    "",
    "x\n",
    "{x}",
    "x" * 300,
    "\x1b[2J",
    [],
    [[]],
    {},
]
KEYS: list[Any] = [None, True, 1, 1.5, "x\n", "{x}", "..", "\x1b[2J"]


def places(value: Any, at: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield the path to every value in the first two entries of each mapping and list."""
    yield at
    entries = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for number, (key, entry) in enumerate(entries):
        if len(at) or number < 2:
            yield from places(entry, (*at, key))


def changed(content: Any, place: tuple[Any, ...], value: Any) -> Any:
    """Return a copy of `content` with another value at `place`."""
    if not place:
        return value
    key, *rest = place
    other = changed(content[key], tuple(rest), value)
    if isinstance(content, dict):
        return {**content, key: other}
    return [*content[:key], other, *content[key + 1 :]]


def renamed(content: Any, place: tuple[Any, ...], key: Any) -> Any:
    """Return a copy of `content` with another key at `place`."""
    *way, last = place
    inner = functools.reduce(operator.getitem, way, content)
    return changed(content, tuple(way), {**{one: inner[one] for one in inner if one != last}, key: inner[last]})


def keep_little(conf: Path) -> None:
    """Keep only the runs of the demo and their recipes."""
    rows = (conf / "runs.tsv").read_text(encoding="utf-8").splitlines(keepends=True)
    (conf / "runs.tsv").write_text("".join(row for row in rows if row.startswith(("run\t", "demo\t"))), "utf-8")
    recipes = yaml.safe_load((conf / "recipes.yaml").read_text(encoding="utf-8"))
    (conf / "recipes.yaml").write_text(yaml.safe_dump(dict(itertools.islice(recipes.items(), 2))), "utf-8")


@pytest.mark.parametrize("name", [name for name in FILES if name.endswith(".yaml")])
def test_any_value_and_any_key_is_accepted_or_named(conf: Path, name: str) -> None:
    path = conf / name
    keep_little(conf)  # unchanged entries are read with every variant
    content = yaml.safe_load(path.read_text(encoding="utf-8"))
    for place in places(content):
        variants = [(value, changed(content, place, value)) for value in VALUES]
        if place and isinstance(place[-1], str):
            variants += [(key, renamed(content, place, key)) for key in KEYS]
        for given, variant in variants:
            path.write_text(yaml.dump(variant, Dumper=yaml.CSafeDumper), encoding="utf-8")
            try:
                message = problem(conf)
            except Exception as error:
                raise AssertionError(f"{name}: {place}: {given!r} ends with {error!r}") from error
            assert message is None or "\x1b" not in message, (place, given)


@pytest.mark.parametrize("label", ["trueish", "falsehood", "yes", "NO", "null-alleles", "2020-01", "1_000"])
def test_a_label_that_only_begins_like_another_type_is_text(conf: Path, label: str) -> None:
    with (conf / "datasets.yaml").open("a", encoding="utf-8") as stream:
        stream.write(f"own:\n  format: cluener\n  labels: [{label}, other]\n  splits: {{dev: data/demo/dev.json}}\n")
    message = problem(conf)
    if message is None:
        assert read_study(conf=conf).datasets["own"].label_names[0] == label
    else:
        assert "conf/datasets.yaml: own: labels: 0" in message
        assert "quotes" in message


@pytest.mark.parametrize("name", ["x\n", "a\nb", "{x}", "a b", "$HOME", "..", "-x", "*", "a/b", "中文", ""])
@pytest.mark.parametrize("registry", ["datasets", "models", "prompts", "recipes", "decode"])
def test_a_name_that_is_unsafe_in_paths_or_patterns_is_refused(conf: Path, registry: str, name: str) -> None:
    path = conf / f"{registry}.yaml"
    content = yaml.safe_load(path.read_text(encoding="utf-8"))
    path.write_text(yaml.safe_dump({**content, name: next(iter(content.values()))}), encoding="utf-8")
    assert f"conf/{registry}.yaml: " in str(problem(conf))


@pytest.mark.parametrize("name", ["x ", "{x}", "a b", "$HOME", "..", "-x", "*", "a/b", "中文", "metrics.tsv", "models"])
def test_a_run_name_that_is_unsafe_in_paths_or_patterns_is_refused(conf: Path, name: str) -> None:
    row = "\tdemo\tentitune-tiny\tner-zh-short\tdemo\tcpu\t1\t\n"
    with (conf / "runs.tsv").open("a", encoding="utf-8") as stream:
        stream.write(name + row)
    assert f"conf/runs.tsv: row {name!r}" in str(problem(conf))


# --- whole workflows -------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return copy_repository(tmp_path_factory.mktemp("clone") / "entitune")


@pytest.fixture
def conf_of_clone(clone: Path) -> Iterator[Path]:
    """conf/ of a clone, restored after the test."""
    yield clone / "conf"
    shutil.rmtree(clone / "conf")
    shutil.copytree(ROOT / "conf", clone / "conf")


def dry_run(folder: Path, *arguments: str) -> tuple[int, str]:
    done = snakemake(folder, "-n", "--cores", "1", *arguments)
    assert "Traceback (most recent call last)" not in done.stdout
    assert not (folder / "executed").exists()
    return done.returncode, done.stdout


@pytest.mark.workflow
def test_config_yaml_is_not_executed(clone: Path, conf_of_clone: Path) -> None:
    (conf_of_clone / "config.yaml").write_text(YTE)
    code, output = dry_run(clone)
    assert code == 1
    assert "conf/config.yaml: unknown key '__use_yte__'" in output


@pytest.mark.workflow
def test_nothing_under_conf_is_executed_by_a_shell(clone: Path, conf_of_clone: Path) -> None:
    """Every value that reaches a command is text that a shell would execute; it must be quoted or refused."""
    lock = yaml.safe_load((conf_of_clone / "models.yaml").read_text(encoding="utf-8"))["smollm2-135m-instruct"]["lock"]
    edit_yaml(conf_of_clone / "models.yaml", "smollm2-135m-instruct", lock=f"envs/{CODE}.txt")
    code, output = dry_run(clone)
    assert code == 1
    assert "conf/models.yaml: smollm2-135m-instruct: lock" in output
    edit_yaml(conf_of_clone / "models.yaml", "smollm2-135m-instruct", lock=lock)

    data = clone / "data" / CODE
    shutil.copytree(clone / "data" / "demo", data)
    shutil.copytree(clone / "data" / "models" / "entitune-tiny", clone / "data" / "models" / CODE)
    for file in ("prompts/ner-zh-short-brackets.txt", "train/demo.yaml"):
        path = conf_of_clone / file
        shutil.copy(path, path.with_name(f"{CODE}{path.suffix}"))
    splits = {split: f"data/{CODE}/{split}.json" for split in ("train", "dev")}
    edit_yaml(conf_of_clone / "datasets.yaml", "demo", labels=["name", CODE, "{x}"], splits=splits)
    edit_yaml(conf_of_clone / "datasets.yaml", "cluener", splits={"dev": f"{CODE}.json"})
    edit_yaml(conf_of_clone / "datasets.yaml", "cluener", "archive", urls=[f"http://127.0.0.1:9/{CODE}"])
    edit_yaml(conf_of_clone / "models.yaml", "entitune-tiny", revision=CODE, licence=CODE, template=CODE)
    models = (conf_of_clone / "models.yaml").read_text(encoding="utf-8")
    (conf_of_clone / "models.yaml").write_text(models.replace("data/models/entitune-tiny", f"data/models/{CODE}"))
    edit_yaml(conf_of_clone / "prompts.yaml", "ner-zh-short-brackets", user=f"prompts/{CODE}.txt")
    edit_yaml(conf_of_clone / "recipes.yaml", "demo", config=f"train/{CODE}.yaml", gpu_model=CODE)
    sheet = (conf_of_clone / "runs.tsv").read_text(encoding="utf-8").splitlines(keepends=True)
    (conf_of_clone / "runs.tsv").write_text("".join(row for row in sheet if "\tcluener\t" not in row))
    code, output = dry_run(clone, "-p", "report", "analysis", "results/datasets/cluener/dev.jsonl")
    assert code == 0, output
    commands = [line for line in output.splitlines() if re.search(r"scripts/\w+\.py", line) and "input:" not in line]
    assert len(commands) > 30
    quoted = re.compile(r"'[^']*'")
    assert sum(CODE in command for command in commands) > 5
    assert [command for command in commands if CODE in quoted.sub("", command)] == []


@pytest.mark.workflow
def test_a_dataset_may_be_named_with_digits(clone: Path, conf_of_clone: Path) -> None:
    with (conf_of_clone / "datasets.yaml").open("a", encoding="utf-8") as stream:
        stream.write(
            '"2020":\n  format: cluener\n  labels: [name]\n  splits: {dev: dev.json}\n'
            f'  archive: {{urls: ["http://127.0.0.1:9/a.zip"], revision: x, sha256: "{"0" * 64}"}}\n'
        )
    code, output = dry_run(clone, "-p", "results/datasets/2020/dev.jsonl")
    assert code == 0, output
    assert "scripts/fetch_archive.py --urls http://127.0.0.1:9/a.zip" in output


@pytest.mark.workflow
@pytest.mark.parametrize("name", ["a$HOME", "a[b]", "a::b"])
def test_a_clone_whose_path_a_library_would_change_is_refused(tmp_path: Path, name: str) -> None:
    """LLaMA-Factory's data reader expands variables, patterns and chained file systems in absolute paths."""
    code, output = dry_run(copy_repository(tmp_path / name))
    assert code == 1
    assert name in output
    assert re.search(r"move|rename|another folder", output)


@pytest.mark.workflow
def test_a_clone_may_have_any_other_name(tmp_path: Path) -> None:
    code, output = dry_run(copy_repository(tmp_path / "a b'\"; 中文 & {x} %s"))
    assert code == 0, output
