"""The tables of README and docs that `benchmarks/measure.py` fills."""

from __future__ import annotations

import re
from pathlib import Path

import measure
import pytest
from helpers import write_jsonl

from entitune.tsv import METRICS_COLUMNS


def test_every_marked_table_can_be_measured() -> None:
    marks = {name for path in measure.documents() for name in re.findall(r"<!-- measured: (\S+) -->", path.read_text())}
    tables = {match[1] for path in measure.documents() for match in measure.MARK.finditer(path.read_text())}
    assert marks == tables, "a mark is the line before a table"
    assert tables <= measure.TABLES.keys()


def test_rows_are_replaced_and_the_rest_is_kept() -> None:
    text = "a\n\n<!-- measured: demo -->\n| run | F1 |\n|---|---|\n| `x` | 0.1 |\n| `y` | 0.2 |\n\nb | c\n"
    other = text.replace("demo", "serving")
    assert measure.filled(text + other, {"demo": [["`z`", "0.3"]]}) == (
        "a\n\n<!-- measured: demo -->\n| run | F1 |\n|---|---|\n| `z` | 0.3 |\n\nb | c\n" + other
    )


def test_the_rows_of_answer_formats(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each seed of a run predicts in its own engine group. The results are made up; the workflow is not run."""
    monkeypatch.setattr(measure, "ROOT", tmp_path)
    monkeypatch.setattr(measure, "snakemake", lambda *targets, runs: None)
    for name in ("json", "brackets"):
        folder = tmp_path / f"results/{name}+num_train_epochs=1/seed-1/scores"
        folder.mkdir(parents=True)
        row = f"{folder.parents[1].name} 1 x dev spans micro 0.5 0.5 0.5 9 8 7 0.4 0.6 0.4 0.6 0.4 0.6".split()
        (folder / "dev.tsv").write_text("\t".join(METRICS_COLUMNS) + "\n" + "\t".join(row) + "\n")
        group = f"{name}+num_train_epochs=1@seed-1"
        write_jsonl(tmp_path / f"results/groups/{group}/answers/dev/1-of-1.jsonl", [{"output_tokens": 20}])
        log = tmp_path / f"logs/predict_shard/{group}/dev/1-of-1.log"
        log.parent.mkdir(parents=True)
        log.write_text("x seed 1: 30 answers, 600 tokens in 1.50 s: 400 tokens/s\n")
    columns = ("scoring", "label", "run_a", "run_b", "difference", "p_randomisation", "resamples")
    compared = ("spans", "micro", "json+num_train_epochs=1", "brackets+num_train_epochs=1", "0.1", "0.04", "10000")
    (tmp_path / "results/comparison.tsv").write_text("\t".join(columns) + "\n" + "\t".join(compared) + "\n")
    assert measure.format_rows("json+num_train_epochs=1", "brackets+num_train_epochs=1") == [
        ["`json+num_train_epochs=1`", "1", "0.500 (0.400–0.600)", "–", "20.0", "20"],
        ["`brackets+num_train_epochs=1`", "1", "0.500 (0.400–0.600)", "-0.100 (p = 0.0400)", "20.0", "20"],
    ]
