"""Train a LoRA adapter with LLaMA-Factory on a rendered YAML, with live progress.

The same command resumes a killed training from its last intact checkpoint. A second training of the same run waits, or
is refused with a message that names the process of the first. If Snakemake ends, the training ends too.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import yaml

import run_llamafactory
from entitune.claims import Claim, claim
from entitune.cli import InputError, run
from entitune.engines.candidates import TRAINING_FILES, steps_in
from entitune.engines.checkpoints import DIVERGED, find_damage, find_not_finite
from entitune.engines.gpu import check_environment, environment_of, find_gpus, lacks_bfloat16
from entitune.files import write_jsonl
from entitune.job_records import recorded_job
from entitune.manifests import ModelManifest, check_model
from entitune.processes import Workflow, die_with_parent
from entitune.progress import Progress

OTHER_TRAININGS = ("USE_V1", "USE_MCA", "USE_KT", "USE_RAY", "ALLOW_EXTRA_ARGS", "LLAMABOARD_ENABLED")
"""Variables that switch LLaMA-Factory to code whose rows were not checked."""

ADAPTER = ("adapter_model.safetensors", "adapter_config.json")
RESULTS = (*ADAPTER, *TRAINING_FILES)


def drop_damaged_checkpoints(folder: Path, processes: int, needs_all: bool = False) -> None:
    """Remove checkpoints that a kill left unfinished, or whose files have changed since they were written.

    Args:
        folder: The trainer's output folder.
        processes: The number of training processes on all nodes.
        needs_all: Whether all checkpoints are needed, because the best one is chosen after training.
    """
    checkpoints = sorted(folder.glob("checkpoint-*"))
    damaged = {path: reason for path in checkpoints if (reason := find_damage(path, processes))}
    for path in checkpoints if damaged and needs_all else damaged:
        reason = damaged.get(path, "another checkpoint is damaged, and choosing the best one needs all checkpoints")
        shutil.rmtree(path)
        print(f"{path}: removed: {reason}", file=sys.stderr)


def cut_log(folder: Path) -> int:
    """Remove the lines of trainer_log.jsonl about steps after the last checkpoint, which will be made and logged again.

    Returns:
        The step that training resumes from, or 0 for the start.
    """
    step = max((int(path.name.rpartition("-")[2]) for path in folder.glob("checkpoint-*")), default=0)
    log = folder / "trainer_log.jsonl"
    if log.is_file():
        kept = []
        for line in log.read_text(encoding="utf-8", errors="replace").splitlines():
            # A kill may have left an unfinished line.
            with contextlib.suppress(ValueError, TypeError, KeyError, RecursionError):
                record = json.loads(line)
                if 0 < record["current_steps"] <= step:
                    kept.append(record)
        write_jsonl(log, kept)
    return step


def last_record(log: Path) -> dict[str, Any] | None:
    """Return the last complete line of trainer_log.jsonl, or None."""
    if not log.exists():
        return None
    for line in reversed(log.read_text(encoding="utf-8").splitlines()):
        with contextlib.suppress(json.JSONDecodeError):  # the last line may be incomplete
            record: dict[str, Any] = json.loads(line)
            return record
    return None


def show(progress: Progress, record: dict[str, Any]) -> None:
    """Show the progress of a training from a record of its log. The last record has no loss."""
    loss = f", loss {record['loss']:.4f}" if "loss" in record else ""
    step = f"step {record['current_steps']}/{record['total_steps']}"
    progress.show(record["percentage"], step + loss, record["remaining_time"])


def launcher(executable: str, processes: int, nodes: int) -> list[str]:
    """Return the command before LLaMA-Factory's arguments: the trainer for one process, torchrun for several.

    With several nodes, each node runs this script as a task of Slurm's srun. The task's environment has its number and
    the list of nodes.
    """
    torchrun, python = (str(Path(executable).with_name(name)) for name in ("torchrun", "python"))
    trainer = run_llamafactory.__file__
    if processes * nodes == 1:
        return [python, trainer]
    meeting = ["--standalone"]
    if nodes > 1:
        if "SLURM_STEP_NODELIST" not in os.environ:
            raise InputError(f"--nodes {nodes} needs Slurm's srun, with one task on each node")
        listed = subprocess.run(
            ["scontrol", "show", "hostnames", os.environ["SLURM_STEP_NODELIST"]],
            capture_output=True,
            text=True,
            check=True,
        )
        # All tasks of a job must use the same port, and other jobs on the node another one.
        port = 20000 + int(os.environ["SLURM_JOB_ID"]) % 10000
        meeting = [f"--nnodes={nodes}", f"--node-rank={os.environ['SLURM_PROCID']}"]
        meeting += [f"--master-addr={listed.stdout.split()[0]}", f"--master-port={port}"]
    worker = ["--no-python", "setpriv", "--pdeathsig", "KILL", python, trainer]  # ends workers with torchrun
    return [torchrun, *meeting, f"--nproc-per-node={processes}", *worker]


def trainer_environment(python: Path, threads: int) -> dict[str, str]:
    """Return the environment of a training process.

    Args:
        python: A program in the folder of the trainer's Python.
        threads: The CPU threads of the process.
    """
    return {
        **{name: value for name, value in os.environ.items() if name not in OTHER_TRAININGS},
        "PATH": f"{python.parent.absolute()}:{os.environ['PATH']}",
        "HF_HUB_OFFLINE": "1",
        "PYTHONHASHSEED": "0",  # fixes the order of target_modules in adapter_config.json
        "OMP_NUM_THREADS": str(max(1, threads)),
        "TOKENIZERS_PARALLELISM": "false",
    }


def train(
    config: Path,
    log: Path,
    command: list[str],
    processes: int,
    gpus: int,
    threads: int,
    title: str,
    held: Claim | None = None,
) -> None:
    """Run LLaMA-Factory until it ends.

    Args:
        config: The rendered YAML.
        log: The file for LLaMA-Factory's output.
        command: The command before LLaMA-Factory's arguments: `launcher`.
        processes: The training processes of this node.
        gpus: The GPUs of this node.
        threads: The CPU threads of all processes of this node.
        title: The start of progress lines.
        held: The claim on the trainer's folder, to touch while it runs.

    Raises:
        InputError: LLaMA-Factory failed, Snakemake has ended, or another process has taken over the claim `held`.
    """
    arguments = yaml.safe_load(config.read_text(encoding="utf-8"))
    overrides: list[str] = []
    environment = trainer_environment(Path(command[0]), threads // processes)
    if gpus:
        check_environment(Path(command[0]).parents[1])
        found = find_gpus()
        environment |= {**environment_of(gpus, found), "RECORD_VRAM": "1"}
        if arguments.get("bf16") and lacks_bfloat16(found):
            overrides = ["bf16=false", "fp16=true"]
            print(f"{title}: a GPU here does not support bfloat16; training in float16", file=sys.stderr)
    trainer_log, progress = Path(arguments["output_dir"]) / "trainer_log.jsonl", Progress(title, sys.stderr)
    workflow = Workflow()
    with log.open("w", encoding="utf-8") as stream:
        process = subprocess.Popen(
            [*command, str(config), *overrides],
            stdout=stream,
            stderr=subprocess.STDOUT,
            env=environment,
            preexec_fn=die_with_parent,  # an orphan would write into a resumed run's folder
        )
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
        try:
            while process.poll() is None:
                time.sleep(0.5)
                if held:
                    held.touch()
                if workflow.is_gone():
                    raise InputError(f"{title}: Snakemake has ended; the same command resumes this training")
                record = last_record(trainer_log)
                if record and "current_steps" in record:
                    show(progress, record)
        finally:
            if process.poll() is None:
                process.terminate()
                process.wait()
    if process.returncode:
        raise failure(log, process.returncode)


def failure(log: Path, returncode: int) -> InputError:
    """Return the error of a training that failed: the trainer's own message, or else the last lines of its log."""
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    if errors := [line.removeprefix("error: ") for line in lines if line.startswith("error: ")]:
        return InputError(errors[-1])
    tail = "\n".join(lines[-15:])
    return InputError(f"LLaMA-Factory ended with exit code {returncode}; the end of {log}:\n{tail}")


def check_results(working: Path) -> None:
    """Raise InputError if training wrote no adapter, or one with weights that are not finite."""
    if missing := [name for name in RESULTS if not (working / name).is_file()]:
        raise InputError(f"{working}: training did not write {', '.join(missing)}")
    check_weights(working / "adapter_model.safetensors")


def check_weights(weights: Path) -> None:
    """Raise InputError if weights are not finite."""
    if broken := find_not_finite(weights):
        raise InputError(
            f"{weights}: {len(broken)} tensors contain infinities or NaN, the first: {broken[0]}; {DIVERGED}"
        )


def keep_adapter(working: Path, output_dir: Path) -> None:
    """Copy the files of the finished adapter from the trainer's folder, each atomically."""
    output_dir.mkdir(parents=True, exist_ok=True)
    for name in RESULTS:
        shutil.copyfile(working / name, output_dir / f".{name}")
        os.replace(output_dir / f".{name}", output_dir / name)


def keep_candidates(working: Path, output_dir: Path) -> None:
    """Copy the adapter of each checkpoint, the log and the plot of the loss, and write their manifest last."""
    shutil.rmtree(output_dir, ignore_errors=True)  # candidates of an earlier training
    output_dir.mkdir(parents=True)
    for checkpoint in steps_in(working).values():
        check_weights(checkpoint / "adapter_model.safetensors")
        (output_dir / checkpoint.name).mkdir()
        for name in ADAPTER:
            shutil.copyfile(checkpoint / name, output_dir / checkpoint.name / name)
    for name in TRAINING_FILES:
        shutil.copyfile(working / name, output_dir / name)
    manifest = ModelManifest.of_folder(output_dir, model=str(working), source="train_adapter", revision=None)
    manifest.write(output_dir)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--config", type=Path, required=True, help="LLaMA-Factory YAML, rendered by render_config")
    parser.add_argument("--llamafactory", required=True, help="path of llamafactory-cli")
    parser.add_argument("--gpus", type=int, default=0, help="GPUs per node; 0: train on the CPU (default: 0)")
    parser.add_argument("--processes", type=int, help="training processes per node (default: one per GPU)")
    parser.add_argument("--nodes", type=int, default=1, help="nodes, each a task of Slurm's srun (default: 1)")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads of all processes of a node (default: 1)")
    parser.add_argument("--title", default="train", help="start of progress lines (default: %(default)s)")
    parser.add_argument("--log", type=Path, required=True, help="file for LLaMA-Factory's output")
    parser.add_argument("--record", type=Path, help="JSON: node, time and memory of the training (default: none)")
    parser.add_argument(
        "--candidates", action="store_true", help="keep the adapter of each checkpoint instead of only the last one"
    )
    parser.add_argument("--output-dir", type=Path, required=True, help="folder for the finished adapter or candidates")
    args = parser.parse_args()

    processes = args.processes or max(1, args.gpus)
    command = launcher(args.llamafactory, processes, args.nodes)
    args.log.parent.mkdir(parents=True, exist_ok=True)
    if args.nodes > 1 and os.environ["SLURM_PROCID"] != "0":  # only the first node handles the files
        log = args.log.with_suffix(f".{os.environ['SLURM_PROCID']}.log")
        train(args.config, log, command, processes, args.gpus, args.threads, args.title)
        return

    arguments = yaml.safe_load(args.config.read_text(encoding="utf-8"))
    check_model(Path(arguments["model_name_or_path"]))
    working, total = Path(arguments["output_dir"]), processes * args.nodes
    with claim(working.parent / "claim.json", f"{working.parent.parent} is being trained") as held:
        if working.exists():
            chooses = args.candidates or bool(arguments.get("load_best_model_at_end"))
            drop_damaged_checkpoints(working, total, chooses)
            if step := cut_log(working):
                print(f"{args.title}: resuming from {working}, step {step}", file=sys.stderr)
        with recorded_job(args.record, Path(command[0]).parents[1]):
            train(args.config, args.log, command, processes, args.gpus, args.threads, args.title, held)
        check_results(working)
        (keep_candidates if args.candidates else keep_adapter)(working, args.output_dir)
        for key in working.parent.glob("*/"):  # the checkpoints of this run and seed are no longer needed
            shutil.rmtree(key)
    with contextlib.suppress(OSError):  # the folder is not empty if another process has claimed it meanwhile
        working.parent.rmdir()


if __name__ == "__main__":
    run(main)
