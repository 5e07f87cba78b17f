"""Write the run table of the report as an HTML page: settings, scores, cost and provenance of each run and seed.

If a run has several seeds, a row with their mean and standard deviation follows them.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from entitune.charts import show_duration
from entitune.cli import run
from entitune.evaluation.seeds import Score, SeedMean, over_seeds, read_scores, show_mean
from entitune.html_pages import render, write_page
from entitune.run_manifest import RunManifest
from entitune.tsv import MICRO

SETTINGS = ("lora_rank", "learning_rate", "num_train_epochs")
TABLE = """\
<div class="wide"><table><tr>{% for column in columns %}<th>{{ column }}</th>{% endfor %}</tr>
{% for run in runs %}
<tr>{% for column in columns %}<td>{{ run.cells.get(column, "") }}</td>{% endfor %}</tr>
{% if loop.last or loop.nextitem.name != run.name %}
{% if run.name in means %}
<tr class="mean">{% for column in columns %}<td>{{ means[run.name].get(column, "") }}</td>{% endfor %}</tr>
{% endif %}
{% endif %}
{% endfor %}
</table></div>
<h2>Manifests: every setting, checksum and version</h2>
{% for run in runs %}
<details><summary>{{ run.name }}, seed {{ run.seed }}</summary><pre>{{ run.manifest }}</pre></details>
{% endfor %}
"""
STYLE = ".mean td {font-weight: bold; background: #f4f4f4}"


def gpu_hours(manifest: RunManifest) -> float:
    """Return the GPU hours of a run: the sum over its stages of hours times GPUs."""
    config = manifest.config
    held = {
        "train_adapter": config.get("train", {}).get("gpus", 0),
        "predict_shard": config.get("decode", {}).get("gpus", 0),
    }
    seconds = [cost.wall_seconds * held.get(stage.split(".")[0], 0) for stage, cost in manifest.stages.items()]
    return float(sum(seconds)) / 3600


def f1_column(score: Score | SeedMean, splits: int) -> str:
    """Return the name of a score's column, with the split if there are several splits."""
    return f"F1 ({score.split}, {score.scoring})" if splits > 1 else f"F1 ({score.scoring})"


def mean_rows(scores: Sequence[Score], splits: int) -> dict[str, dict[str, str]]:
    """Return run -> cells of the mean over seeds, for runs with several seeds."""
    rows: dict[str, dict[str, str]] = {}
    for mean in over_seeds(scores):
        if mean.f1_sd is not None:
            seeds = f"mean of {mean.seeds}"
            row = rows.setdefault(mean.run, {"run": mean.run, "seed": seeds, "dataset": mean.dataset})
            row[f1_column(mean, splits)] = show_mean(mean.f1, mean.f1_sd)
    return rows


def nodes(manifest: RunManifest) -> str:
    """Return the GPUs or processors that the run's jobs ran on."""
    found = [stage.hardware for stage in manifest.stages.values()]
    names = [", ".join(node.gpus) or f"{node.cores} cores of {node.processor}" for node in found]
    return "; ".join(dict.fromkeys(names))


def describe(manifest: RunManifest, f1: dict[str, str]) -> dict[str, str]:
    """Return the cells of one run and seed."""
    config = manifest.config
    match config["kind"]:
        case "tuned":
            train = config["train"]
            arguments = train["arguments"] | train["overrides"]
            chosen = ", ".join(f"{key} {arguments[key]}" for key in SETTINGS if key in arguments)
            training = f"{train['name']}: {chosen}"
            if manifest.checkpoint:
                training += f", the adapter of step {manifest.checkpoint.step}"
        case "vote":
            training = f"vote of {config['vote_of']}"
        case "crf":
            training = "CRF"
        case "imported":
            training = f"predictions of {config['imported']['system']}"
        case _:
            training = "none"
    commit = (manifest.git.commit or "unknown")[:8] + (" and changes" if manifest.git.modified else "")
    prompt = config.get("prompt", {"name": "", "shots": 0})
    shots = f", {prompt['shots']} examples" if prompt["shots"] else ""
    model = f"{config['model']['name']} at {config['model']['revision']}" if "model" in config else ""
    left_out = "; ".join(map(str, manifest.left_out))
    return {
        "run": manifest.run,
        "seed": str(manifest.seed),
        **f1,
        **({"left out of the data": left_out} if left_out else {}),
        "dataset": manifest.dataset,
        "model": model,
        "prompt": prompt["name"] + shots,
        "training": training,
        "decode": config["decode"]["name"] if "decode" in config else "",
        "wall time": show_duration(manifest.wall_seconds),
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

    micro = [score for score in read_scores(args.metrics) if score.label == MICRO]
    splits = len({score.split for score in micro})
    runs = []
    for path in args.manifests:
        manifest = RunManifest.read(path)
        f1 = {
            f1_column(score, splits): f"{score.f1:.4f} ({score.f1_low:.3f} to {score.f1_high:.3f})"
            for score in micro
            if (score.run, score.seed) == (manifest.run, manifest.seed)
        }
        text = path.read_text(encoding="utf-8")
        runs.append({"cells": describe(manifest, f1), "name": manifest.run, "seed": manifest.seed, "manifest": text})
    columns = list(dict.fromkeys(column for one in runs for column in one["cells"]))
    table = render(TABLE, runs=runs, columns=columns, means=mean_rows(micro, splits))
    write_page("Runs", table, args.output, STYLE)


if __name__ == "__main__":
    run(main)
