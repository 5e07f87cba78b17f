"""Write the run table of the report: settings, scores, cost and provenance of each run and seed, as an HTML page."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from entitune.charts import read_table
from entitune.cli import run
from entitune.files import read_json
from entitune.html_pages import render, write_page

SETTINGS = ("lora_rank", "learning_rate", "num_train_epochs")
TABLE = """\
<div class="wide"><table><tr>{% for column in runs[0].cells %}<th>{{ column }}</th>{% endfor %}</tr>
{% for run in runs %}
<tr>{% for cell in run.cells.values() %}<td>{{ cell }}</td>{% endfor %}</tr>
{% endfor %}
</table></div>
<h2>Manifests: every setting, checksum and version</h2>
{% for run in runs %}
<details><summary>{{ run.name }}, seed {{ run.seed }}</summary><pre>{{ run.manifest }}</pre></details>
{% endfor %}
"""


def gpu_hours(manifest: dict[str, Any]) -> float:
    """Hours of each stage times the GPUs that it held."""
    config = manifest["config"]
    held = {"train_adapter": (config["train"] or {}).get("gpus", 0), "predict_shard": config["decode"]["gpus"]}
    seconds = [cost["wall_seconds"] * held.get(stage.split(".")[0], 0) for stage, cost in manifest["stages"].items()]
    return float(sum(seconds)) / 3600


def describe(manifest: dict[str, Any], f1: dict[str, str]) -> dict[str, str]:
    """The cells of one run and seed."""
    config = manifest["config"]
    train = config["train"]
    if train:
        arguments = train["arguments"] | train["overrides"]
        chosen = ", ".join(f"{key} {arguments[key]}" for key in SETTINGS if key in arguments)
        training = f"{train['name']}: {chosen}"
    else:
        training = f"vote of {config['vote_of']}" if config["vote_of"] else "none"
    commit = (manifest["git"]["commit"] or "unknown")[:8] + (" and changes" if manifest["git"]["modified"] else "")
    hardware = manifest["hardware"]
    shots = f", {config['prompt']['shots']} examples" if config["prompt"]["shots"] else ""
    return {
        "run": config["run"],
        "seed": str(config["seed"]),
        **{f"F1 ({scoring})": value for scoring, value in f1.items()},
        "dataset": config["dataset"]["name"],
        "model": f"{config['model']['name']} at {config['model']['revision']}",
        "prompt": config["prompt"]["name"] + shots,
        "training": training,
        "decode": config["decode"]["name"],
        "wall time": f"{sum(cost['wall_seconds'] for cost in manifest['stages'].values()) / 60:.1f} min",
        "GPU-hours": f"{gpu_hours(manifest):.2f}",
        "hardware": ", ".join(hardware["gpus"]) or f"{hardware['cores']} cores of {hardware['processor']}",
        "commit": commit,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--manifests", type=Path, nargs="+", required=True, help="manifest.json of each run and seed")
    parser.add_argument("--metrics", required=True, help="results/metrics.tsv")
    parser.add_argument("--output", required=True, help="HTML")
    args = parser.parse_args()

    metrics = read_table(args.metrics)
    micro = metrics[metrics.label == "micro"]
    runs = []
    for path in args.manifests:
        manifest = read_json(path)
        name, seed = manifest["config"]["run"], manifest["config"]["seed"]
        own = micro[(micro.run == name) & (micro.seed == seed)]
        f1 = {row.scoring: f"{row.f1:.4f} ({row.f1_low:.3f} to {row.f1_high:.3f})" for row in own.itertuples()}
        text = json.dumps(manifest, ensure_ascii=False, indent=1)
        runs.append({"cells": describe(manifest, f1), "name": name, "seed": seed, "manifest": text})
    write_page("Runs", render(TABLE, runs=runs), args.output)


if __name__ == "__main__":
    run(main)
