"""The last lines that the workflow prints."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from helpers import BIN, copy_repository, snakemake
from run_manifests import stage, write_run_manifest

from entitune.endings import failure_of, first_error, kept_of_other_cuda, left_out_of, summary_of

SEEDS = """run\tsplit\tscoring\tlabel\tseeds\tf1_mean\tf1_sd
demo\tdev\tspans\tmicro\t3\t0.606667\t0.010500
demo\tdev\tpairs\tmicro\t3\t0.700000\t0.010500
demo\tdev\tspans\tname\t3\t0.500000\t0.010500
demo-zeroshot\tdev\tspans\tmicro\t1\t0.100000\t
"""


def test_the_end_shows_scores_and_the_table(tmp_path: Path) -> None:
    (tmp_path / "seeds.tsv").write_text(SEEDS)
    assert summary_of(tmp_path / "seeds.tsv").splitlines() == [
        "Micro F1 (spans):",
        "  demo           0.6067 ± 0.0105 (3 seeds)",
        "  demo-zeroshot  0.1000",
        "All scores: results/metrics.tsv",
    ]
    (tmp_path / "seeds.tsv").write_text(SEEDS + "demo\ttest\tspans\tmicro\t3\t0.500000\t0.010500\n")
    assert [line.split()[:2] for line in summary_of(tmp_path / "seeds.tsv").splitlines()[1:-1]] == [
        ["demo,", "dev"],
        ["demo-zeroshot,", "dev"],
        ["demo,", "test"],
    ]
    assert summary_of(tmp_path / "no.tsv") == ""


def test_left_out_data_is_reported_once(tmp_path: Path) -> None:
    left_out = {"split": "train", "what": "rows", "count": 2, "of": 9, "kinds": {"broken JSON": 1, "columns": 1}}
    manifests = [tmp_path / name for name in ("one", "two", "all", "none")]
    for path in manifests[:2]:
        write_run_manifest(path, left_out=[left_out])
    write_run_manifest(manifests[2])
    assert left_out_of(map(str, manifests)).splitlines() == [
        "Not all of the data was used:",
        "  mine, train: 2 of 9 rows left out: broken JSON (1), columns (1)",
    ]
    assert left_out_of(map(str, manifests[2:])) == ""
    manifests[0].write_text(json.dumps({"config": {"dataset": {"name": "of an earlier version"}}}))
    assert len(left_out_of(map(str, manifests)).splitlines()) == 2


def test_results_of_another_cuda_are_named(tmp_path: Path) -> None:
    made_with = {"old": "envs/train-cuda12.txt", "new": "envs/train.txt", "crf": "envs/crf.txt", "older": None}
    manifests = [str(tmp_path / name / "manifest.json") for name in (*made_with, "unfinished")]
    for name, lock in made_with.items():
        write_run_manifest(tmp_path / name / "manifest.json", stages={"train": stage(lock=lock)})
    assert kept_of_other_cuda(manifests, 13).splitlines() == [
        "Kept, although made with engines for another CUDA version than 13:",
        f"  {tmp_path}/old: envs/train-cuda12.txt",
    ]
    assert kept_of_other_cuda(manifests[1:], 13) == ""


def test_a_failure_names_step_error_and_log(tmp_path: Path) -> None:
    log = tmp_path / "1.log"
    log.write_text("Loading\nerror: no room\nerror: second\n")
    assert failure_of("predict_shard", {"group": "demo@seed-1"}, log).splitlines() == [
        f"The step predict_shard (group=demo@seed-1) failed; its log: {log}",
        "  error: no room",
    ]
    assert failure_of("all", {}, None) == "The step all failed"
    log.write_text("Traceback\nValueError: x\n")
    assert first_error(log) == "ValueError: x"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the repository without results."""
    return copy_repository(tmp_path_factory.mktemp("endings") / "copy")


@pytest.mark.workflow
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["report", "--report", "r.html"], "make them first: snakemake report --cores all"),
        (["--report", "r.html"], "make them first: snakemake report --cores all"),
        (["--workflow-profile", "profiles/slurm", "-n"], "this machine has no sbatch"),
    ],
)
def test_a_missing_program_is_named(folder: Path, tmp_path: Path, arguments: list[str], message: str) -> None:
    for name in ("bash", "sh", "git", "uname", "dirname", "env", "which"):  # a PATH without sbatch
        if found := shutil.which(name):
            (tmp_path / name).symlink_to(found)
    done = snakemake(folder, *arguments, path=f"{BIN}:{tmp_path}")
    assert done.returncode != 0
    assert message in done.stdout
    assert "Traceback" not in done.stdout


@pytest.mark.workflow
def test_the_last_lines_of_a_failed_command(folder: Path) -> None:
    corpus = folder / "data/demo/dev.json"
    kept = corpus.read_bytes()
    corpus.write_text("{\n")
    done = snakemake(folder, "results/datasets/demo/dev.jsonl", "--cores", "1")
    corpus.write_bytes(kept)
    assert done.returncode != 0
    step, error = [line for line in done.stdout.splitlines() if line.strip()][-2:]
    assert step == (
        "The step convert_dataset (dataset=demo, split=dev) failed; its log: logs/convert_dataset/demo/dev.log"
    )
    assert error.startswith("  error: ")
