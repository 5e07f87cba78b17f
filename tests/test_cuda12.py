"""The demo with the engines for CUDA 12, LLaMA-Factory and vLLM, on a CPU: from rows to answers.

Downloads 5 GB, needs 12 GB of disk and about 15 minutes on two cores: `python -m pytest -m download`.
"""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest
from helpers import ROOT, SHEET, copy_repository, edit_yaml, read_jsonl, read_tsv, run_in, snakemake

from entitune import paths
from entitune.provenance import engine_versions

pytestmark = [pytest.mark.network, pytest.mark.download]
DEMO = "demo\tdemo\tentitune-tiny\tner-zh-short-brackets\tdemo\tcpu\t1\t\n"
CUDA_PACKAGES = """
import json, sys, torch, vllm
from vllm.engine.arg_utils import EngineArgs
settings = json.loads(sys.argv[1])
EngineArgs(model="x", **settings)
print(vllm.__version__, torch.version.cuda)
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the repository with its own environments, in which the demo has run with the engines for CUDA 12."""
    folder = copy_repository(tmp_path_factory.mktemp("cuda12"))
    (folder / ".envs").unlink()
    (folder / ".envs").mkdir()
    for kept in ("workflow", "lib"):
        (folder / ".envs" / kept).symlink_to(ROOT / ".envs" / kept)
    (folder / "conf" / "runs.tsv").write_text(SHEET + DEMO)
    edit_yaml(folder / "conf" / "config.yaml", runs=["demo"], cuda=12)  # the server's script reads this file too
    targets = ["results/metrics.tsv", "results/demo/seed-1/serving_check.json"]
    done = snakemake(folder, *targets, "--cores", "all")
    assert done.returncode == 0, done.stdout
    return folder


def test_the_engines_are_those_of_the_locks(folder: Path) -> None:
    manifest = json.loads((folder / "results/demo/seed-1/manifest.json").read_text(encoding="utf-8"))
    locks = {name: stage["lock"] for name, stage in manifest["stages"].items()}
    assert locks == {
        "train_adapter": "envs/train-cuda12.txt",
        "merge_adapter": "envs/train-cuda12.txt",
        "predict_shard.dev.1-of-1": "envs/predict-cpu12.txt",
    }
    assert set(locks.values()) <= manifest["files"].keys()
    for environment in ("train", "predict-cpu"):
        assert manifest["engines"][environment]["torch"] == "2.10.0"
        assert engine_versions(folder / ".envs" / environment) == manifest["engines"][environment]


def test_the_demo_is_scored_and_served(folder: Path) -> None:
    micro = [float(row["f1"]) for row in read_tsv(folder / paths.METRICS) if row["label"] == "micro"]
    assert min(micro) > 0.6
    statuses = Counter(row["status"] for row in read_jsonl(folder / "results/demo/seed-1/predictions/dev.jsonl"))
    assert statuses.keys() <= {"ok", "repaired"}
    assert statuses["repaired"] < 0.1 * statuses.total()  # 8 of 120, as with the engines for CUDA 13
    check = json.loads((folder / "results/demo/seed-1/serving_check.json").read_text(encoding="utf-8"))
    assert check["health"] == 200


def test_the_environment_for_gpus_is_built_for_cuda_12(folder: Path) -> None:
    """Without a GPU this checks that it installs, imports and accepts the arguments of a GPU run."""
    done = snakemake(folder, paths.environment("predict-cuda"), "--cores", "1")
    assert done.returncode == 0, done.stdout
    settings = {"max_model_len": 1536, "max_num_seqs": 256, "enable_lora": True, "max_lora_rank": 16, "seed": 0}
    python = str(folder / paths.python("predict-cuda"))
    printed = run_in(folder, python, "-c", CUDA_PACKAGES, json.dumps({**settings, "generation_config": "vllm"}))
    assert printed.returncode == 0, printed.stdout
    assert printed.stdout.splitlines()[-1].split()[0] == "0.19.1"
    assert printed.stdout.split()[-1].startswith("12.")
