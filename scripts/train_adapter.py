"""Train a LoRA adapter: `llamafactory-cli train` on a rendered YAML, with live progress.

A training that was killed goes on from its last whole checkpoint when the same command is given again.
"""

from __future__ import annotations

import argparse
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

from entitune.cli import InputError, run
from entitune.engines.gpu import environment_of, find_gpus, lacks_bfloat16
from entitune.job_records import recorded_job
from entitune.processes import die_with_parent
from entitune.progress import Progress

RESULTS = ("adapter_model.safetensors", "adapter_config.json", "trainer_log.jsonl", "training_loss.png")


def drop_partial_checkpoints(folder: Path) -> None:
    """Remove checkpoints that a kill left unfinished: the Trainer writes trainer_state.json last."""
    for checkpoint in folder.glob("checkpoint-*"):
        try:
            json.loads((checkpoint / "trainer_state.json").read_text(encoding="utf-8"))
        except (OSError, json.JSONDecodeError):
            shutil.rmtree(checkpoint)
            print(f"{checkpoint} is not whole: removed", file=sys.stderr)


def last_record(log: Path) -> dict[str, Any] | None:
    """The newest whole line of trainer_log.jsonl."""
    if not log.exists():
        return None
    for line in reversed(log.read_text(encoding="utf-8").splitlines()):
        try:
            record: dict[str, Any] = json.loads(line)
        except json.JSONDecodeError:
            continue  # the line that is being written
        return record
    return None


def show(progress: Progress, record: dict[str, Any]) -> None:
    """Say how far the training is, from a record of its log; the last one has no loss."""
    loss = f", loss {record['loss']:.4f}" if "loss" in record else ""
    step = f"step {record['current_steps']}/{record['total_steps']}"
    progress.show(record["percentage"], step + loss, record["remaining_time"])


def launcher(executable: str, processes: int, nodes: int) -> list[str]:
    """The command before LLaMA-Factory's arguments: its own for one process, torchrun for several.

    Of several nodes this is one, a task of Slurm's srun, whose environment says which and where the first one is.
    """
    if processes * nodes == 1:
        return [executable, "train"]
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
        # Known to every task of the job, and another than that of a job beside it.
        port = 20000 + int(os.environ["SLURM_JOB_ID"]) % 10000
        meeting = [f"--nnodes={nodes}", f"--node-rank={os.environ['SLURM_PROCID']}"]
        meeting += [f"--master-addr={listed.stdout.split()[0]}", f"--master-port={port}"]
    torchrun, python = (str(Path(executable).with_name(name)) for name in ("torchrun", "python"))
    # Not through llamafactory-cli, which torchrun would outlive; and the workers are to go with torchrun.
    worker = ["--no-python", "setpriv", "--pdeathsig", "KILL", python, "-m", "llamafactory.launcher"]
    return [torchrun, *meeting, f"--nproc-per-node={processes}", *worker]


def train(config: Path, log: Path, command: list[str], processes: int, gpus: int, threads: int, title: str) -> None:
    """Run LLaMA-Factory to its end. Raises InputError with the log's last lines where it fails."""
    arguments = yaml.safe_load(config.read_text(encoding="utf-8"))
    overrides: list[str] = []
    environment = {
        **os.environ,
        "PATH": f"{Path(command[0]).parent.absolute()}:{os.environ['PATH']}",  # torchrun, where more GPUs are in sight
        "HF_HUB_OFFLINE": "1",
        "PYTHONHASHSEED": "0",  # decides the order of target_modules in adapter_config.json
        "OMP_NUM_THREADS": str(max(1, threads // processes)),
        "TOKENIZERS_PARALLELISM": "false",
    }
    if gpus:
        found = find_gpus()
        environment |= {**environment_of(gpus, found), "RECORD_VRAM": "1"}
        if arguments.get("bf16") and lacks_bfloat16(found):
            overrides = ["bf16=false", "fp16=true"]
            print(f"{title}: a GPU here has no bfloat16: training in float16", file=sys.stderr)
    trainer_log, progress = Path(arguments["output_dir"]) / "trainer_log.jsonl", Progress(title, sys.stderr)
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
                record = last_record(trainer_log)
                if record and "current_steps" in record:
                    show(progress, record)
        finally:
            if process.poll() is None:
                process.terminate()
                process.wait()
    if process.returncode:
        tail = "\n".join(log.read_text(encoding="utf-8", errors="replace").splitlines()[-15:])
        raise InputError(f"llamafactory-cli ended with exit code {process.returncode}; the end of {log}:\n{tail}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--config", type=Path, required=True, help="LLaMA-Factory YAML, rendered by render_config")
    parser.add_argument("--llamafactory", required=True, help="path of llamafactory-cli")
    parser.add_argument("--gpus", type=int, default=0, help="GPUs of each node to train on, 0: the CPU (default: 0)")
    parser.add_argument("--processes", type=int, help="training processes of each node (default: one a GPU)")
    parser.add_argument("--nodes", type=int, default=1, help="nodes, each a task of Slurm's srun (default: 1)")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads in all (default: 1)")
    parser.add_argument("--title", default="train", help="what progress lines begin with")
    parser.add_argument("--log", type=Path, required=True, help="LLaMA-Factory's own output")
    parser.add_argument("--record", type=Path, help="JSON: node, time and memory of the training (default: none)")
    parser.add_argument("--output-dir", type=Path, required=True, help="folder of the finished adapter")
    args = parser.parse_args()

    processes = args.processes or max(1, args.gpus)
    command = launcher(args.llamafactory, processes, args.nodes)
    args.log.parent.mkdir(parents=True, exist_ok=True)
    if args.nodes > 1 and os.environ["SLURM_PROCID"] != "0":  # the first node has the files
        log = args.log.with_suffix(f".{os.environ['SLURM_PROCID']}.log")
        train(args.config, log, command, processes, args.gpus, args.threads, args.title)
        return

    working = Path(yaml.safe_load(args.config.read_text(encoding="utf-8"))["output_dir"])
    if working.exists():
        drop_partial_checkpoints(working)
        if list(working.glob("checkpoint-*")):
            print(f"{args.title}: resuming from {working}", file=sys.stderr)
    with recorded_job(args.record):
        train(args.config, args.log, command, processes, args.gpus, args.threads, args.title)
    if missing := [name for name in RESULTS if not (working / name).is_file()]:
        raise InputError(f"{working}: training left no {', '.join(missing)}; a recipe needs plot_loss: true")

    args.output_dir.mkdir(parents=True, exist_ok=True)
    for name in RESULTS:
        shutil.copyfile(working / name, args.output_dir / f".{name}")
        os.replace(args.output_dir / f".{name}", args.output_dir / name)
    shutil.rmtree(working.parent)  # checkpoints of this run and seed: the adapter stands for them now


if __name__ == "__main__":
    run(main)
