"""Render the texts of an exported run: the model card, and scripts that ask the model.

The card is Markdown with YAML front matter (https://huggingface.co/docs/hub/model-cards), which ModelScope also reads.
Its content comes from the run's manifest and scores. Needs jinja2 and PyYAML (the workflow's environment).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from entitune.engines.vllm_settings import fitting_rank
from entitune.run_manifest import RunManifest
from entitune.tsv import MICRO

TEXTS = ("README.md", "ask_transformers.py", "ask_vllm.py")
"""The files that are rendered. Each has a template in this folder."""

_TEMPLATES = Environment(
    loader=FileSystemLoader(Path(__file__).parent),
    autoescape=False,  # Markdown and Python, no HTML
    undefined=StrictUndefined,
    keep_trailing_newline=True,
    trim_blocks=True,
    lstrip_blocks=True,
)


@dataclass(frozen=True)
class Card:
    """The content of the texts: the run's manifest, its scores, and its numbers of sentences."""

    manifest: RunManifest
    scores: Sequence[Mapping[str, str]]
    """The rows of the run's score table, columns METRICS_COLUMNS."""
    training_rows: int
    scored_rows: int
    adapter: bool
    """Whether the folder has the adapter; otherwise it has the merged model."""

    @property
    def _config(self) -> Mapping[str, Any]:
        return self.manifest.config

    @property
    def title(self) -> str:
        """The model's name: base and corpus."""
        return f"{self._config['model']['name']} for entities of {self._config['dataset']['name']}"

    @property
    def base(self) -> str:
        """The base model's name on the hub, or its name in the study if it is not on a hub."""
        return str(self._config["model"].get("id", self._config["model"]["name"]))

    def front_matter(self) -> dict[str, Any]:
        """Return the card's metadata: https://github.com/huggingface/hub-docs/blob/main/modelcard.md."""
        model, dataset = self._config["model"], self._config["dataset"]["name"]
        on_hub = {"base_model": model["id"]} if "id" in model else {}
        metrics = [
            {"type": "f1", "name": f"micro F1, {row['scoring']}", "value": float(row["f1"])}
            for row in self.scores
            if row["label"] == MICRO
        ]
        scored = {"type": dataset, "name": dataset, "split": self.scores[0]["split"]}
        task = {"type": "token-classification", "name": "Named entity recognition"}
        return {
            "license": model["licence"].lower(),
            "language": ["zh"],
            "pipeline_tag": "text-generation",
            "library_name": "peft" if self.adapter else "transformers",
            **on_hub,
            "tags": ["named-entity-recognition", "chinese", "entitune", *(["lora"] if self.adapter else [])],
            "model-index": [
                {"name": self.title, "results": [{"task": task, "dataset": scored, "metrics": metrics}]},
            ],
        }

    def _score_cells(self) -> dict[str, list[str]]:
        """Return label -> precision, recall and F1 with its interval, for both scorings."""
        cells: dict[str, list[str]] = {}
        for row in self.scores:
            numbers = {key: f"{float(row[key]):.4f}" for key in ("precision", "recall", "f1", "f1_low", "f1_high")}
            f1 = f"{numbers['f1']} [{numbers['f1_low']}, {numbers['f1_high']}]"
            cells.setdefault(row["label"], []).extend([numbers["precision"], numbers["recall"], f1])
        return cells

    def _stages(self) -> list[dict[str, str]]:
        """Return the date, time and machine of each job."""
        return [
            {
                "name": name,
                "date": stage.date[:10],
                "seconds": f"{stage.wall_seconds:,.0f}",
                "machine": ", ".join(gpu.split(",")[0] for gpu in stage.hardware.gpus)
                or f"{stage.hardware.cores} cores ({stage.hardware.processor})",
            }
            for name, stage in self.manifest.stages.items()
        ]

    def render(self, name: str) -> str:
        """Return the text of one of TEXTS."""
        config, git = self._config, self.manifest.git
        model, train = config["model"], config["train"]
        archive = config["dataset"].get("archive")
        environments = [
            f"{environment}: {', '.join(f'{package} {version}' for package, version in packages.items())}"
            for environment, packages in self.manifest.engines.items()
        ]
        commit = f"commit {git.commit}{', modified' if git.modified else ''}; " if git.commit else ""
        rank = train["arguments"].get("lora_rank", 8)
        return _TEMPLATES.get_template(f"{name}.j2").render(
            front_matter=as_yaml(self.front_matter()),
            title=self.title,
            adapter=self.adapter,
            base=self.base,
            on_hub="id" in model,
            max_lora_rank=fitting_rank(rank) if self.adapter else None,
            revision=model["revision"],
            licence=model["licence"],
            dataset=config["dataset"]["name"],
            archive=f"{archive['revision']}, {', '.join(archive['urls'])}" if archive else "",
            training_rows=f"{self.training_rows:,}",
            scored_rows=f"{self.scored_rows:,}",
            split=self.scores[0]["split"],
            run=self.manifest.run,
            seed=self.manifest.seed,
            labels=[label["name"] for label in config["dataset"]["labels"]],
            answer_format=config["prompt"]["answer"],
            stages=self._stages(),
            engines="; ".join(environments),
            version=f"{commit}code {self.manifest.code_sha256[:16]}",
            scores=self._score_cells(),
            max_tokens=config["decode"]["max_tokens"],
            max_model_len=config["decode"]["max_model_len"],
            settings=as_yaml(train["arguments"]),
        )


def as_yaml(value: object) -> str:
    """Write a value as YAML, with keys in their order and without a final line end."""
    return str(yaml.safe_dump(value, sort_keys=False, allow_unicode=True, width=120)).rstrip("\n")
