"""Failed and killed steps and steps with missing files rerun; targets that cannot be made are refused."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
from pathlib import Path

import pytest
from helpers import BIN, ENVIRONMENT, replace_in, run_script, snakemake, wait_for

pytestmark = pytest.mark.engine
ZEROSHOT = ("results/metrics.tsv", "--cores", "2", "--config", "runs=demo-zeroshot")
FOLDER = "results/demo-zeroshot/seed-1"


@pytest.fixture(scope="module")
def zeroshot(demo: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished copy of the demo whose table has only the zero-shot run. Tests leave it as it was."""
    folder = tmp_path_factory.mktemp("zeroshot") / "copy"
    shutil.copytree(demo, folder, symlinks=True)
    done = snakemake(folder, *ZEROSHOT)
    assert done.returncode == 0, done.stdout
    return folder


@pytest.fixture
def finished(zeroshot: Path, tmp_path: Path) -> Path:
    """A copy of `zeroshot` for one test."""
    return shutil.copytree(zeroshot, tmp_path / "copy", symlinks=True)


def manifest(folder: Path) -> dict[str, object]:
    content: dict[str, object] = json.loads((folder / FOLDER / "manifest.json").read_text(encoding="utf-8"))
    return content


def test_a_step_that_failed_in_a_rerun_fails_again(finished: Path) -> None:
    """The second command finds the old table, but not the answers, which the failure deleted."""
    before = manifest(finished)
    replace_in(
        finished,
        "scripts/predict_shard.py",
        "    terminal = output_to",
        '    raise InputError("on purpose")\n    terminal = output_to',
    )
    for _ in range(2):
        done = snakemake(finished, *ZEROSHOT)
        assert done.returncode != 0, done.stdout
        assert "error: on purpose" in done.stdout
        assert manifest(finished) == before
    replace_in(finished, "scripts/predict_shard.py", '    raise InputError("on purpose")\n', "")
    done = snakemake(finished, *ZEROSHOT)
    assert done.returncode == 0, done.stdout
    assert "rule predict_shard:" in done.stdout
    assert manifest(finished)["files"] == before["files"]
    assert "Nothing to be done" in snakemake(finished, *ZEROSHOT).stdout


def test_a_step_that_was_terminated_in_a_rerun_runs_again(finished: Path) -> None:
    log = finished / "logs/predict_shard/demo-zeroshot@seed-1/dev/1-of-1.log"
    old = log.stat().st_mtime_ns
    replace_in(finished, "conf/decode.yaml", "max_tokens: 200", "max_tokens: 100")
    process = subprocess.Popen(
        [str(BIN / "snakemake"), *ZEROSHOT],
        cwd=finished,
        env=ENVIRONMENT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )

    def predicts() -> bool:
        assert process.poll() is None
        return log.exists() and log.stat().st_mtime_ns != old

    wait_for(predicts, 300, "prediction")
    os.killpg(process.pid, signal.SIGTERM)
    assert process.wait() != 0
    done = snakemake(finished, *ZEROSHOT)
    assert done.returncode == 0, done.stdout
    assert "rule predict_shard:" in done.stdout
    assert dict(dict(manifest(finished)["config"])["decode"])["max_tokens"] == 100  # type: ignore[call-overload]


@pytest.mark.parametrize(
    ("target", "gone"),
    [
        ("results/metrics.tsv", f"{FOLDER}/predictions/dev.jsonl"),
        ("results/metrics.tsv", "results/datasets/demo/dev.jsonl"),
        ("results/metrics.tsv", f"{FOLDER}/scores/dev.tsv"),
        ("all", f"{FOLDER}/manifest.json"),
        (f"{FOLDER}/scores/dev.tsv", f"{FOLDER}/predictions/dev.jsonl"),
        (f"{FOLDER}/scores/dev.tsv", "results/datasets/demo/raw/dev"),
        ("results/metrics.tsv", "results/seeds.tsv"),
        ("all", f"{FOLDER}/scores/dev.md"),
        ("all", "results/datasets/demo/dev.dropped.jsonl"),
    ],
)
def test_a_missing_file_is_made_again(zeroshot: Path, tmp_path: Path, target: str, gone: str) -> None:
    os.rename(zeroshot / gone, tmp_path / "gone")
    planned = snakemake(zeroshot, target, "-n", *ZEROSHOT[1:])
    os.rename(tmp_path / "gone", zeroshot / gone)
    assert planned.returncode == 0
    assert re.search(rf"^    output: .*{re.escape(gone)}", planned.stdout, re.MULTILINE), planned.stdout


@pytest.mark.parametrize(
    ("changed", "rule"),
    [
        (f"{FOLDER}/scores/dev.tsv", "score_predictions"),
        (f"{FOLDER}/predictions/dev.jsonl", "read_answers"),
        ("results/datasets/demo/dev.jsonl", "convert_dataset"),
        ("results/datasets/demo/raw/dev", "extract_split"),
    ],
)
def test_a_result_that_somebody_changed_is_made_again(zeroshot: Path, tmp_path: Path, changed: str, rule: str) -> None:
    """Otherwise the table would be made from it, and the manifest would contain its checksum."""
    path = zeroshot / changed
    os.rename(path, tmp_path / "before")
    path.write_bytes((tmp_path / "before").read_bytes())
    touched = snakemake(zeroshot, *ZEROSHOT, "-n")
    path.write_bytes(path.read_bytes().replace(b"1", b"2", 1))
    planned = snakemake(zeroshot, *ZEROSHOT, "-n")
    os.replace(tmp_path / "before", path)
    assert "Nothing to be done" in touched.stdout
    assert re.search(rf"^(local)?rule {rule}:", planned.stdout, re.MULTILINE), planned.stdout


def test_a_selected_run_that_cannot_be_made_is_refused(finished: Path) -> None:
    """The default target is refused too, although a table of other runs exists."""

    def refused(*arguments: str) -> str:
        for command in (["--cores", "1"], ["-n"], ["results/metrics.tsv", "-n"]):
            done = snakemake(finished, *command, *arguments)
            assert done.returncode != 0, done.stdout
            assert "Nothing to be done" not in done.stdout
            assert "Traceback" not in done.stdout
        return done.stdout

    with (finished / "conf/datasets.yaml").open("a") as stream:
        stream.write("x1:\n  format: cluener\n  labels: [name]\n  splits: {train: data/no.json, dev: data/no.json}\n")
    with (finished / "conf/runs.tsv").open("a") as stream:
        stream.write("r1\tx1\tentitune-tiny\tner-zh-short\tdemo\tcpu\t1\n")
    assert "conf/datasets.yaml: x1: splits: train: no such file: data/no.json" in refused("--config", "runs=r1")
    replace_in(finished, "conf/models.yaml", "path: data/models/entitune-tiny", "path: data/models/no")
    assert "conf/models.yaml: entitune-tiny: path: no such folder: data/models/no" in refused()
    replace_in(finished, "conf/models.yaml", "path: data/models/no", "path: data/models/entitune-tiny")
    with (finished / "conf/runs.tsv").open("a") as stream:
        stream.write("r2\tdemo\tentitune-tiny\tner-zh-short\tdemo\tcpu\t1\tcutoff_len=abc\n")
    assert "row 'r2': sweep" in refused("--config", "runs=r2")


def test_finished_results_are_accepted_after_an_upgrade(finished: Path) -> None:
    """`--touch` accepts finished results as results of the current code."""
    replace_in(finished, "scripts/entitune/prompting/grounding.py", "from __future__", "UNUSED = 1\nfrom __future__")
    planned = snakemake(finished, *ZEROSHOT, "-n")
    assert "read_answers" in planned.stdout
    done = snakemake(finished, *ZEROSHOT, "--touch")
    assert done.returncode == 0, done.stdout
    assert "Nothing to be done" in snakemake(finished, *ZEROSHOT).stdout


def test_a_finished_run_is_verified(finished: Path) -> None:
    def verify() -> subprocess.CompletedProcess[str]:
        return run_script("verify_runs", "--runs", "demo-zeroshot", cwd=finished)

    assert verify().returncode == 0, verify().stderr
    for name in (f"{FOLDER}/predictions/dev.jsonl", "results/datasets/demo/raw/dev", f"{FOLDER}/scores/dev.tsv"):
        path = finished / name
        content = path.read_bytes()
        path.write_bytes(content.replace(b"1", b"2", 1))
        done = verify()
        assert done.returncode == 1
        assert f"{name} has changed since" in done.stderr
        path.write_bytes(content)
    weights = finished / "results/models/entitune-tiny/model.safetensors"
    content = weights.read_bytes()
    weights.unlink()
    weights.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    assert "results/models/entitune-tiny/model.safetensors has SHA-256" in verify().stderr
