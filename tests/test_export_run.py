"""A finished run as a self-contained folder: outside the repository, it gives the answers of the run.

`pytest -rP` lists the answers that differ in float32.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from helpers import Result, python_of, read_jsonl, read_tsv, run_in, run_script

from entitune.engines.vllm_settings import engine_environment

SENTENCES = 20


def export(demo: Path, *arguments: object) -> Result:
    return run_script("export_run", "--run", "demo", *arguments, cwd=demo)


@pytest.fixture(scope="module")
def folders(demo: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Export the run in both forms: form -> folder."""
    target = tmp_path_factory.mktemp("published")
    merged = export(demo, "--output-dir", target / "merged")  # the embedded base is on no hub
    adapter = export(demo, "--form", "adapter", "--output-dir", target / "adapter")
    assert (merged.returncode, adapter.returncode) == (0, 0), merged.stderr + adapter.stderr
    return {"merged": target / "merged", "adapter": target / "adapter"}


def answers(demo: Path) -> dict[str, str]:
    """Return sentence -> the run's raw answer, for the first sentences of its dev split."""
    predicted = read_jsonl(demo / "results" / "demo" / "seed-1" / "predictions" / "dev.jsonl")[:SENTENCES]
    return {prediction["text"]: prediction["raw"] for prediction in predicted}


def differences(demo: Path, folder: Path, script: str, python: Path, *options: str) -> list[tuple[str, str, str]]:
    """Run one of an exported model's scripts; return sentence, the run's answer and this answer where they differ."""
    expected, asked, answered = answers(demo), folder / "sentences.txt", folder / "answers.jsonl"
    asked.write_text("".join(f"{sentence}\n" for sentence in expected), encoding="utf-8")
    environment = {**os.environ, **engine_environment(0, 1)}
    environment.pop("PYTHONPATH", None)
    command = [str(python), script, asked.name, answered.name, *options]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found = {record["text"]: record["answer"] for record in read_jsonl(answered)}
    assert list(found) == list(expected)
    return [(text, raw, found[text]) for text, raw in expected.items() if found[text] != raw]


@pytest.mark.parametrize("form", ["merged", "adapter"])
def test_all_files_have_their_checksums(folders: dict[str, Path], form: str) -> None:
    done = run_in(folders[form], "sha256sum", "--check", "--strict", "SHA256SUMS")
    assert done.returncode == 0, done.stdout
    listed = {line.split("  ")[1] for line in (folders[form] / "SHA256SUMS").read_text().splitlines()}
    assert listed >= {"README.md", "prompt.json", "run.json", "ask_vllm.py", "ask_transformers.py"}
    assert ("adapter_model.safetensors" in listed, "model.safetensors" in listed) == (
        form == "adapter",
        form == "merged",
    )


def test_the_card_has_the_metadata_of_hubs_and_the_runs_scores(demo: Path, folders: dict[str, Path]) -> None:
    _, metadata, text = (folders["merged"] / "README.md").read_text(encoding="utf-8").split("---\n", 2)
    read: dict[str, Any] = yaml.safe_load(metadata)
    assert (read["license"], read["library_name"], read["language"]) == ("apache-2.0", "transformers", ["zh"])
    assert "base_model" not in read  # it is on no hub
    micro = [row for row in read_tsv(demo / "results/demo/seed-1/scores/dev.tsv") if row["label"] == "micro"]
    metrics = read["model-index"][0]["results"][0]["metrics"]
    assert [metric["value"] for metric in metrics] == [float(row["f1"]) for row in micro]
    assert f"{float(micro[0]['f1']):.4f} [{float(micro[0]['f1_low']):.4f}, " in text
    assert "| training data | `demo`, 640 sentences |" in text
    assert "lora_rank: 64" in text


def test_vllm_gives_the_answers_of_the_run(demo: Path, folders: dict[str, Path]) -> None:
    assert differences(demo, folders["merged"], "ask_vllm.py", python_of("predict-cpu"), "--enforce-eager") == []


def test_transformers_gives_the_answers_of_the_run_except_for_rounding(demo: Path, folders: dict[str, Path]) -> None:
    """The run used bfloat16. In float32 a few answers of the merged model and of the adapter differ."""
    base = ["--base", str(demo / "results" / "models" / "entitune-tiny")]
    found = {
        form: differences(
            demo, folder, "ask_transformers.py", python_of("train"), "--dtype", "float32", *(base * (form == "adapter"))
        )
        for form, folder in folders.items()
    }
    listed = "\n".join(
        f"{form}: {text}\n  run: {raw}\n  now: {now}" for form in found for text, raw, now in found[form]
    )
    print(listed)
    assert max(map(len, found.values())) <= SENTENCES // 5, listed


def test_a_changed_run_is_refused(demo: Path, tmp_path: Path) -> None:
    scores = demo / "results" / "demo" / "seed-1" / "scores" / "dev.tsv"
    kept = shutil.copy2(scores, tmp_path)
    try:
        scores.write_text(scores.read_text(encoding="utf-8").replace("0.", "0.9", 1), encoding="utf-8")
        done = export(demo, "--output-dir", tmp_path / "out")
    finally:
        shutil.copy2(kept, scores)
    assert done.returncode == 1
    assert "scores/dev.tsv has changed since results/demo/seed-1/manifest.json was written" in done.stderr
    assert not (tmp_path / "out").exists()


def test_runs_without_a_model_and_folders_that_exist_are_refused(demo: Path, tmp_path: Path) -> None:
    done = export(demo, "--output-dir", tmp_path)
    assert done.returncode == 1
    assert f"{tmp_path} exists" in done.stderr
    done = run_script("export_run", "--run", "demo-zeroshot", "--output-dir", tmp_path / "out", cwd=demo)
    assert done.returncode == 1
    assert "run demo-zeroshot is of kind base: it has no trained model to export" in done.stderr
