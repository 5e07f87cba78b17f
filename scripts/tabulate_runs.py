"""Write the run table of the report: settings, scores, cost and provenance of each run and seed, as an HTML page."""

from __future__ import annotations

import argparse
import html
import json
from pathlib import Path
from typing import Any

from entitune.charts import read_table
from entitune.cli import run
from entitune.html_pages import write_page

SETTINGS = ("lora_rank", "learning_rate", "num_train_epochs")


def gpu_hours(manifest: dict[str, Any]) -> float:
    """Hours of each stage times the GPUs that it held."""
    config = manifest["config"]
    held = {"train_adapter": (config["train"] or {}).get("gpus", 0), "predict_shard": config["decode"]["gpus"]}
    seconds = (cost["wall_seconds"] * held.get(stage.split(".")[0], 0) for stage, cost in manifest["stages"].items())
    return sum(seconds) / 3600


def nodes(manifest: dict[str, Any]) -> str:
    """The GPUs or processors that the run's jobs ran on."""
    found = [stage["hardware"] for stage in manifest["stages"].values()]
    names = [", ".join(node["gpus"]) or f"{node['cores']} cores of {node['processor']}" for node in found]
    return "; ".join(dict.fromkeys(names))


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
        "hardware": nodes(manifest),
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
    rows, details = [], []
    for path in args.manifests:
        manifest = json.loads(path.read_text(encoding="utf-8"))
        name, seed = manifest["config"]["run"], manifest["config"]["seed"]
        own = micro[(micro.run == name) & (micro.seed == seed)]
        f1 = {row.scoring: f"{row.f1:.4f} ({row.f1_low:.3f} to {row.f1_high:.3f})" for row in own.itertuples()}
        rows.append(describe(manifest, f1))
        text = html.escape(json.dumps(manifest, ensure_ascii=False, indent=1))
        details.append(f"<details><summary>{html.escape(name)}, seed {seed}</summary><pre>{text}</pre></details>")
    header = "".join(f"<th>{html.escape(column)}</th>" for column in rows[0])
    body = "\n".join(
        "<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in row.values()) + "</tr>" for row in rows
    )
    table = f'<div class="wide"><table><tr>{header}</tr>\n{body}</table></div>'
    provenance = "<h2>Manifests: every setting, checksum and version</h2>\n" + "\n".join(details)
    write_page("Runs", f"{table}\n{provenance}", args.output)


if __name__ == "__main__":
    run(main)
