"""The settings of vLLM, for a batch of prompts and for a server."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NotRequired, TypedDict, TypeVar

from entitune.cli import InputError
from entitune.engines.gpu import check_environment, environment_of, find_gpus, lacks_bfloat16
from entitune.files import read_json

T = TypeVar("T")


class EngineSettings(TypedDict):
    """The decode settings that answers depend on; docs/configuration.md explains them (conf/decode.yaml)."""

    max_tokens: int
    max_model_len: int
    max_num_seqs: int
    dtype: Literal["auto", "bfloat16", "float16", "float32"]
    gpus: int
    confidence: NotRequired[bool]


LORA_RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)
"""The values that vLLM accepts as max_lora_rank."""


_NOT_SERVED = {
    "use_dora": "vLLM does not serve DoRA adapters",
    "pissa_init": "PiSSA changes the base model's weights, but vLLM serves the unchanged base model",
    "additional_target": "vLLM does not serve fully trained layers (modules_to_save)",
}


def check_adapter_served(arguments: Mapping[str, Any], where: str) -> list[str]:
    """Find, before training, why vLLM could not serve a recipe's adapter unmerged.

    Args:
        arguments: LLaMA-Factory's arguments.
        where: The file, or the file and the row, which begins each message.

    Returns:
        One message per reason: place, key, reason and fix. Empty if vLLM can serve the adapter.
    """
    reasons = {key: reason for key, reason in _NOT_SERVED.items() if arguments.get(key)}
    if (rank := arguments.get("lora_rank") or 0) > LORA_RANKS[-1]:
        reasons["lora_rank"] = f"{rank} is above vLLM's largest rank, {LORA_RANKS[-1]}"
    embeddings = {"embed_tokens", "lm_head"} & {name.strip() for name in str(arguments.get("lora_target")).split(",")}
    if embeddings:
        reasons["lora_target"] = f"vLLM does not serve adapters of {', '.join(sorted(embeddings))} for every model"
    remedy = "change the recipe, or set `adapter: merged` in the run's entry of conf/decode.yaml"
    return [f"{where}: {key}: {reason}; {remedy}" for key, reason in reasons.items()]


def adapter_setting(adapter: Path, key: str, kind: type[T]) -> T:
    """Return a value of an adapter's configuration. Raises InputError if it is missing or of another type."""
    config = read_json(adapter / "adapter_config.json")
    value = config.get(key) if isinstance(config, dict) else None
    if not isinstance(value, kind):
        raise InputError(
            f"{adapter / 'adapter_config.json'}: not the configuration of a LoRA adapter: `{key}` is missing"
        )
    return value


def max_lora_rank(adapters: Sequence[Path]) -> int:
    """Return the smallest max_lora_rank of vLLM that fits the adapters in these folders."""
    needed = 0
    for adapter in adapters:
        rank = adapter_setting(adapter, "r", int)
        if rank > LORA_RANKS[-1]:
            raise InputError(
                f"{adapter}: rank {rank} is above vLLM's largest, {LORA_RANKS[-1]}; "
                "train with a smaller lora_rank, or set `adapter: merged` in the run's decode settings"
            )
        needed = max(needed, rank)
    return fitting_rank(needed)


def fitting_rank(rank: int) -> int:
    """Return the smallest max_lora_rank of vLLM for adapters of a rank, which is at most the last of LORA_RANKS."""
    return next(limit for limit in LORA_RANKS if limit >= rank)


def engine_environment(gpus: int, threads: int) -> dict[str, str]:
    """Return the environment variables for vLLM, which reads them when it is imported."""
    environment = {"HF_HUB_OFFLINE": "1", "VLLM_NO_USAGE_STATS": "1", "OMP_NUM_THREADS": str(threads)}
    if gpus:
        check_environment(Path(sys.prefix))
        return environment | environment_of(gpus, find_gpus())
    return environment | {
        "VLLM_CPU_KVCACHE_SPACE": "1",
        "VLLM_CPU_OMP_THREADS_BIND": "nobind",  # otherwise two parallel jobs would be bound to the same cores
        "VLLM_ENABLE_V1_MULTIPROCESSING": "0",  # otherwise a second process would import everything again
        # vLLM compiles the collection of log-probabilities at the first request for them. Without a C++ compiler, that
        # ends a server; with one, the server answers no requests meanwhile.
        "TORCH_COMPILE_DISABLE": "1",
    }


def engine_arguments(
    decode: EngineSettings, adapters: Sequence[Path] = (), at_once: int | None = None
) -> dict[str, Any]:
    """Return the engine arguments of vLLM for decode settings and the folders of adapters that are served unmerged.

    `at_once` is the number of adapters in one batch (default: all).
    """
    arguments: dict[str, Any] = {
        "max_model_len": decode["max_model_len"],
        "max_num_seqs": decode["max_num_seqs"],
        "generation_config": "vllm",  # that of Qwen2.5 has a repetition penalty, which also acts at temperature 0
        "seed": 0,
        "dtype": decode["dtype"],
    }
    if decode["gpus"]:
        arguments["tensor_parallel_size"] = decode["gpus"]
        if decode["dtype"] == "auto" and lacks_bfloat16(find_gpus()):
            arguments["dtype"] = "float16"
    else:
        arguments["enforce_eager"] = True
    if adapters:
        arguments |= {"enable_lora": True, "max_lora_rank": max_lora_rank(adapters)}
        arguments["max_loras"] = at_once or len(adapters)
    return arguments
