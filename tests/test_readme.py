"""Every command of the README is run: to its end where minutes allow, else as far as a dry run goes."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest
import yaml
from helpers import ROOT, Result, read_jsonl, run_in, write_jsonl

from entitune.study import load_study

README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(sh|yaml)\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
COMMANDS = [line for kind, block in BLOCKS if kind == "sh" for line in block.splitlines()]
ENTRIES = [block for kind, block in BLOCKS if kind == "yaml"]
INLINE = [line for line in re.findall(r"`(snakemake [^`]+)`", README) if "--lint" not in line]  # test_style.py has it
SERVING = [  # test_server.py has them
    line for line in [*COMMANDS, *INLINE] if re.search("serve_runs|extract_entities|serving_check", line)
]


@pytest.fixture(scope="module")
def readme(reported: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the finished demo, its report made, with a corpus as doccano exports it."""
    folder = tmp_path_factory.mktemp("readme") / "copy"
    shutil.copytree(reported, folder, symlinks=True)
    for split in ("train", "dev"):
        rows = [
            {"text": one["text"], "label": [[each["start"], each["end"], each["label"]] for each in one["entities"]]}
            for one in read_jsonl(folder / f"results/datasets/demo/{split}.jsonl")
        ]
        write_jsonl(folder / f"my-{split}.jsonl", rows)
    (folder / "cluener_public.zip").touch()  # a dry run only looks whether it is there
    return folder


def run(command: str, folder: Path) -> Result:
    return run_in(folder, "bash", "-c", command)


@pytest.mark.engine
@pytest.mark.parametrize("command", [one for one in [*COMMANDS, *dict.fromkeys(INLINE)] if one not in SERVING])
def test_a_command_does_what_it_says(readme: Path, command: str) -> None:
    if command.startswith("docker") and run("docker info", readme).returncode:
        pytest.skip("no Docker engine here")
    if "--gpus" in command and shutil.which("nvidia-smi") is None:
        pytest.skip("no GPU here")
    if command.endswith("pytest"):
        command += " --collect-only -q"  # this very run; .ci/run gives the whole command
    elif "runs=" in command and "estimate_resources" not in command:
        command += " --dry-run"  # a GPU, a cluster, or half an hour
    done = run(command, readme)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize(("registry", "entry"), list(zip(("datasets", "models"), ENTRIES, strict=True)))
def test_an_entry_is_valid(tmp_path: Path, registry: str, entry: str) -> None:
    shutil.copytree(ROOT / "conf", tmp_path / "conf")
    with (tmp_path / "conf" / f"{registry}.yaml").open("a", encoding="utf-8") as stream:
        stream.write(f"\n{entry}")
    (name,) = yaml.safe_load(entry)
    assert name in getattr(load_study({"runs": ["demo"]}, tmp_path / "conf"), registry)
