"""The texts of an exported adapter whose base is on a hub; tests/test_export_run.py exports a run."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import yaml
from run_manifests import run_manifest, stage

from entitune.publishing.card import TEXTS, Card
from entitune.run_manifest import RunManifest
from entitune.tsv import METRICS_COLUMNS

LABELS = ("name", "company", "micro", "macro")


def scores() -> list[dict[str, str]]:
    common = {"run": "r", "seed": "1", "dataset": "news", "split": "dev"}
    rows = [{**common, "scoring": scoring, "label": label} for scoring in ("pairs", "spans") for label in LABELS]
    return [{**dict.fromkeys(METRICS_COLUMNS, "0.500000"), **row} for row in rows]


def card(**model: Any) -> Card:
    """The card of an adapter; keys of the model's entry that are None are left out."""
    entry = {"name": "qwen", "id": "Qwen/Qwen3-4B", "revision": "master", "licence": "Apache-2.0", **model}
    archive = {"revision": "2020", "urls": ["https://example.org/news.zip"]}
    config = {
        "run": "r",
        "kind": "tuned",
        "seed": 1,
        "model": {key: value for key, value in entry.items() if value is not None},
        "dataset": {"name": "news", "labels": [{"name": "name"}, {"name": "company"}], "archive": archive},
        "prompt": {"answer": "json"},
        "decode": {"max_tokens": 512, "max_model_len": 1536},
        "train": {"arguments": {"lora_rank": 24, "learning_rate": 1.0e-4}},
    }
    training = stage(3600.0)
    training["hardware"]["gpus"] = ["NVIDIA L4, 23034 MiB, 580.65"]
    manifest = RunManifest.model_validate(
        run_manifest(config=config, engines={"train": {"torch": "2.13.0"}}, stages={"train_adapter": training})
    )
    return Card(manifest, scores(), training_rows=1234, scored_rows=100, adapter=True)


def test_an_adapter_has_the_hubs_name_of_its_base() -> None:
    text = card().render("README.md")
    metadata = yaml.safe_load(text.split("---\n")[1])
    assert (metadata["base_model"], metadata["library_name"]) == ("Qwen/Qwen3-4B", "peft")
    assert "| training data | `news`, 1,234 sentences; 2020, https://example.org/news.zip |" in text
    assert "| train_adapter | 2026-01-02, 3,600 s on NVIDIA L4 |" in text
    assert "| micro | 0.5000 | 0.5000 | 0.5000 [0.5000, 0.5000] | 0.5000 |" in text
    assert "not on a model hub" not in text
    assert "not on a model hub. Give its folder with `--base FOLDER`" in card(id=None).render("README.md")


def test_the_scripts_load_the_adapter_on_its_base() -> None:
    asked = {name: card().render(name) for name in TEXTS[1:]}
    for name, text in asked.items():
        compile(text, name, "exec")
        assert 'default="Qwen/Qwen3-4B"' in text
    assert "max_lora_rank=32," in asked["ask_vllm.py"]  # vLLM does not accept 24
    assert "PeftModel.from_pretrained(model, FOLDER)" in asked["ask_transformers.py"]


def test_a_merged_model_has_no_limit_of_the_rank() -> None:
    whole = card()
    whole.manifest.config["train"]["arguments"]["lora_rank"] = 1024  # vLLM serves adapters up to 512
    assert "max_lora_rank" not in replace(whole, adapter=False).render("ask_vllm.py")


@pytest.mark.parametrize("name", TEXTS)
def test_texts_end_with_one_line_end_and_have_no_blank_gaps(name: str) -> None:
    text = card().render(name)
    assert text.endswith("\n")
    assert not text.endswith("\n\n")
    assert "\n\n\n\n" not in text
