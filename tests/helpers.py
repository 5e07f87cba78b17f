"""Functions that tests share: paths, running scripts and Snakemake, writing and reading files."""

from __future__ import annotations

import contextlib
import csv
import json
import os
import shutil
import socket
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import forks
import psutil
import yaml

ROOT = Path(__file__).resolve().parent.parent
BIN = Path(sys.executable).parent
ENVIRONMENT = {**os.environ, "PATH": f"{BIN}:{os.environ['PATH']}"}
"""Environment variables with the workflow's own programs first on PATH."""
CLUENER = ROOT.parent / "shared" / "data" / "cluener_public.zip"
SHEET = "run\tdataset\tmodel\tprompt\ttrain\tdecode\tseeds\tsweep\n"
"""The header of conf/runs.tsv."""

Result = forks.Result


# --- to run ----------------------------------------------------------------------------------------------------------


def run_script(
    name: str,
    *arguments: object,
    python: Path | str = sys.executable,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    stdin: str | None = None,
) -> Result:
    """Run scripts/{name}.py as a user does, and return its exit code and output.

    Args:
        name: the script.
        *arguments: its arguments.
        python: the interpreter; by default the workflow's.
        cwd: the folder to run it in; by default the one that the tests run in.
        env: environment variables to set in addition.
        stdin: the text on its standard input, which is a pipe.
    """
    words = [str(ROOT / "scripts" / f"{name}.py"), *map(str, arguments)]
    variables = {**os.environ, **(env or {})}
    if str(python) == sys.executable and stdin is None:
        return forks.scripts_server().run(words, cwd, variables)
    return subprocess.run(
        [str(python), *words], cwd=cwd, env=variables, input=stdin, capture_output=True, text=True, check=False
    )


def must_run(name: str, *arguments: object) -> None:
    """Run scripts/{name}.py and assert that it succeeds."""
    done = run_script(name, *arguments)
    assert done.returncode == 0, done.stderr


def python_of(environment: str) -> Path:
    """Return the interpreter of an engine's environment. It exists in tests that are marked `engine`."""
    return ROOT / ".envs" / environment / "bin" / "python"


def run_code(environment: str, code: str, *arguments: object, cwd: Path | None = None, stdin: str | None = None) -> str:
    """Run Python code in an engine's environment, without network, and return its output.

    The code can import the scripts and their package.
    """
    done = subprocess.run(
        [str(python_of(environment)), "-c", code, *map(str, arguments)],
        cwd=cwd,
        env={**os.environ, "HF_HUB_OFFLINE": "1", "PYTHONPATH": str(ROOT / "scripts")},
        input=stdin,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def train_command(name: str, *options: str) -> list[str]:
    """Return the command that trains with {name}.yaml in a copy of the repository and writes adapters/{name}."""
    command = [sys.executable, "scripts/train_adapter.py", "--config", f"{name}.yaml", "--log", f"logs/{name}.log"]
    command += ["--llamafactory", ".envs/train/bin/llamafactory-cli", "--output-dir", f"adapters/{name}"]
    return [*command, *options]


def wait_for(condition: Callable[[], object], seconds: float, what: str) -> None:
    """Call `condition` until it is true; fail after `seconds`."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"no {what} within {seconds:.0f} s"
        time.sleep(0.1)


def have_ended(processes: Iterable[psutil.Process]) -> bool:
    """Whether processes have ended. A process whose exit code nobody has read counts as ended."""
    for one in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            if one.is_running() and one.status() != psutil.STATUS_ZOMBIE:
                return False
    return True


def processes_in(folder: Path) -> list[str]:
    """Return the commands of processes whose working folder is `folder`."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):  # the process has ended, or belongs to another user
            if process.cwd() == str(folder) and process.status() != psutil.STATUS_ZOMBIE:
                found.append(" ".join(process.cmdline()))
    return found


def unused_address() -> str:
    """Return the HTTP address of a port of this machine on which no server listens."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return f"http://127.0.0.1:{probe.getsockname()[1]}"


def run_in(folder: Path, *command: str) -> Result:
    """Run a command in `folder`, with the workflow's programs first on PATH. Its stderr goes to its stdout."""
    return subprocess.run(
        command,
        cwd=folder,
        env=ENVIRONMENT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )


def snakemake(folder: Path, *arguments: str, path: str = ENVIRONMENT["PATH"]) -> Result:
    """Run Snakemake in `folder` and print the details of each job, which the default profile hides.

    `path` is its PATH, by default with the workflow's own programs first.
    """
    quiet = [] if {"-q", "--quiet"} & set(arguments) else ["--quiet", "host"]
    words = [str(BIN / "snakemake"), *arguments, *quiet]
    return forks.snakemake_server().run(words, folder, {**os.environ, "PATH": path}, merge=True)


def copy_repository(target: Path) -> Path:
    """Copy the files that git tracks or would add to `target`, and commit them there.

    The copy shares the environments, and has no results.
    """
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    for name in filter(None, listed.split("\0")):
        if (ROOT / name).is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, target / name)
    (ROOT / ".envs").mkdir(exist_ok=True)
    (target / ".envs").symlink_to(ROOT / ".envs")
    person = ["-c", "user.name=t", "-c", "user.email=t@t"]
    for git in (["init", "-q"], ["-c", "core.compression=0", "add", "-A"], [*person, "commit", "-qm", "copy"]):
        subprocess.run(["git", *git], cwd=target, check=True)
    return target


# --- files -----------------------------------------------------------------------------------------------------------


def write_jsonl(path: Path, values: Iterable[Any]) -> Path:
    """Write each value as a line of JSON, a record with its `to_dict`, and return `path`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = (json.dumps(one, ensure_ascii=False, default=lambda record: record.to_dict()) for one in values)
    path.write_text("".join(line + "\n" for line in lines), encoding="utf-8")
    return path


def read_jsonl(path: Path) -> list[dict[str, Any]]:
    """Return the object of each line."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n") if line]


def zipped_rows(archive: Path, name: str) -> list[dict[str, Any]]:
    """Return the object of each line of a file in a zip archive."""
    with zipfile.ZipFile(archive) as files:
        return [json.loads(line) for line in files.read(name).decode("utf-8").split("\n") if line]


def read_tsv(path: Path) -> list[dict[str, str]]:
    """Return the rows of a table with a header."""
    with path.open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream, delimiter="\t"))


def edit_yaml(path: Path, *keys: str, **changes: object) -> None:
    """Change values of a YAML file, in the mapping that `keys` lead to or at the top level."""
    content = yaml.safe_load(path.read_text(encoding="utf-8"))
    entry = content
    for key in keys:
        entry = entry[key]
    entry.update(changes)
    path.write_text(yaml.safe_dump(content), encoding="utf-8")


def replace_in(folder: Path, name: str, old: str, new: str) -> None:
    """Replace the first occurrence of a text in a file of `folder`. Fail if there is none."""
    path = folder / name
    text = path.read_text(encoding="utf-8")
    assert old in text, f"{old!r} is not in {name}"
    path.write_text(text.replace(old, new, 1), encoding="utf-8")


def demo_rows(split: str) -> list[dict[str, Any]]:
    """Return the rows of a split of the demo corpus, in CLUENER's format."""
    return read_jsonl(ROOT / "data" / "demo" / f"{split}.json")


def losses(adapter: Path) -> list[tuple[int, float]]:
    """Return step and training loss of every record in the training log of an adapter."""
    log = read_jsonl(adapter / "trainer_log.jsonl")
    return [(record["current_steps"], record["loss"]) for record in log if "loss" in record]
