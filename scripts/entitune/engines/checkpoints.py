"""The files of a trainer: checkpoints, which must be complete to resume from, and weights, which must be finite."""

from __future__ import annotations

import json
import os
import struct
import zipfile
from pathlib import Path

import numpy as np

from entitune.files import sha256, write_json

DIVERGED = (
    "the training diverged: lower learning_rate (or loraplus_lr_ratio), keep max_grad_norm at 1.0, use bf16 instead of "
    "fp16, or look for a row that is not a sentence"
)
"""The advice for numbers that are not finite."""

CHECKSUMS = "checksums.json"
STATE = "trainer_state.json"
PARTIAL_STATE = f".{STATE}"
NEEDED = (
    "adapter_model.safetensors",
    "adapter_config.json",
    "optimizer.pt",
    "scheduler.pt",
    "training_args.bin",
    STATE,
)
"""The files that resuming needs, in addition to each process's random state."""


def is_of_another_process(name: str) -> bool:
    """Return whether a file is written by a training process other than the first one, which may do so later."""
    return name.startswith("rng_state_") and name != "rng_state_0.pth"


def finish(folder: Path) -> None:
    """Complete a checkpoint: write the checksums of its files, then rename the trainer's state to its final name.

    Args:
        folder: The checkpoint, whose state is in `PARTIAL_STATE`.
    """
    files = {path.name: path for path in folder.iterdir() if path.is_file() and not path.name.startswith(".")}
    files[STATE] = folder / PARTIAL_STATE
    write_json(
        folder / CHECKSUMS, {name: sha256(path) for name, path in files.items() if not is_of_another_process(name)}
    )
    os.replace(folder / PARTIAL_STATE, folder / STATE)


def find_damage(folder: Path, processes: int) -> str | None:
    """Return why training cannot resume from a checkpoint, or None if the checkpoint is intact.

    Args:
        folder: The checkpoint.
        processes: The number of training processes on all nodes. Each has a file with its random state.
    """
    try:
        checksums = json.loads((folder / CHECKSUMS).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return "it is incomplete"
    if not isinstance(checksums, dict):
        return f"{CHECKSUMS} is damaged"
    random_states = ["rng_state.pth"] if processes == 1 else [f"rng_state_{rank}.pth" for rank in range(processes)]
    for name in sorted({*NEEDED, *random_states, *checksums}):
        path = folder / name
        if not path.is_file():
            return f"{name} is missing"
        if name in checksums:
            if sha256(path) != checksums[name]:
                return f"{name} has changed since it was written"
        elif not is_of_another_process(name):
            return f"{name} has no checksum"
        elif not _is_intact_archive(path):
            return f"{name} is damaged"
    return None


def _is_intact_archive(path: Path) -> bool:
    """Return whether a file of torch.save is intact. It is a zip archive with a checksum of each part."""
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.testzip() is None
    except (OSError, zipfile.BadZipFile):
        return False


_EXPONENT = {
    "F64": (np.uint64, 0x7FF0 << 48),
    "F32": (np.uint32, 0x7F80 << 16),
    "F16": (np.uint16, 0x7C00),
    "BF16": (np.uint16, 0x7F80),
}
"""Type in safetensors -> its width, and the bits of the exponent, which are all set in infinities and NaN."""


def find_not_finite(path: Path) -> list[str]:
    """Return the names of the tensors in a safetensors file that contain an infinity or NaN.

    Raises:
        ValueError: The file is not safetensors, or is truncated.
    """
    found = []
    with path.open("rb") as stream:
        try:
            (length,) = struct.unpack("<Q", stream.read(8))
            header = json.loads(stream.read(length))
        except (struct.error, ValueError, MemoryError, OverflowError) as error:
            raise ValueError(f"{path}: not a safetensors file ({error})") from None
        for name, tensor in header.items():
            if name == "__metadata__" or tensor["dtype"] not in _EXPONENT:
                continue
            begin, end = tensor["data_offsets"]
            stream.seek(8 + length + begin)
            data = stream.read(end - begin)
            if len(data) != end - begin:
                raise ValueError(f"{path}: truncated within tensor {name}")
            width, exponent = _EXPONENT[tensor["dtype"]]
            if np.any(np.frombuffer(data, width) & width(exponent) == width(exponent)):
                found.append(name)
    return found
