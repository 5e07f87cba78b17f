"""Only stale steps rerun: each test changes one thing and checks with a dry run which steps would run."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from helpers import snakemake

pytestmark = pytest.mark.engine

DATA = {"extract_split", "convert_dataset", "build_alpaca"}
TRAIN = {"render_config", "train_adapter", "merge_adapter"}
PREDICT = {"predict_shard", "read_answers"}
CHECKS = {"check_lengths", "check_training_rows", "check_parity"}
SCORE = {"score_predictions", "write_manifest", "combine_metrics"}

IMPORT = "from __future__ import annotations\n"
CODE = (IMPORT, f"{IMPORT}\nCHANGED = True\n")
"""A replacement that changes the code of a module."""


def would_run(folder: Path, *arguments: str) -> set[tuple[str, str]]:
    """Return (rule, wildcards) of every job of a dry run, without the target rule `all`."""
    done = snakemake(folder, "results/metrics.tsv", "-n", "--cores", "all", *arguments)
    assert done.returncode == 0, done.stdout
    jobs = set()
    for block in re.split(r"\n(?=(?:local)?rule |\[)", done.stdout):
        if head := re.search(r"^(?:local)?rule (\w+):", block, re.MULTILINE):
            wildcards = re.search(r"^ +wildcards: (.*)$", block, re.MULTILINE)
            jobs.add((head[1], wildcards[1] if wildcards else ""))
    return jobs


def rules(jobs: set[tuple[str, str]]) -> set[str]:
    return {rule for rule, _ in jobs}


@pytest.fixture
def edit(demo: Path) -> Iterator[Callable[[str, str, str], None]]:
    """Replace text in a file of the demo's copy; restore the file and its times when the test ends."""
    kept: dict[Path, tuple[bytes, os.stat_result]] = {}

    def replace(name: str, old: str, new: str) -> None:
        path = demo / name
        kept.setdefault(path, (path.read_bytes(), path.stat()))
        content = path.read_bytes()
        assert old.encode() in content, f"{old!r} is not in {name}"
        path.write_bytes(content.replace(old.encode(), new.encode(), 1))

    yield replace
    for path, (content, stat) in kept.items():
        path.write_bytes(content)
        os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))


def test_results_of_another_cuda_are_kept(demo: Path) -> None:
    assert rules(would_run(demo, "--config", "cuda=12")) == {"build_env"}


def test_nothing_runs_twice(demo: Path) -> None:
    done = snakemake(demo, "results/metrics.tsv", "--cores", "all")
    assert done.returncode == 0
    assert "Nothing to be done" in done.stdout


def test_a_training_sentence_reruns_its_split_and_the_training(demo: Path, edit: Callable[..., None]) -> None:
    edit("data/demo/train.json", "，", "、")
    jobs = would_run(demo)
    proofs = {"register_dataset", "check_training_rows", "check_parity"}
    assert rules(jobs) == DATA | {"encode_split"} | proofs | TRAIN | PREDICT | SCORE
    assert not [job for job in jobs if "split=dev" in job[1] and job[0] in DATA | {"encode_split"}]
    assert not [job for job in jobs if "run=demo-zeroshot" in job[1]]


def test_an_evaluation_sentence_reruns_no_training(demo: Path, edit: Callable[..., None]) -> None:
    edit("data/demo/dev.json", "，", "、")
    assert rules(would_run(demo)) == DATA | {"encode_split", "check_parity", "check_lengths"} | PREDICT | SCORE


def test_the_prompt_reruns_all_that_uses_it(demo: Path, edit: Callable[..., None]) -> None:
    edit("conf/prompts/ner-zh-short-brackets.txt", "{labels}", "{labels}。")
    expected = {"build_alpaca", "encode_split", "register_dataset"} | CHECKS | TRAIN | PREDICT | SCORE
    assert rules(would_run(demo)) == expected


def test_the_learning_rate_reruns_the_training(demo: Path, edit: Callable[..., None]) -> None:
    edit("conf/train/demo.yaml", "learning_rate: ", "learning_rate: 1")
    jobs = would_run(demo)
    assert rules(jobs) == TRAIN | {"check_training_rows"} | PREDICT | SCORE
    assert not [job for job in jobs if "run=demo-zeroshot" in job[1]]


def test_rank_and_alpha_that_change_places_rerun_the_training(demo: Path, edit: Callable[..., None]) -> None:
    edit("conf/train/demo.yaml", "lora_rank:", "lora_swap:")
    edit("conf/train/demo.yaml", "lora_alpha:", "lora_rank:")
    edit("conf/train/demo.yaml", "lora_swap:", "lora_alpha:")
    assert rules(would_run(demo)) == TRAIN | {"check_training_rows"} | PREDICT | SCORE


def test_the_decode_settings_rerun_the_prediction(demo: Path, edit: Callable[..., None]) -> None:
    edit("conf/decode.yaml", "max_tokens: 200", "max_tokens: 100")
    assert rules(would_run(demo)) == {"check_lengths"} | PREDICT | SCORE


def test_the_resources_of_a_job_rerun_no_slow_step(demo: Path, edit: Callable[..., None]) -> None:
    edit("conf/decode.yaml", "runtime: ", "runtime: 1")
    # The manifest records the settings; no slow step runs.
    assert rules(would_run(demo)) == {"write_manifest", "combine_metrics"}


def test_the_scoring_code_reruns_the_scores(demo: Path, edit: Callable[..., None]) -> None:
    edit("scripts/entitune/evaluation/scoring.py", *CODE)
    assert rules(would_run(demo)) == SCORE


def test_a_shared_module_reruns_the_steps_that_import_it(demo: Path, edit: Callable[..., None]) -> None:
    edit("scripts/entitune/prompting/grounding.py", *CODE)
    assert rules(would_run(demo)) == {"read_answers"} | SCORE


def test_the_comments_of_a_shared_module_rerun_nothing(demo: Path, edit: Callable[..., None]) -> None:
    edit("scripts/entitune/files.py", '"""', '"""Another docstring. ')
    edit("scripts/entitune/files.py", IMPORT, f"# A comment.\n\n{IMPORT}")
    assert would_run(demo) == set()


def test_the_environment_of_prediction_reruns_the_prediction(demo: Path, edit: Callable[..., None]) -> None:
    edit("envs/predict-cpu.txt", "\n", "\n# changed\n")
    assert rules(would_run(demo)) == {"build_env", "check_parity"} | PREDICT | SCORE


@pytest.mark.parametrize("name", ["README.md", "docs/contracts.md"])
def test_a_comment_in_the_documentation_reruns_nothing(demo: Path, edit: Callable[..., None], name: str) -> None:
    edit(name, "\n", "\n<!-- changed -->\n")
    assert would_run(demo) == set()


TOUCHED = [
    *("data/demo/train.json", "data/models/entitune-tiny/model.safetensors", "conf/prompts/ner-zh-short-brackets.txt"),
    *("scripts/predict_shard.py", "envs/train.txt"),
]


@pytest.mark.parametrize("name", TOUCHED)
def test_a_touched_file_reruns_nothing(demo: Path, edit: Callable[..., None], name: str) -> None:
    edit(name, "", "")  # rewritten with the same content: only its time changes
    assert would_run(demo) == set()


def test_a_change_of_one_run_does_not_rerun_the_other(demo: Path, edit: Callable[..., None]) -> None:
    row = "demo-zeroshot\tdemo\tentitune-tiny\tner-zh-short-brackets\tnone\tcpu"
    edit("conf/runs.tsv", row, f"{row}-small")
    settings = "adapter: merged, max_tokens: 100, max_model_len: 512, max_num_seqs: 8, shards: 1"
    machine = "gpus: 0, threads: 1, mem_mb: 6000, runtime: 30"
    edit("conf/decode.yaml", "\ncpu:", f"\ncpu-small: {{{settings}, {machine}}}\ncpu:")
    jobs = would_run(demo)
    assert rules(jobs) == {"check_lengths"} | PREDICT | SCORE
    assert not [job for job in jobs if "run=demo," in job[1]]


def test_another_selection_of_runs_makes_only_the_tables(demo: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in (demo / "results").rglob("*") if path.is_file()}
    jobs = would_run(demo, "--config", "runs=demo")
    assert rules(jobs) == {"combine_metrics"}
    assert before == {path: path.stat().st_mtime_ns for path in (demo / "results").rglob("*") if path.is_file()}
