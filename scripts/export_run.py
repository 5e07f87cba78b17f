"""Export a finished run as a self-contained folder, to publish or to share.

    python scripts/export_run.py --run demo --output-dir published/demo

The folder has the model: the adapter if its base model is on a model hub, else both merged. It also has the prompt, a
model card with scores, data, licence and settings, scripts that ask the model with vLLM and with transformers, and
checksums. All files are first compared with the run's manifest; a run whose files have changed is refused.
docs/publishing.md describes the upload.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any

from entitune import paths
from entitune.cli import InputError, run
from entitune.files import atomic_write, read_json, sha256, write_json
from entitune.manifests import MANIFEST
from entitune.prompting.prompt import Prompt
from entitune.publishing.card import TEXTS, Card
from entitune.run_manifest import RunManifest
from entitune.runs import TunedRun
from entitune.study import Study, read_study
from entitune.tsv import METRICS_COLUMNS, read_tsv
from entitune.verification import run_problems

SPLIT = "dev"
CHECKSUMS = "SHA256SUMS"


def tuned_run(study: Study, name: str, seed: int) -> TunedRun:
    """Return the run of that name and seed. Raises InputError if it does not train, or if its files have changed."""
    found = study.run_with_seed(name, seed)
    if not isinstance(found, TunedRun):
        raise InputError(f"run {name} is of kind {found.kind}: it has no trained model to export")
    if problems := run_problems(study, found, seed):
        manifest = found.files(seed).manifest
        advice = f"make the files again with: snakemake {manifest} --cores all"
        raise InputError("\n".join([*problems, advice]))
    return found


def copy_adapter(run: TunedRun, seed: int, folder: Path) -> None:
    """Copy the adapter. The copied configuration names the base model as its hub does."""
    shutil.copyfile(run.files(seed).adapter(), folder / "adapter_model.safetensors")
    config = read_json(run.files(seed).adapter("adapter_config.json"))
    write_json(folder / "adapter_config.json", {**config, "base_model_name_or_path": run.model.id or run.model.name})


def copy_merged(run: TunedRun, seed: int, folder: Path) -> None:
    """Copy the merged model. Merge it first if the run serves its adapter as a LoRA module."""
    merged = Path(run.files(seed).merged).parent
    if not run.merges:
        merged = folder / "merged"
        command = [paths.python("train"), str(Path(__file__).with_name("merge_adapter.py"))]
        command += ["--model", str(Path(paths.model(run.model.name)).parent)]
        command += ["--adapter", str(Path(run.files(seed).adapter()).parent), "--output-dir", str(merged)]
        subprocess.run(command, check=True)
    shutil.copytree(merged, folder, dirs_exist_ok=True, ignore=shutil.ignore_patterns(MANIFEST))
    if not run.merges:
        shutil.rmtree(merged)


def prompt_settings(run: TunedRun) -> dict[str, Any]:
    """Return the content of prompt.json: how to ask the model."""
    prompt = Prompt.from_row(read_json(run.data.alpaca(SPLIT))[0])
    messages = [{"role": "system", "content": prompt.system}] if prompt.system else []
    for user, assistant in prompt.examples:
        messages += [{"role": "user", "content": user}, {"role": "assistant", "content": assistant}]
    return {
        "messages": messages,
        "user": prompt.user,
        "labels": {label.name: label.description for label in run.dataset.labels},
        "answer": run.prompt.answer,
        "chat_template_arguments": run.model.chat.template_arguments,
        "max_tokens": run.decode.max_tokens,
        "max_model_len": run.decode.max_model_len,
    }


def export(run: TunedRun, seed: int, adapter: bool, folder: Path) -> None:
    """Write all files of the export into an empty folder, the checksums last."""
    files = run.files(seed)
    (copy_adapter if adapter else copy_merged)(run, seed, folder)
    write_json(folder / "prompt.json", prompt_settings(run))
    shutil.copyfile(files.manifest, folder / "run.json")
    card = Card(
        manifest=RunManifest.read(files.manifest),
        scores=read_tsv(files.scores(SPLIT), METRICS_COLUMNS),
        training_rows=len(read_json(run.training_rows(seed))),
        scored_rows=len(read_json(run.whole.alpaca(SPLIT))),
        adapter=adapter,
    )
    for name in TEXTS:
        (folder / name).write_text(card.render(name), encoding="utf-8")
    names = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    with atomic_write(folder / CHECKSUMS) as stream:
        stream.writelines(f"{sha256(folder / name)}  {name}\n" for name in names)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", required=True, help="a finished run of conf/runs.tsv that trains")
    parser.add_argument("--seed", type=int, help="seed of the run (default: its first)")
    parser.add_argument(
        "--form",
        choices=["adapter", "merged"],
        help="what to export (default: adapter if the base model is on a model hub, else merged)",
    )
    parser.add_argument("--output-dir", type=Path, required=True, help="folder to create; it must not exist")
    args = parser.parse_args()

    study, target = read_study(), args.output_dir
    seed = study.run(args.run).seeds[0] if args.seed is None else args.seed
    if target.exists():
        raise InputError(f"{target} exists; choose another --output-dir, or remove it")
    found = tuned_run(study, args.run, seed)
    adapter = args.form == "adapter" if args.form else found.model.source == "modelscope"
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{target.name}.") as temporary:
        folder = Path(temporary, target.name)
        folder.mkdir()
        export(found, seed, adapter, folder)
        os.replace(folder, target)
    form = "adapter" if adapter else "merged model"
    print(f"{target}: the {form} of run {found.name}, seed {seed}; read {target}/README.md")


if __name__ == "__main__":
    run(main)
