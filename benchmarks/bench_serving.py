"""Measure how fast a finished run answers: one sentence after the other, through the client, and as a batch.

    python benchmarks/bench_serving.py --run demo

Prints the table of docs/serving.md. All ways answer the same sentences, in turn, round after round, on the same
machine; the table has the median and the range over the rounds, and the CPU time a sentence of each process. Nothing
else should run meanwhile. The server is started once, and is idle while the batch runs.
"""

from __future__ import annotations

import argparse
import os
import re
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

from entitune import paths
from entitune.engines.groups import Job
from entitune.files import read_jsonl, to_json
from entitune.serving.client import Client, ask_all
from entitune.serving.finished_runs import FinishedRun, finished_run
from entitune.study import read_study

SENTENCES = Path("results/datasets/demo/train.jsonl")
TOKENS = Path("results/datasets/demo/ner-zh-short/entitune-tiny/train.tokens.jsonl")
ONE_BY_ONE = 60
"""How many sentences are asked one after the other: it is slow, and its speed does not depend on their number."""


@dataclass
class Way:
    """One way to get answers: its speed in each round."""

    name: str
    sentences_per_second: list[float] = field(default_factory=list)
    milliseconds: dict[str, list[float]] = field(default_factory=dict)
    """CPU time a sentence of each process."""

    def row(self, batch: float) -> str:
        """Return the way's row of the table, with its speed relative to that of the batch path (sentences a second)."""
        speeds = self.sentences_per_second
        median = statistics.median(speeds)
        cpu = ", ".join(f"{name} {statistics.median(times):.1f}" for name, times in self.milliseconds.items())
        return f"| {self.name} | {median:.0f} ({min(speeds):.0f} to {max(speeds):.0f}) | {median / batch:.2f} | {cpu} |"


def cpu_seconds(processes: dict[str, psutil.Process]) -> dict[str, float]:
    return {name: sum(process.cpu_times()[:2]) for name, process in processes.items()}


def measure(way: Way, answer: Callable[[], int], processes: dict[str, psutil.Process]) -> None:
    """Let `answer` answer, and note speed and CPU time; it returns the number of sentences."""
    before, started = cpu_seconds(processes), time.perf_counter()
    count = answer()
    seconds, after = time.perf_counter() - started, cpu_seconds(processes)
    way.sentences_per_second.append(count / seconds)
    for name in processes:
        way.milliseconds.setdefault(name, []).append(1000 * (after[name] - before[name]) / count)


@contextmanager
def serving(run: str, port: int) -> Iterator[dict[str, psutil.Process]]:
    """Serve a run; yields its processes and this one."""
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
    """Predict with the batch path's script; returns sentences a second as it reports them, loading left out."""
    log = folder / "batch.log"
    unmerged = None if run.merged or not run.adapter else str(run.adapter)
    job = Job(run.name, 0, str(tokens), str(run.merged or run.base), unmerged, None)
    command = [paths.python(run.decode.environment), "scripts/predict_shard.py", "--jobs", to_json([asdict(job)])]
    command += ["--decode", to_json({**run.decode.engine_settings(), "max_num_seqs": at_once}), "--log", str(log)]
    command += ["--output", str(folder / "answers.jsonl")]
    subprocess.run(command, check=True, stderr=subprocess.DEVNULL)
    count, seconds = re.findall(r"(\d+) answers, \d+ tokens in ([\d.]+) s", log.read_text("utf-8"))[-1]
    return int(count) / float(seconds)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", default="demo", help="a finished run (default: demo)")
    parser.add_argument("--sentences", type=Path, default=SENTENCES, help="canonical JSONL (default: %(default)s)")
    parser.add_argument(
        "--tokens", type=Path, default=TOKENS, help="the same, from encode_split (default: %(default)s)"
    )
    parser.add_argument("--count", type=int, default=480, help="how many of them (default: 480)")
    parser.add_argument("--rounds", type=int, default=3, help="how often each way is measured (default: 3)")
    parser.add_argument("--concurrency", type=int, nargs="+", default=[32, 64, 128], help="of the client")
    parser.add_argument("--port", type=int, default=18000, help="of the server (default: 18000)")
    args = parser.parse_args()

    run = finished_run(read_study(), args.run)
    texts = [record["text"] for record in read_jsonl(args.sentences)][: args.count]
    url = f"http://127.0.0.1:{args.port}"
    loop = Way("one after the other")
    at_once = sorted({args.concurrency[0], run.decode.max_num_seqs})
    batches = {count: Way(f"batch prediction, {count} at once") for count in at_once}
    ways = {concurrency: Way(f"client, {concurrency} at once") for concurrency in args.concurrency}

    def ask(sentences: Sequence[str], concurrency: int) -> int:
        with Client(url, run, concurrency=concurrency) as client:
            return sum(1 for _ in ask_all(client, sentences, concurrency))

    with tempfile.TemporaryDirectory() as name, serving(args.run, args.port) as processes:
        folder = Path(name)
        tokens = folder / "tokens.jsonl"
        tokens.write_text("".join(to_json(one) + "\n" for one in list(read_jsonl(args.tokens))[: args.count]), "utf-8")
        ask(texts, 32)  # the first answers take longer
        for number in range(args.rounds):
            print(f"round {number + 1} of {args.rounds}", file=sys.stderr, flush=True)
            measure(loop, lambda: ask(texts[:ONE_BY_ONE], 1), processes)
            for concurrency, way in ways.items():
                measure(way, lambda concurrency=concurrency: ask(texts, concurrency), processes)  # type: ignore[misc]
            for count, way in batches.items():
                way.sentences_per_second.append(batch(run, tokens, folder, count))
    speed = statistics.median(batches[run.decode.max_num_seqs].sentences_per_second)
    print(f"{len(texts)} sentences, {args.rounds} rounds, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}\n")
    print("| method | sentences/s: median (range) | relative to batch prediction | CPU, ms per sentence |")
    print("|---|---|---|---|")
    print("\n".join(way.row(speed) for way in (loop, *ways.values(), *batches.values())))


if __name__ == "__main__":
    main()
