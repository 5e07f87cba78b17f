"""Fast processes for Python scripts: forks of a process that has already imported their modules.

A script of the workflow spends most of its time on imports. Here one process imports the modules once and forks itself
for each call. So a script still runs in a process of its own, with its own arguments, folder, environment variables,
input, output and exit code.
"""

from __future__ import annotations

import atexit
import functools
import importlib
import json
import os
import runpy
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

Result = subprocess.CompletedProcess[str]


class ForkServer:
    """The process that forks. It ends with the process that started it.

    Args:
        modules: the modules to import before the first call.
        path: folders to put first on `sys.path`.
    """

    def __init__(self, modules: Sequence[str], path: Path | None = None) -> None:
        command = [sys.executable, __file__, str(path or ""), *modules]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self._lock = threading.Lock()
        atexit.register(self._close)

    def _close(self) -> None:
        """Close the standard input of the process, which ends it."""
        assert self._process.stdin
        self._process.stdin.close()
        self._process.wait()

    def run(self, words: Sequence[str], cwd: Path | None, env: Mapping[str, str], merge: bool = False) -> Result:
        """Run a script like `subprocess.run`, with empty standard input, and wait until it ends.

        Args:
            words: the script's path and its arguments.
            cwd: the folder to run it in; by default the one that the tests run in.
            env: all its environment variables.
            merge: whether its stderr is part of its stdout.
        """
        with tempfile.TemporaryDirectory() as scratch:
            out, errors = Path(scratch, "out"), Path(scratch, "out" if merge else "errors")
            call = {"words": words, "cwd": str(cwd or Path.cwd()), "env": dict(env)}
            call["files"] = [os.devnull, str(out), str(errors)]
            assert self._process.stdin
            assert self._process.stdout
            with self._lock:
                print(json.dumps(call), file=self._process.stdin, flush=True)
                code = int(self._process.stdout.readline())
            return Result([*words], code, out.read_text(), "" if merge else errors.read_text())


def become(call: dict[str, Any]) -> None:
    """Run the script of a call in this process."""
    for number, path in enumerate(call["files"]):
        os.dup2(os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT), number)
    os.chdir(call["cwd"])
    os.environ.clear()
    os.environ.update(call["env"])
    sys.argv = call["words"]
    sys.path[0] = str(Path(sys.argv[0]).parent)
    try:
        runpy.run_path(sys.argv[0], run_name="__main__")
    except BaseException as end:
        code = end.code if isinstance(end, SystemExit) else 1
        ENDED.append(code if isinstance(code, int) else int(code is not None))
        raise


ENDED = [0]
"""The exit code of this process."""


def leave() -> None:
    """End this process at once. A normal exit takes a third of a second to unload all imported modules."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(ENDED[-1])


def serve(modules: Sequence[str]) -> None:
    """Import the modules; then run each call (a line of standard input) in a fork, and print its exit code."""
    for name in modules:
        importlib.import_module(name)
    calls, codes = os.fdopen(os.dup(0)), os.fdopen(os.dup(1), "w")
    for line in calls:
        child = os.fork()
        if not child:
            calls.close()
            codes.close()
            return become(json.loads(line))
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), file=codes, flush=True)


@functools.cache
def scripts_server() -> ForkServer:
    """Return a server that has imported the scripts' shared modules and slow libraries."""
    modules = ["entitune.study", "entitune.charts", "entitune.serving.client", "numpy", "pandas", "requests"]
    return ForkServer(modules, Path(__file__).resolve().parent.parent / "scripts")


@functools.cache
def snakemake_server() -> ForkServer:
    """Return a server that has imported Snakemake, but not `entitune`: each copy of the repository has its own."""
    return ForkServer(["snakemake.cli", "pydantic", "yaml"])


if __name__ == "__main__":
    atexit.register(leave)  # the first one is called last
    sys.path[0] = sys.argv[1]
    serve(sys.argv[2:])
