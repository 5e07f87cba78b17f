"""The demo on a real Slurm with all kinds of interruptions, checked with Slurm's own records."""

from __future__ import annotations

import contextlib
import itertools
import json
import re
import shutil
import signal
import subprocess
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import pytest
import yaml
from helpers import (
    BIN,
    ENVIRONMENT,
    SHEET,
    copy_repository,
    edit_yaml,
    losses,
    processes_in,
    read_jsonl,
    replace_in,
    snakemake,
    train_command,
    wait_for,
)
from slurm import command, jobs, slurm
from training import RECIPE, prepare, training_command

from entitune.prompting.prompt import Prompt

__all__ = ["slurm"]
pytestmark = [pytest.mark.engine, pytest.mark.slurm, pytest.mark.usefixtures("slurm")]

ROW = "demo\tdemo\tentitune-tiny\tner-zh-short-brackets\tdemo\tcpu\t1\t\n"
# The recipe requests a GPU but trains on the CPU. The same in the decode settings would select vLLM's environment for
# CUDA, so the GPU of predictions is requested with Snakemake's own option.
TARGET = ["results/metrics.tsv", "--workflow-profile", "profiles/slurm", "--config", "runs=demo"]
TARGET += ["--set-resources", "predict_shard:gpu=1", "--slurm-init-seconds-before-status-checks", "3"]
RUN = Path("results/demo/seed-1")
ANSWERS = "results/groups/demo@seed-1/answers/dev"
EPOCH = 80
"""A checkpoint is written every so many optimisation steps."""


def of_rule(name: str) -> list[dict[str, str]]:
    """Return the jobs of a rule in the order of submission; the plug-in writes the rule's name into their comments."""
    found = [job for job in jobs().values() if re.fullmatch(rf"rule_{name}(_wildcards_.*)?", job.get("Comment", ""))]
    return sorted(found, key=lambda job: int(job["JobId"]))


def running(name: str) -> list[dict[str, str]]:
    return [job for job in of_rule(name) if job["JobState"] == "RUNNING"]


@contextlib.contextmanager
def submitter_in(folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Start a submitting Snakemake; it is killed when the block ends."""
    with (folder / "snakemake.log").open("ab") as log:
        submitter = subprocess.Popen(
            [str(BIN / "snakemake"), *TARGET],
            cwd=folder,
            env=ENVIRONMENT,
            stdout=log,
            stderr=subprocess.STDOUT,
            # A shell starts background processes with SIGINT ignored, and their children inherit this.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )
    try:
        yield submitter
    finally:
        submitter.kill()
        submitter.wait()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = copy_repository(tmp_path_factory.mktemp("slurm"))
    (folder / "conf" / "runs.tsv").write_text(SHEET + ROW, encoding="utf-8")
    edit_yaml(folder / "conf" / "recipes.yaml", "demo", gpus=1, gpu_model="fake")
    replace_in(folder, "conf/train/demo.yaml", "num_train_epochs: 1.0", "num_train_epochs: 2.0")
    edit_yaml(folder / "conf" / "decode.yaml", "cpu", shards=2)
    return folder


def last_step(folder: Path) -> int:
    """Return the last logged step of the training in progress."""
    logs = (folder / RUN / "checkpoints").glob("*/trainer_log.jsonl")
    lines = [line for log in logs for line in log.read_text(encoding="utf-8").splitlines() if line.endswith("}")]
    return max((json.loads(line)["current_steps"] for line in lines), default=0)


@pytest.fixture(scope="module")
def cancelled(folder: Path, slurm: None) -> dict[str, str]:
    """The job of a training whose submitter was interrupted during the training."""
    with submitter_in(folder) as submitter:

        def checkpoint() -> bool:
            assert submitter.poll() is None, (folder / "snakemake.log").read_text()
            return any((folder / RUN / "checkpoints").glob(f"*/checkpoint-{EPOCH}/trainer_state.json"))

        wait_for(checkpoint, 600, "checkpoint")
        submitter.send_signal(signal.SIGINT)
        assert submitter.wait(600) != 0
    wait_for(lambda: not command("squeue", "--noheader"), 600, "empty queue")
    return of_rule("train_adapter")[0]


@pytest.fixture(scope="module")
def finished(folder: Path, cancelled: dict[str, str]) -> Path:
    """Run the same command again; requeue and kill the training, and kill the first prediction."""
    with submitter_in(folder) as submitter:

        def resumed() -> bool:
            assert submitter.poll() is None, (folder / "snakemake.log").read_text()
            return bool(running("train_adapter")) and last_step(folder) >= EPOCH + 20

        wait_for(resumed, 600, "steps after the checkpoint")
        command("scontrol", "requeue", running("train_adapter")[0]["JobId"])
        wait_for(lambda: "1" in {job["Restarts"] for job in running("train_adapter")}, 600, "restart")
        command("scancel", "--signal=KILL", "--full", running("train_adapter")[0]["JobId"])
        wait_for(lambda: submitter.poll() is not None or running("predict_shard"), 600, "prediction")
        command("scancel", "--signal=KILL", "--full", running("predict_shard")[0]["JobId"])
        assert submitter.wait(600) == 0, (folder / "snakemake.log").read_text()
    return folder


def test_a_cancelled_job_is_cleaned_up(cancelled: dict[str, str], folder: Path) -> None:
    assert cancelled["JobState"] == "CANCELLED"
    wait_for(lambda: not processes_in(folder), 600, f"end of {processes_in(folder)}")
    assert not (folder / RUN / "adapter").exists() or not any((folder / RUN / "adapter").iterdir())


def test_every_rule_that_is_not_local_ran_as_a_job(finished: Path) -> None:
    expected = {"encode_split": 2, "check_parity": 2, "check_training_rows": 1}
    expected |= {"train_adapter": 1, "merge_adapter": 1, "predict_shard": 2}
    completed = {rule: [job for job in of_rule(rule) if job["JobState"] == "COMPLETED"] for rule in expected}
    assert {rule: len(done) for rule, done in completed.items()} == expected
    named = {job["JobId"] for rule in expected for job in of_rule(rule)}
    assert named == set(jobs())
    # Snakemake calls the others `localrule`.
    lines = (finished / "snakemake.log").read_text(encoding="utf-8")
    assert set(re.findall(r"^rule (\w+):", lines, re.MULTILINE)) == set(expected)


def test_training_and_prediction_held_the_gpu_one_at_a_time(finished: Path) -> None:
    held = [job for rule in ("train_adapter", "predict_shard") for job in of_rule(rule)]
    # Slurm starts a job only when the resources in TresPerJob are free.
    assert {job["TresPerJob"] for job in of_rule("train_adapter")} == {"gres:gpu:fake:1"}
    assert {job["TresPerJob"] for job in of_rule("predict_shard")} == {"gres:gpu:1"}
    assert not [job for rule in ("encode_split", "merge_adapter") for job in of_rule(rule) if "TresPerJob" in job]
    spans = sorted((datetime.fromisoformat(job["StartTime"]), datetime.fromisoformat(job["EndTime"])) for job in held)
    assert all(end <= start for (_, end), (start, _) in itertools.pairwise(spans))


def test_time_and_memory_are_those_of_the_recipe(finished: Path) -> None:
    """After a kill, Snakemake requests twice as much for the next attempt of the job."""
    asked = [(job["TimeLimit"], job["MinMemoryNode"], job["CPUs/Task"]) for job in of_rule("train_adapter")]
    assert asked == [("00:15:00", "4000M", "1"), ("00:15:00", "4000M", "1"), ("00:30:00", "8000M", "1")]
    assert [job["MinMemoryNode"] for job in of_rule("predict_shard")].count("6000M") == 2


def test_a_preempted_training_resumes(finished: Path) -> None:
    """A training that was cancelled, requeued and killed gives the same adapter as an undisturbed one."""
    _, requeued, again = of_rule("train_adapter")
    assert (requeued["Restarts"], again["JobState"]) == ("1", "COMPLETED")
    assert requeued["JobState"] != "COMPLETED"
    shutil.copy(finished / RUN / "train.yaml", finished / "undisturbed.yaml")
    edit_yaml(finished / "undisturbed.yaml", output_dir="undisturbed/checkpoints")
    subprocess.run(train_command("undisturbed"), cwd=finished, env=ENVIRONMENT, check=True)
    undisturbed, weights = finished / "adapters" / "undisturbed", "adapter_model.safetensors"
    assert (finished / RUN / "adapter" / weights).read_bytes() == (undisturbed / weights).read_bytes()
    assert losses(finished / RUN / "adapter") == losses(undisturbed)


def test_only_the_killed_shard_ran_again(finished: Path, demo: Path, tmp_path: Path) -> None:
    states = [(job["Comment"], job["JobState"] == "COMPLETED") for job in of_rule("predict_shard")]
    killed = states[0][0]
    assert [done for comment, done in states if comment == killed] == [False, True]
    assert [done for comment, done in states if comment != killed] == [True]
    merged, whole = (read_jsonl(path / RUN / "predictions" / "dev.jsonl") for path in (finished, demo))
    assert [record["id"] for record in merged] == [record["id"] for record in whole]
    # Without an interruption the shard has the same answers, to the last byte.
    (shard,) = re.findall(r"\d-of-\d", killed)
    number, _, shards = shard.partition("-of-")
    decode = yaml.safe_load((finished / "conf/decode.yaml").read_text(encoding="utf-8"))["cpu"] | {"dtype": "auto"}
    tokens = "results/datasets/demo/ner-zh-short-brackets/entitune-tiny/dev.tokens.jsonl"
    job = {"run": "demo", "seed": 1, "tokens": tokens, "model": str(RUN / "merged"), "adapter": None}
    words = [".envs/predict-cpu/bin/python", "scripts/predict_shard.py", "--jobs", json.dumps([job])]
    words += ["--decode", json.dumps(decode), "--shard", number, "--shards", shards, "--output", str(tmp_path / shard)]
    done = subprocess.run(words, cwd=finished, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / shard).read_bytes() == (finished / f"{ANSWERS}/{shard}.jsonl").read_bytes()


def test_a_second_submission_runs_nothing(finished: Path) -> None:
    before = set(jobs())
    done = snakemake(finished, *TARGET)
    assert done.returncode == 0, done.stdout
    assert "Nothing to be done" in done.stdout
    assert set(jobs()) == before


def test_two_tasks_train_as_two_nodes(demo: Path) -> None:
    """Two tasks of one process each, as on two nodes, read rank and rendezvous address from Slurm's variables."""
    config = yaml.safe_load((demo / RUN / "train.yaml").read_text(encoding="utf-8"))
    config |= {"per_device_train_batch_size": 4, "max_steps": 4, "logging_steps": 1}
    del config["neftune_noise_alpha"]  # each process draws its own noise
    logged = []
    for name, nodes, accumulation in (("together", 1, 2), ("apart", 2, 1)):
        config |= {"train_sampling_strategy": "random", "gradient_accumulation_steps": accumulation}
        (demo / f"{name}.yaml").write_text(yaml.safe_dump(config | {"output_dir": f"work/{name}/key"}))
        words = ["srun", f"--ntasks={nodes}", "--kill-on-bad-exit", f"--chdir={demo}"]
        words += train_command(name, "--nodes", str(nodes), "--processes", "1")
        done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=600)
        assert done.returncode == 0, done.stderr
        logged.append([loss for _, loss in losses(demo / "adapters" / name)])
    assert len(logged[0]) == 4
    assert logged[1] == pytest.approx(logged[0], rel=0.02)
    assert (demo / "logs" / "apart.1.log").is_file()


def test_a_second_job_for_the_same_training_waits_for_the_first(tmp_path: Path) -> None:
    """A second submission of a run waits for the first, and resumes where the first has stopped."""
    prepare(tmp_path, {"plain": Prompt("找出实体。")})
    recipe = {"max_steps": 400, "save_steps": 50, "save_strategy": "steps", "logging_steps": 1}
    words = training_command(tmp_path / "plain", "run", RECIPE | recipe)
    first, second = (["srun", f"--job-name={name}", "--ntasks=1", *words] for name in ("first", "second"))
    claim = tmp_path / "plain" / "work-run" / "checkpoints" / "claim.json"
    with subprocess.Popen(first, stderr=subprocess.DEVNULL) as one:
        wait_for(lambda: list(claim.parent.glob("key/checkpoint-50/trainer_state.json")), 600, "checkpoint")
        holder = json.loads(claim.read_text(encoding="utf-8"))
        with subprocess.Popen(second, stderr=subprocess.PIPE, text=True) as two:
            assert two.stderr
            told = next(line for line in two.stderr if "is being trained" in line)
            assert f"process {holder['pid']} on {holder['host']} of Slurm job {holder['slurm_job']}," in told
            assert jobs()[holder["slurm_job"]]["JobName"] == "first"
            subprocess.run(["scancel", holder["slurm_job"]], check=True)
            assert one.wait(600) != 0
            resumed = next(line for line in two.stderr if "resuming from" in line)
            assert re.search(r"step \d+", resumed)
            assert two.wait(600) == 0
    assert [step for step, _ in losses(tmp_path / "plain" / "adapter-run")] == list(range(1, 401))
