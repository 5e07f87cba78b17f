"""Measure the figures of README and docs, fill in their tables and copy their pictures. Needs an idle machine.

    python benchmarks/measure.py                    # all tables that have not been measured
    python benchmarks/measure.py serving structured # these tables, again
    python benchmarks/measure.py --list             # the tables, and the commands that measure them

A table of a Markdown file is filled in if the line before it is the comment `<!-- measured: NAME -->`: its header is
kept, its rows are replaced. Measurements are kept in results/measured/NAME.json, so the same command continues with the
next table after an interruption. CLUENER's archive is downloaded unless CLUENER=FILE in the environment names a copy.
"""

from __future__ import annotations

import argparse
import csv
import os
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple, TypeAlias

sys.path.insert(0, "scripts")

from bench_prompt import RUNS, SWEEP
from engine_runs import answers_and_seconds

from entitune.cli import InputError, run
from entitune.evaluation.seeds import SeedMean, over_seeds, read_scores
from entitune.evaluation.significance import show_p
from entitune.files import atomic_write, read_jsonl, write_json
from entitune.run_manifest import RunManifest
from entitune.tsv import MACRO, MICRO, OTHER

ROOT = Path(__file__).resolve().parent.parent
MEASURED = ROOT / "results" / "measured"
DOCUMENTS = ("README.md", "README.zh-CN.md", "docs/*.md", "data/models/entitune-tiny/README.md")
MARK = re.compile(r"<!-- measured: ([a-z-]+) -->\n(\|.*\n\|[-|: ]+\n)((?:\|.*\n)*)")
"""The comment, the header of the table, and its rows."""

Rows: TypeAlias = list[list[str]]


def row_of(name: str) -> str:
    """Return the row of the sheet that gives a run, which may be one of a sweep."""
    return name.partition("+")[0]


def snakemake(*targets: str, runs: str = "") -> None:
    """Run the workflow for these targets. For a run of a sweep, all runs of its row are made."""
    command = [str(Path(sys.executable).parent / "snakemake"), *targets, "--cores", "all"]
    command += ["--config", f"runs={','.join(map(row_of, runs.split(',')))}"] if runs else []
    if archive := os.environ.get("CLUENER"):
        command += [*([] if runs else ["--config"]), f"local_archive={{cluener: {archive}}}"]
    subprocess.run(command, cwd=ROOT, check=True)


def printed(script: str, *arguments: str) -> Rows:
    """Run a benchmark of this folder and return the rows of the Markdown table that it prints."""
    command = [sys.executable, f"benchmarks/{script}.py", *arguments]
    output = subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True).stdout
    lines = [line for line in output.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines[2:]]


def means(name: str) -> dict[tuple[str, str], SeedMean]:
    """Return the scores of a finished run by scoring and label, as means over its seeds."""
    files = sorted((ROOT / "results" / name).glob("seed-*/scores/dev.tsv"))
    found = over_seeds([score for path in files for score in read_scores(path)])
    return {(one.scoring, one.label): one for one in found}


def f1(mean: SeedMean) -> str:
    """Return F1 with its deviation over seeds, or with the interval over sentences if there is one seed."""
    spread = f" ± {mean.f1_sd:.3f}" if mean.f1_sd is not None else f" ({mean.f1_low:.3f}–{mean.f1_high:.3f})"
    return f"{mean.f1:.3f}{spread}"


def difference(name: str, first: str) -> str:
    """Return the difference in micro F1 (spans) to another run, and its p-value by approximate randomisation."""
    with (ROOT / "results/comparison.tsv").open(encoding="utf-8") as stream:
        for row in csv.DictReader(stream, delimiter="\t"):
            names = row["run_a"], row["run_b"]
            if set(names) == {name, first} and (row["scoring"], row["label"]) == ("spans", MICRO):
                value = float(row["difference"]) * (1 if names[0] == name else -1)
                return f"{value:+.3f} ({show_p(float(row['p_randomisation']), int(row['resamples']))})"
    raise InputError(f"results/comparison.tsv does not compare {name} with {first}")


def minutes(name: str, stage: str) -> str:
    """Return the time of a stage of a run, as the mean over its seeds."""
    manifests = [RunManifest.read(path) for path in (ROOT / "results" / name).glob("seed-*/manifest.json")]
    stages = [item for manifest in manifests for item in manifest.stages.items()]
    seconds = sum(cost.wall_seconds for job, cost in stages if job.startswith(stage)) / len(manifests)
    return f"{seconds / 60:.1f} min" if seconds else "–"


def score_rows(*names: str) -> Rows:
    """Return a row per run: seeds, P, R and F1 (spans), F1 (pairs), difference to the first run."""
    snakemake("results/metrics.tsv", "results/comparison.tsv", runs=",".join(names))
    rows = []
    for name in names:
        spans, pairs = means(name)["spans", MICRO], means(name)["pairs", MICRO]
        change = "–" if name == names[0] else difference(name, names[0])
        figures = [f"{spans.precision:.3f}", f"{spans.recall:.3f}", f1(spans), f"{pairs.f1:.3f}"]
        rows.append([f"`{name}`", str(spans.seeds), *figures, change])
    return rows


def time_rows(*names: str) -> Rows:
    """Return a row per run: minutes of training and of prediction."""
    snakemake("results/metrics.tsv", runs=",".join(names))
    return [[f"`{name}`", minutes(name, "train"), minutes(name, "predict")] for name in names]


def label_rows(name: str) -> Rows:
    """Return a row per label: P, R and F1 of `pairs` and `spans`."""
    snakemake("results/metrics.tsv", runs=name)
    scores = means(name)
    labels = sorted({label for _, label in scores} - {MICRO, MACRO, OTHER})
    rows = []
    for label in (*labels, MACRO, MICRO):
        both = [scores[scoring, label] for scoring in ("pairs", "spans")]
        rows.append([label, *(f"{value:.4f}" for one in both for value in (one.precision, one.recall, one.f1))])
    return rows


def format_rows(*names: str) -> Rows:
    """Return a row per run: seeds, F1 (spans), difference to the first run, tokens per answer, sentences/s."""
    snakemake("results/metrics.tsv", "results/comparison.tsv", runs=",".join(names))
    rows = []
    for name in names:
        files = ROOT.glob(f"results/groups/{name}@*/answers/dev/*.jsonl")
        answers = [one for path in files for one in read_jsonl(path)]
        logs = [path.read_text("utf-8") for path in ROOT.glob(f"logs/predict_shard/{name}@*/dev/*.log")]
        timed = [batch for log in logs for batch in answers_and_seconds(log)]
        speed = sum(count for count, _ in timed) / sum(seconds for _, seconds in timed)
        tokens = sum(one["output_tokens"] for one in answers) / len(answers)
        change = "–" if name == names[0] else difference(name, names[0])
        mean = means(name)["spans", MICRO]
        rows.append([f"`{name}`", str(mean.seeds), f1(mean), change, f"{tokens:.1f}", f"{speed:.0f}"])
    return rows


class Table(NamedTuple):
    """A table of the documents."""

    measure: Callable[[], Rows]
    command: str
    """The command that shows these figures."""


def of_runs(rows: Callable[..., Rows], *names: str) -> Table:
    """Return a table that is made from the results of runs."""
    return Table(lambda: rows(*names), f"snakemake analysis --cores all --config runs={','.join(map(row_of, names))}")


def of_benchmark(script: str) -> Table:
    """Return a table that a benchmark of this folder prints."""
    return Table(lambda: printed(script), f"python benchmarks/{script}.py")


CLUENER_RUNS = (
    *("cluener-tiny", "cluener-tiny-zeroshot", "cluener-tiny-5shot", "cluener-crf"),
    *("cluener-smollm2-135m-cpu", "cluener-smollm2-135m-cpu-zeroshot"),
)


TABLES = {
    "demo-time": of_benchmark("bench_demo"),
    "demo": of_runs(score_rows, "demo", "demo-zeroshot", "demo-5shot", "demo-crf"),
    "cluener": of_runs(score_rows, *CLUENER_RUNS),
    "cluener-time": of_runs(time_rows, *CLUENER_RUNS),
    "prompt-length": of_runs(score_rows, *RUNS.values()),
    "prompt-time": of_benchmark("bench_prompt"),
    "cluener-labels": of_runs(label_rows, "cluener-tiny"),
    "probe-medicine": of_runs(score_rows, "probe-medicine", "probe-medicine-zeroshot"),
    "probe-reviews": of_runs(score_rows, "probe-reviews", "probe-reviews-zeroshot"),
    "answer-formats": of_runs(
        format_rows, *(f"cluener-format-{name}+{SWEEP}" for name in ("json", "brackets", "occurrence"))
    ),
    "structured": of_benchmark("bench_structured"),
    "serving": of_benchmark("bench_serving"),
    "confidence": of_benchmark("bench_confidence"),
    "qlora": of_benchmark("bench_qlora"),
    "scoring": of_benchmark("bench_scoring"),
    "sweep": of_benchmark("bench_sweep"),
}
"""Name -> table, in the order of measurement."""


PICTURES = {"demo": ("results/report/scores.svg", "docs/images/demo-scores.svg")}
"""Table -> a figure of the report with the same runs, and its copy for the documents."""


def filled(text: str, measured: dict[str, Rows]) -> str:
    """Return a document with the measured rows in its tables."""

    def table(match: re.Match[str]) -> str:
        mark, (name, header, rows) = match[0].splitlines(keepends=True)[0], match.groups()
        if name in measured:
            rows = "".join(f"| {' | '.join(row)} |\n" for row in measured[name])
        return mark + header + rows

    return MARK.sub(table, text)


def documents() -> list[Path]:
    """Return the Markdown files that may have tables."""
    return [path for pattern in DOCUMENTS for path in sorted(ROOT.glob(pattern))]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tables", nargs="*", help="tables to measure (default: those that have not been measured)")
    parser.add_argument("--list", action="store_true", help="only print the tables and their commands")
    args = parser.parse_args()
    if args.list:
        for name, table in TABLES.items():
            print(f"{name}\t{table.command}")
        return
    if unknown := set(args.tables) - TABLES.keys():
        raise InputError(f"no table is named {', '.join(sorted(unknown))}; there are: {', '.join(TABLES)}")
    for name in args.tables or [name for name in TABLES if not (MEASURED / f"{name}.json").exists()]:
        print(f"{name}: {TABLES[name].command}", file=sys.stderr, flush=True)
        rows = TABLES[name].measure()
        machine = f"{os.cpu_count()} cores, {platform.machine()}, load {os.getloadavg()[0]:.1f}"
        record = {"rows": rows, "date": datetime.now(UTC).isoformat(timespec="seconds"), "machine": machine}
        MEASURED.mkdir(parents=True, exist_ok=True)
        write_json(MEASURED / f"{name}.json", record)
        for path in documents():
            text = path.read_text(encoding="utf-8")
            with atomic_write(path) as stream:
                stream.write(filled(text, {name: rows}))
        if name in PICTURES:
            source, target = PICTURES[name]
            snakemake(source, runs=TABLES[name].command.rpartition("=")[2])
            (ROOT / target).parent.mkdir(exist_ok=True)
            shutil.copyfile(ROOT / source, ROOT / target)


if __name__ == "__main__":
    run(main)
