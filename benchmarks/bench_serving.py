"""Measure how fast a finished run answers: one sentence after the other, with concurrent requests, and as a batch.

    python benchmarks/bench_serving.py --run demo

Prints the table of docs/serving.md. Each round measures all methods, one after the other, with the same sentences. The
table has the median and the range over the rounds, and the CPU time per sentence of each process. Nothing else should
run meanwhile. The server is started once and is idle during batch prediction.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path

import psutil

sys.path.insert(0, "scripts")

from engine_runs import answers_and_seconds

from entitune import paths
from entitune.engines.groups import Job
from entitune.files import read_jsonl, to_json
from entitune.serving.client import Client, ask_all
from entitune.serving.finished_runs import FinishedRun, finished_run
from entitune.study import read_study

SENTENCES = Path("results/datasets/demo/train.jsonl")
TOKENS = Path("results/datasets/demo/ner-zh-short-brackets/entitune-tiny/train.tokens.jsonl")
ONE_BY_ONE = 60
"""The number of sentences for `one after the other`, which is slow and whose speed does not depend on their number."""


@dataclass
class Method:
    """A method to get answers, and its speed in each round."""

    name: str
    sentences_per_second: list[float] = field(default_factory=list)
    milliseconds: dict[str, list[float]] = field(default_factory=dict)
    """Process -> its CPU time per sentence in each round."""

    def row(self, batch: float) -> str:
        """Return the method's row of the table. `batch` is the speed of batch prediction in sentences/s."""
        speeds = self.sentences_per_second
        median = statistics.median(speeds)
        cpu = ", ".join(f"{name} {statistics.median(times):.1f}" for name, times in self.milliseconds.items())
        return f"| {self.name} | {median:.0f} ({min(speeds):.0f} to {max(speeds):.0f}) | {median / batch:.2f} | {cpu} |"


def cpu_seconds(processes: dict[str, psutil.Process]) -> dict[str, float]:
    """Return the CPU time of each process so far, user and system, in seconds."""
    return {name: sum(process.cpu_times()[:2]) for name, process in processes.items()}


def measure(method: Method, answer: Callable[[], int], processes: dict[str, psutil.Process]) -> None:
    """Call `answer`, which returns the number of sentences, and record speed and CPU time."""
    before, started = cpu_seconds(processes), time.perf_counter()
    count = answer()
    seconds, after = time.perf_counter() - started, cpu_seconds(processes)
    method.sentences_per_second.append(count / seconds)
    for name in processes:
        method.milliseconds.setdefault(name, []).append(1000 * (after[name] - before[name]) / count)


@contextmanager
def serving(run: str, port: int) -> Iterator[dict[str, psutil.Process]]:
    """Serve a run during the block. Yields the processes of the server and this process."""
    command = [sys.executable, "scripts/serve_runs.py", "--runs", run, "--port", str(port)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        if not any(line.startswith("Ctrl-C") for line in server.stdout):
            sys.exit("error: the server did not start")
        family = psutil.Process(server.pid).children(recursive=True)
        api = next(one for one in family if "entitune.serving.vllm_process" in one.cmdline()[:4])
        engine = next(one for one in family if one.name().startswith("VLLM::Engine"))
        yield {"engine": engine, "API server": api, "client": psutil.Process()}
        server.terminate()


def batch(run: FinishedRun, tokens: Path, folder: Path, at_once: int) -> float:
    """Run predict_shard.py and return its sentences/s as reported in its log, without loading."""
    log = folder / "batch.log"
    unmerged = None if run.merged or not run.adapter else str(run.adapter)
    job = Job(run.name, 0, str(tokens), str(run.merged or run.base), unmerged, None)
    command = [paths.python(run.decode.environment), "scripts/predict_shard.py", "--jobs", to_json([asdict(job)])]
    command += ["--decode", to_json({**run.decode.engine_settings(), "max_num_seqs": at_once}), "--log", str(log)]
    command += ["--output", str(folder / "answers.jsonl")]
    subprocess.run(command, check=True, stderr=subprocess.DEVNULL)
    count, seconds = answers_and_seconds(log.read_text("utf-8"))[-1]
    return count / seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", default="demo", help="name of a finished run (default: demo)")
    parser.add_argument("--sentences", type=Path, default=SENTENCES, help="canonical JSONL (default: %(default)s)")
    parser.add_argument("--tokens", type=Path, default=TOKENS, help="JSONL of encode_split (default: %(default)s)")
    parser.add_argument("--count", type=int, default=480, help="number of sentences (default: 480)")
    parser.add_argument("--rounds", type=int, default=3, help="number of measurements per method (default: 3)")
    parser.add_argument(
        "--concurrency", type=int, nargs="+", default=[32, 64, 128], help="simultaneous requests (default: 32 64 128)"
    )
    parser.add_argument("--port", type=int, default=18000, help="port of the server (default: 18000)")
    args = parser.parse_args()

    run = finished_run(read_study(), args.run)
    texts = [record["text"] for record in read_jsonl(args.sentences)][: args.count]
    url = f"http://127.0.0.1:{args.port}"
    loop = Method("one after the other")
    at_once = sorted({args.concurrency[0], run.decode.max_num_seqs})
    batches = {count: Method(f"batch prediction, {count} at once") for count in at_once}
    methods = {concurrency: Method(f"client, {concurrency} at once") for concurrency in args.concurrency}

    def ask(sentences: Sequence[str], concurrency: int) -> int:
        with Client(url, run, concurrency=concurrency) as client:
            return sum(1 for _ in ask_all(client, sentences, concurrency))

    with tempfile.TemporaryDirectory() as name, serving(args.run, args.port) as processes:
        folder = Path(name)
        tokens = folder / "tokens.jsonl"
        tokens.write_text("".join(to_json(one) + "\n" for one in list(read_jsonl(args.tokens))[: args.count]), "utf-8")
        ask(texts, 32)  # warm-up: the first answers take longer
        for number in range(args.rounds):
            print(f"round {number + 1} of {args.rounds}", file=sys.stderr, flush=True)
            measure(loop, lambda: ask(texts[:ONE_BY_ONE], 1), processes)
            for concurrency, method in methods.items():
                measure(method, lambda concurrency=concurrency: ask(texts, concurrency), processes)  # type: ignore[misc]
            for count, method in batches.items():
                method.sentences_per_second.append(batch(run, tokens, folder, count))
    speed = statistics.median(batches[run.decode.max_num_seqs].sentences_per_second)
    print(f"{len(texts)} sentences, {args.rounds} rounds, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}\n")
    print("| method | sentences/s: median (range) | relative to batch prediction | CPU, ms per sentence |")
    print("|---|---|---|---|")
    print("\n".join(method.row(speed) for method in (loop, *methods.values(), *batches.values())))


if __name__ == "__main__":
    main()
