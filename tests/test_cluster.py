"""Resources of jobs, the shared steps and planning cost of a sweep, merging of shards. No engine runs."""

from __future__ import annotations

import os
import re
import subprocess
from collections import Counter
from pathlib import Path

import pytest
from helpers import SHEET, Result, copy_repository, edit_yaml, read_jsonl, run_script, snakemake, write_jsonl

from predict_shard import shard_of

SLURM = ["--workflow-profile", "profiles/slurm"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return copy_repository(tmp_path_factory.mktemp("cluster"))


def plan(folder: Path, *arguments: str) -> str:
    done = snakemake(folder, "results/metrics.tsv", "-n", "--cores", "1", *arguments)
    assert done.returncode == 0, done.stdout
    return done.stdout


def asked(planned: str, rule: str) -> list[dict[str, str]]:
    """Return the resources of every planned job of a rule."""
    blocks = re.findall(rf"^rule {rule}:\n((?: .*\n)+)", planned, re.MULTILINE)
    lines = [re.search(r"resources: (.*)", block) for block in blocks]
    return [dict(pair.split("=", 1) for pair in line[1].split(", ")) for line in lines if line]


@pytest.mark.workflow
def test_jobs_request_the_resources_of_recipe_and_decode_settings(folder: Path) -> None:
    planned = plan(folder, *SLURM, "--config", "runs=demo")
    (train, *other_seeds), shards = asked(planned, "train_adapter"), asked(planned, "predict_shard")
    assert len(other_seeds) == 2
    assert (train["mem_mb"], train["runtime"], train["gpu"]) == ("4000", "15", "0")
    assert (shards[0]["mem_mb"], shards[0]["runtime"], shards[0]["gpu"]) == ("6000", "30", "0")
    assert not [job for job in (train, *shards) if "gpu_model" in job]

    for registry, entry, model in (("recipes", "demo", "a100"), ("decode", "cpu", "h100")):
        edit_yaml(folder / "conf" / f"{registry}.yaml", entry, gpus=2, gpu_model=model)
    planned = plan(folder, *SLURM, "--config", "runs=demo")
    subprocess.run(["git", "checkout", "-q", "conf"], cwd=folder, check=True)
    for rule, model in (("train_adapter", "a100"), ("predict_shard", "h100")):
        assert {(job["gpu"], job["gpu_model"]) for job in asked(planned, rule)} == {("2", model)}
    others = asked(planned, "merge_adapter") + asked(planned, "encode_split")
    assert others
    assert not [job for job in others if "gpu" in job]


@pytest.mark.workflow
def test_clocks_of_other_nodes_rerun_nothing(folder: Path) -> None:
    """A file above Snakemake's default limit for checksums, with a date in the future."""
    corpus = folder / "data" / "demo" / "train.json"
    line = '{"text": "温格的球队战胜曼联%d", "label": {"name": {"温格": [[0, 1]]}}}\n'
    corpus.write_text("".join(line % number for number in range(20_000)), encoding="utf-8")
    target = "results/datasets/demo/train.jsonl"
    done = snakemake(folder, target, "--cores", "1", "--max-checksum-file-size", "500MB")
    assert done.returncode == 0, done.stdout
    raw = folder / "results" / "datasets" / "demo" / "raw" / "train"
    assert raw.stat().st_size > 1_000_000
    os.utime(raw, (4e9, 4e9))
    assert (
        "convert_dataset" in snakemake(folder, target, "-n", "--cores", "1", "--max-checksum-file-size", "1MB").stdout
    )
    assert "Nothing to be done" in snakemake(folder, target, "-n", *SLURM).stdout
    subprocess.run(["git", "checkout", "-q", "data"], cwd=folder, check=True)


@pytest.mark.workflow
def test_a_sweep_shares_steps(folder: Path) -> None:
    rates = ",".join(f"{rate}.0e-5" for rate in range(1, 51))
    sweep = f"lora_rank=8,64;learning_rate={rates};prompt=ner-zh-short,ner-zh"
    row = f"grid\tdemo\tentitune-tiny\tner-zh-short\tdemo\tgpu\t1\t{sweep}\n"
    (folder / "conf" / "runs.tsv").write_text(SHEET + row, encoding="utf-8")
    planned = plan(folder, "--config", "runs=grid")
    subprocess.run(["git", "checkout", "-q", "conf"], cwd=folder, check=True)
    jobs = Counter(re.findall(r"^(?:local)?rule (\w+):", planned, re.MULTILINE))
    for rule in ("render_config", "train_adapter", "predict_shard", "score_predictions"):
        assert jobs[rule] == 200
    assert jobs["fetch_model"] == 1
    assert (jobs["build_alpaca"], jobs["encode_split"], jobs["register_dataset"]) == (
        4,
        4,
        2,
    )  # for each of two prompts


@pytest.mark.workflow
def test_adapters_of_a_sweep_share_an_engine_if_the_settings_allow_it(folder: Path) -> None:
    ranks = ",".join(map(str, range(1, 21)))
    rows = [f"{name}\tdemo\tentitune-tiny\tner-zh-short\tdemo\t{decode}\t1,2,3\tlora_rank={ranks}\n" for name, decode in
            (("grid", "shared"), ("grid2", "cpu"))]  # fmt: skip
    (folder / "conf" / "runs.tsv").write_text(SHEET + "".join(rows), encoding="utf-8")
    decode = folder / "conf" / "decode.yaml"
    entries = "shared:\n  <<: *cpu\n  adapter: lora\n  share_engine: true\n  shards: 2\n"
    decode.write_text(decode.read_text() + entries, encoding="utf-8")
    planned = plan(folder, "--config", "runs=grid,grid2")
    passed = plan(folder, "--config", "runs=grid+lora_rank=20")
    subprocess.run(["git", "checkout", "-q", "conf"], cwd=folder, check=True)
    jobs = Counter(re.findall(r"^(?:local)?rule ([\w-]+):", planned, re.MULTILINE))
    assert jobs["train_adapter"] == 120
    # 60 runs and seeds in groups of 50 and 10, with two shards each. The runs of the other row: one by one, and merged.
    groups = Counter(re.findall(r"^    wildcards: group=(\S+), split=dev, shard=", planned, re.MULTILINE))
    assert (groups["grid@part-1"], groups["grid@part-2"]) == (2, 2)
    assert jobs["predict_shard"] == 64
    assert jobs["merge_adapter"] == 60
    # A run needs only the adapters of its own group.
    assert Counter(re.findall(r"^rule ([\w-]+):", passed, re.MULTILINE))["train_adapter"] == 10


@pytest.mark.parametrize(("sentences", "shards"), [(10, 3), (2, 5), (1343, 8), (0, 2), (7, 1)])
def test_shards_cover_a_split_once_and_in_order(sentences: int, shards: int) -> None:
    records = [{"id": str(number)} for number in range(sentences)]
    parts = [shard_of(records, shard, shards) for shard in range(1, shards + 1)]
    assert [record for part in parts for record in part] == records
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


def test_shards_are_merged_in_order_and_completely(tmp_path: Path) -> None:
    ids = [str(number) for number in range(5)]
    sentences = [{"id": id_, "text": "温格", "entities": []} for id_ in ids]
    write_jsonl(tmp_path / "dev.jsonl", sentences)
    for shard in (1, 2):
        answers = [
            {"run": run, "seed": 1, "id": id_, "raw": "[]", "finish_reason": "stop"}
            for run in ("other", "demo")  # members of one engine group
            for id_ in shard_of(ids, shard, 2)
        ]
        write_jsonl(tmp_path / f"{shard}.jsonl", answers)

    def merge(*shards: int) -> Result:
        answers = [tmp_path / f"{shard}.jsonl" for shard in shards]
        given = ["--run", "demo", "--seed", 1, "--sentences", tmp_path / "dev.jsonl"]
        return run_script("read_answers", *given, "--output", tmp_path / "merged.jsonl", "--answers", *answers)

    for wrong in ((1,), (2, 1), (1, 2, 2)):
        assert "expected one answer for each sentence" in merge(*wrong).stderr
        assert not (tmp_path / "merged.jsonl").exists()
    assert merge(1, 2).returncode == 0
    assert [record["id"] for record in read_jsonl(tmp_path / "merged.jsonl")] == ids
