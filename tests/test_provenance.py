"""The origin of results: the code's version, the node, time and memory of a job."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import time
import tomllib
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from helpers import ROOT, run_script
from run_manifests import run_manifest

from entitune.cli import InputError
from entitune.job_records import ControlGroup, JobRecord, hardware, peak_memory, recorded_job
from entitune.provenance import checksum_of_code, code_files, code_version, engine_versions
from entitune.study import read_study

VERSION = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]


def git(folder: Path, *words: str) -> str:
    identity = ["-c", "user.name=t", "-c", "user.email=t@t"]
    return subprocess.run(
        ["git", *identity, *words], cwd=folder, check=True, capture_output=True, text=True
    ).stdout.strip()


def unpack(folder: Path) -> Path:
    """Make a copy of EntiTune's code without a repository, as from the archive of a release."""
    for path in [*code_files(ROOT), ROOT / "pyproject.toml"]:
        target = folder / path.relative_to(ROOT)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, target)
    return folder


def repository(folder: Path) -> Path:
    """A repository of another project, with one commit."""
    folder.mkdir(parents=True, exist_ok=True)
    git(folder, "init", "-q")
    git(folder, "commit", "-q", "--allow-empty", "-m", "another project")
    return folder


def test_an_own_repository_is_named_by_its_commit(tmp_path: Path) -> None:
    root = unpack(tmp_path / "entitune")
    git(root, "init", "-q")
    git(root, "add", "-A")
    git(root, "commit", "-qm", "first")
    version = code_version(root)
    assert version.commit == git(root, "rev-parse", "HEAD")
    assert version.modified is False
    (root / "Snakefile").write_text("# changed")
    assert code_version(root).modified is True
    assert code_version(root).sha256 != version.sha256
    (tmp_path / "link").symlink_to(root)
    assert code_version(tmp_path / "link").commit == version.commit


def test_a_copy_is_never_named_by_the_commit_of_another_project(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    alone = unpack(tmp_path / "alone")
    within = unpack(repository(tmp_path / "other") / "tools" / "entitune")
    at_the_top = unpack(repository(tmp_path / "top"))
    # A hook of another repository runs EntiTune: Git passes that repository to its children in variables.
    monkeypatch.setenv("GIT_DIR", str(repository(tmp_path / "hooked") / ".git"))
    for root in (alone, within, at_the_top):
        version = code_version(root)
        assert (version.commit, version.modified) == (None, None)
        assert version.sha256 == checksum_of_code(ROOT)


def test_the_checksum_of_the_code_depends_only_on_its_files(tmp_path: Path) -> None:
    root = unpack(tmp_path)
    before = checksum_of_code(root)
    for name in ("scripts/__pycache__/x.cpython-311.pyc", "scripts/.x.py.swp", "results/x", "conf/x.yaml"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    assert checksum_of_code(root) == before
    for name in ("rules/new.smk", "scripts/entitune/new.py", "envs/new.txt"):
        (root / name).touch()
        assert checksum_of_code(root) != before
        (root / name).unlink()
    listed = subprocess.run(
        "find Snakefile rules scripts envs -type f ! -path '*/.*' ! -path '*__pycache__*' | LC_ALL=C sort"
        " | xargs sha256sum | sha256sum",
        shell=True,
        cwd=root,
        capture_output=True,
        text=True,
        check=True,
    )
    assert listed.stdout.split()[0] == before


@pytest.mark.parametrize(
    ("run", "own", "splits"),
    [
        ("demo", ["train_adapter", "merge_adapter"], ["dev"]),
        ("demo-select", ["train_adapter", "merge_adapter", "merge_candidates"], ["dev", "select"]),
        ("demo-zeroshot", [], ["dev"]),
        ("demo-vote", [], []),
        ("demo-crf", ["train_crf"], []),
    ],
)
def test_each_kind_of_run_has_the_records_of_its_jobs(
    run: str, own: list[str], splits: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    study = read_study({})
    found = study.runs[run]
    assert found.job_records(1) == [f"results/{run}/seed-1/jobs/{job}.json" for job in own]
    shared = [Path(path).name.split(".")[:2] for path in study.shared_records(found, 1)]
    assert shared == [["predict_shard", split] for split in splits]


def test_the_hardware_has_driver_and_python(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    smi = tmp_path / "nvidia-smi"
    smi.write_text('#!/bin/sh\n[ "$1" = --query-gpu=name,memory.total,driver_version ] && echo "H, 80 MiB, 550.1"\n')
    smi.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    found = hardware()
    assert found.gpus == ["H, 80 MiB, 550.1"]
    assert re.fullmatch(r"3\.\d+\.\d+", found.python)
    assert found.cores >= 1
    assert found.memory_mb > 100
    smi.write_text("#!/bin/sh\nexit 9\n")
    assert hardware().gpus == []


@pytest.mark.parametrize("state", ["ended", "running", "grandchild"])
def test_the_peak_is_that_of_the_largest_process(state: str) -> None:
    """This does not depend on how the process starts, or on measuring while it is large."""
    before = peak_memory(None, 0)[0]  # includes children of other tests
    size = 100 + (before >> 20)
    program = f"x = bytearray({size} << 20)"
    if state == "running":
        program += "; del x; print('done', flush=True); input()"
    elif state == "grandchild":
        program = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {program!r}])"
    with subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        if state == "running":
            assert process.stdout.readline() == b"done\n"
        else:
            process.wait()
        peak, of = peak_memory(None, 0)
        assert process.stdin is not None
        process.stdin.close()
    assert of == "largest process"
    assert size <= peak >> 20 < size + 50


def control_group(folder: Path, *processes: int, peak: int) -> ControlGroup:
    folder.mkdir(exist_ok=True)
    (folder / "memory.peak").write_text(f"{peak}\n")
    (folder / "cgroup.procs").write_text("".join(f"{process}\n" for process in processes))
    return ControlGroup(folder)


def test_in_its_own_control_group_the_peak_is_that_of_all_processes(tmp_path: Path) -> None:
    group = control_group(tmp_path / "job", os.getpid(), os.getppid(), peak=50 << 30)
    assert peak_memory(group, 1 << 30) == (50 << 30, "process tree")
    # The peak is from before the job started, so another job caused it.
    assert peak_memory(group, 50 << 30)[1] == "largest process"
    # Another process is in the group: one from another namespace (pid 0), and an unrelated one.
    for stranger in (0, 1 << 22):
        group = control_group(tmp_path / "job", os.getpid(), stranger, peak=50 << 30)
        assert peak_memory(group, 0)[1] == "largest process"
    group = control_group(tmp_path / "job", os.getpid(), peak=50 << 30)
    (tmp_path / "job" / "another").mkdir()
    assert peak_memory(group, 0)[1] == "largest process"


def test_a_control_group_that_cannot_be_read_does_not_fail_the_job(tmp_path: Path) -> None:
    assert peak_memory(ControlGroup(tmp_path / "nothing"), 0)[1] == "largest process"
    group = control_group(tmp_path / "job", os.getpid(), peak=50 << 30)
    (tmp_path / "job" / "memory.peak").write_text("max\n")
    assert peak_memory(group, 0)[1] == "largest process"


def test_the_own_control_group_is_found(tmp_path: Path) -> None:
    control_group(tmp_path / "job", peak=1)
    listed = tmp_path / "listed"
    for text, found in (
        ("0::/job\n", True),
        ("4:memory:/x\n0::/job\n", True),
        ("0::/elsewhere\n", False),
        ("4:memory:/job\n", False),
        ("", False),
    ):
        listed.write_text(text)
        assert (ControlGroup.own(tmp_path, listed) is not None) == found
    assert ControlGroup.own(tmp_path, tmp_path / "nothing") is None


def test_a_job_is_recorded(tmp_path: Path) -> None:
    path = tmp_path / "jobs" / "train.json"
    with recorded_job(path):
        time.sleep(0.1)
        assert not path.exists()
    record = JobRecord.read(path)
    assert record.hardware == hardware()
    assert record.seconds >= 0.1
    assert record.peak_memory_mb > 0
    assert timedelta() <= datetime.now(UTC) - datetime.fromisoformat(record.date) < timedelta(minutes=10)
    assert list(json.loads(path.read_text())) == [
        "date",
        "seconds",
        "peak_memory_mb",
        "peak_memory_of",
        "hardware",
        "lock",
    ]
    assert record.lock is None  # the workflow's environment has no engine


def test_a_record_names_the_lock_of_the_engines_environment(tmp_path: Path) -> None:
    (tmp_path / ".built").write_text(f"{'0' * 64}  envs/train-cuda12.txt\n")
    with recorded_job(tmp_path / "train.json", tmp_path):
        pass
    assert JobRecord.read(tmp_path / "train.json").lock == "envs/train-cuda12.txt"


def test_a_job_that_fails_leaves_no_record_of_an_earlier_one(tmp_path: Path) -> None:
    path = tmp_path / "train.json"
    with recorded_job(path):
        pass
    with pytest.raises(InputError), recorded_job(path):
        raise InputError("no")
    assert not path.exists()
    with recorded_job(None):
        pass
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("content", ["{}", "[]", "{", '{"date": 1}'])
def test_a_damaged_record_is_named(tmp_path: Path, content: str) -> None:
    (tmp_path / "train.json").write_text(content)
    with pytest.raises(InputError, match=r"train\.json:"):
        JobRecord.read(tmp_path / "train.json")


def test_one_command_prints_the_version() -> None:
    assert run_script("print_versions", cwd=ROOT).stdout.startswith(f"entitune: {VERSION} (")


def test_a_folder_that_is_not_an_environment_is_named(tmp_path: Path) -> None:
    assert engine_versions(ROOT / ".envs" / "workflow")["snakemake"]
    with pytest.raises(InputError, match="is not a Python environment"):
        engine_versions(tmp_path)


def test_a_manifest_has_time_memory_and_node_of_each_job(tmp_path: Path) -> None:
    with recorded_job(tmp_path / "train_adapter.json"):
        pass
    record = JobRecord.read(tmp_path / "train_adapter.json")
    changes = {"seconds": 30.0, "hardware": hardware().model_copy(update={"gpus": ["H"]}), "lock": "lock.txt"}
    elsewhere = record.model_copy(update=changes)
    (tmp_path / "lock.txt").write_text("vllm==1")
    (tmp_path / "predict_shard.dev.1-of-1.json").write_text(elsewhere.model_dump_json())
    (tmp_path / "file").write_text("x")
    (tmp_path / "dev.summary.json").write_text('{"rows": 9, "dropped": 0, "kinds": {}}')
    (tmp_path / "train.summary.json").write_text('{"rows": 9, "dropped": 2, "kinds": {"broken JSON": 2}}')
    arguments = ["--summaries", *(str(tmp_path / f"{split}.summary.json") for split in ("train", "dev"))]
    arguments += [
        "--config",
        json.dumps(run_manifest()["config"]),
        "--files",
        str(tmp_path / "file"),
        "--output",
        str(tmp_path / "m.json"),
    ]
    arguments += ["--records", str(tmp_path / "train_adapter.json"), "--shared-by", "3"]
    arguments += ["--shared-records", str(tmp_path / "predict_shard.dev.1-of-1.json")]
    done = run_script("write_manifest", *arguments, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    manifest = json.loads((tmp_path / "m.json").read_text(encoding="utf-8"))
    assert manifest["code_sha256"] == checksum_of_code(ROOT)
    assert manifest["version"] == VERSION
    assert manifest["left_out"] == [
        {"split": "train", "what": "rows", "count": 2, "of": 9, "kinds": {"broken JSON": 2}}
    ]
    assert list(manifest["files"]) == [str(tmp_path / "file"), "lock.txt"]
    assert manifest["stages"]["train_adapter"] == {
        "date": record.date,
        "wall_seconds": record.seconds,
        "peak_memory_mb": record.peak_memory_mb,
        "peak_memory_of": record.peak_memory_of,
        "hardware": record.hardware.model_dump(),
        "lock": None,
    }
    shared = manifest["stages"]["predict_shard.dev.1-of-1"]
    assert shared["wall_seconds"] == 10
    assert shared["hardware"]["gpus"] == ["H"]
