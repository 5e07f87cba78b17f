"""Every command of README and docs is run, to its end if it is fast, otherwise as a dry run.

The commands of a page are the lines of its `sh` blocks and the commands in its sentences. `ELSEWHERE` and `NOT_RUN`
list the exceptions.
"""

from __future__ import annotations

import ast
import importlib
import json
import shlex
import shutil
from pathlib import Path

import pytest
import yaml
from helpers import ROOT, Result, read_jsonl, run_in, snakemake, write_jsonl
from pages import DOCUMENTS, FENCED, commands, read

from entitune.study import load_study

COMMANDS = list(dict.fromkeys(command for name in DOCUMENTS for command in commands(read(name))))
BLOCKS = [(language, block) for name in DOCUMENTS for language, block in FENCED.findall(read(name))]
REGISTRIES = {"predictions": "imports", "source": "models", "format": "datasets"}
"""The file under conf/ to which an entry with a key belongs."""

ELSEWHERE = {
    "serve_runs.py": "test_server.py",
    "extract_entities.py": "test_server.py",
    "serving_check.json": "test_server.py",
    "inspect_corpus.py train.jsonl": "test_inspect_corpus.py",
    "inspect_corpus.py train=a.txt": "test_inspect_corpus.py",
    "inspect_corpus.py FILE": "test_inspect_corpus.py",
    "bert.py": "test_baselines.py",
    "gpu_check.py": "test_gpu_check.py",
    "snakemake --lint": "test_style.py",
    "make check": "test_style.py",
    "document_config.py": "test_documentation.py",
    "document_scripts.py": "test_documentation.py",
    "srun": "test_slurm.py",
    "ask_vllm.py": "test_export_run.py",
    "ask_transformers.py": "test_export_run.py",
}
"""Part of a command -> the test file that runs the command."""
NOT_RUN = {
    "pytest -n 2 -m": "the suite that this test belongs to",
    "pytest --hypothesis-profile": "the suite that this test belongs to",
    "lock.sh": "looks for new versions of every package",
    "python benchmarks/": "measures for minutes, on an idle machine",
    "apptainer": "needs Apptainer",
    "modelscope": "needs an account on ModelScope",
}
"""Part of a command -> why no test runs the command."""
RUN = [command for command in COMMANDS if not any(part in command for part in (*ELSEWHERE, *NOT_RUN))]


@pytest.fixture(scope="module")
def readme(reported: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the finished demo with its report and the files that the pages' commands read.

    These are a corpus exported from doccano, a run on it, another system's predictions, and CLUENER's archive.
    """
    folder = tmp_path_factory.mktemp("readme") / "copy"
    shutil.copytree(reported, folder, symlinks=True)
    for split in ("train", "dev"):
        rows = [
            {"text": one["text"], "label": [[each["start"], each["end"], each["label"]] for each in one["entities"]]}
            for one in read_jsonl(folder / f"results/datasets/demo/{split}.jsonl")
        ]
        write_jsonl(folder / f"my-{split}.jsonl", rows)
    (folder / "results/mine-tiny").symlink_to("demo")
    write_jsonl(folder / "theirs.jsonl", read_jsonl(folder / "results/datasets/demo/dev.jsonl"))
    (folder / "cluener_public.zip").touch()  # a dry run only checks that it exists
    return folder


def run(command: str, folder: Path) -> Result:
    if command.startswith("snakemake "):
        return snakemake(folder, *shlex.split(command, comments=True)[1:])
    return run_in(folder, "bash", "-c", command)


def test_a_command_that_is_not_run_here_has_a_valid_reason() -> None:
    unknown = [part for part in (*ELSEWHERE, *NOT_RUN) if not any(part in command for command in COMMANDS)]
    assert unknown == [], "no page has such a command any more"
    for part, name in ELSEWHERE.items():
        program = part.split()[0 if ".py" in part else -1].removesuffix(".py")
        assert program.strip("-") in (ROOT / "tests" / name).read_text(encoding="utf-8"), f"{name} does not run {part}"


@pytest.mark.engine
@pytest.mark.parametrize("command", RUN)
def test_a_documented_command_succeeds(readme: Path, command: str) -> None:
    if command.startswith("docker") and run("docker info", readme).returncode:
        pytest.skip("no Docker engine here")
    if "--gpus" in command and shutil.which("nvidia-smi") is None:
        pytest.skip("no GPU here")
    if "-m pytest" in command:
        command += " --collect-only -q"  # would start this suite again; .ci/run has the full command
    elif "runs=" in command and "estimate_resources" not in command:
        command += " --dry-run"  # needs a GPU, a cluster, or half an hour
    done = run(command, readme)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("entry", [block for language, block in BLOCKS if language == "yaml"])
def test_an_entry_is_valid(tmp_path: Path, entry: str) -> None:
    ((name, keys),) = yaml.safe_load(entry).items()
    registry = next(registry for key, registry in REGISTRIES.items() if key in keys)
    shutil.copytree(ROOT / "conf", tmp_path / "conf")
    with (tmp_path / "conf" / f"{registry}.yaml").open("a", encoding="utf-8") as stream:
        stream.write(f"\n{entry}")
    study = load_study({"runs": ["demo"]}, tmp_path / "conf")  # raises if the entry is not valid
    assert registry == "imports" or name in getattr(study, registry)


@pytest.mark.parametrize("code", [block for language, block in BLOCKS if language == "python"])
def test_imports_of_documented_code_exist(code: str) -> None:
    imports = [node for node in ast.walk(ast.parse(code)) if isinstance(node, ast.ImportFrom)]
    own = {node.module: node.names for node in imports if node.module and node.module.startswith("entitune")}
    assert own
    for module, names in own.items():
        for each in names:
            assert hasattr(importlib.import_module(module), each.name), f"{module} has no {each.name}"


def test_examples_of_json_are_json() -> None:
    examples = [block for language, block in BLOCKS if language == "json"]
    assert examples
    for example in examples:
        json.loads(example)
