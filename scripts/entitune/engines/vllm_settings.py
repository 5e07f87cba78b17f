"""How vLLM is set up, for a batch of prompts and for a server alike."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from entitune.cli import InputError
from entitune.engines.gpu import check_environment, environment_of, find_gpus, lacks_bfloat16
from entitune.files import read_json

LORA_RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)
"""The values that vLLM takes as max_lora_rank."""


_NOT_SERVED = {
    "use_dora": "vLLM does not serve DoRA adapters",
    "pissa_init": "PiSSA changes the base's weights, and vLLM serves the base as it is",
    "additional_target": "vLLM serves no layers that were trained whole (modules_to_save)",
}


def check_adapter_served(arguments: Mapping[str, Any], where: str) -> list[str]:
    """Find what keeps vLLM from serving a recipe's adapter unmerged, before it is trained.

    Args:
        arguments: LLaMA-Factory's arguments.
        where: the file, or the file and the row, that messages begin with.

    Returns:
        One message a reason: place, key, reason and what to do.
    """
    reasons = {key: reason for key, reason in _NOT_SERVED.items() if arguments.get(key)}
    if (rank := arguments.get("lora_rank") or 0) > LORA_RANKS[-1]:
        reasons["lora_rank"] = f"{rank} is above vLLM's largest rank, {LORA_RANKS[-1]}"
    embeddings = {"embed_tokens", "lm_head"} & {name.strip() for name in str(arguments.get("lora_target")).split(",")}
    if embeddings:
        reasons["lora_target"] = f"vLLM does not serve adapters of {', '.join(sorted(embeddings))} for every model"
    remedy = "change the recipe, or set `adapter: merged` in the run's entry of conf/decode.yaml"
    return [f"{where}: {key}: {reason}; {remedy}" for key, reason in reasons.items()]


def max_lora_rank(adapters: Sequence[Path]) -> int:
    """The smallest max_lora_rank of vLLM that holds the adapters in these folders."""
    needed = 0
    for adapter in adapters:
        config = read_json(adapter / "adapter_config.json")
        rank = config.get("r") if isinstance(config, dict) else None
        if not isinstance(rank, int):
            raise InputError(f"{adapter / 'adapter_config.json'}: not the configuration of a LoRA adapter: no rank `r`")
        if rank > LORA_RANKS[-1]:
            raise InputError(
                f"{adapter}: rank {rank} is above vLLM's largest, {LORA_RANKS[-1]}; "
                "train with a smaller lora_rank, or merge it: `adapter: merged` in the run's decode settings"
            )
        needed = max(needed, rank)
    return next(limit for limit in LORA_RANKS if limit >= needed)


def engine_environment(gpus: int, threads: int) -> dict[str, str]:
    """Environment variables. vLLM reads them when it is imported."""
    environment = {"HF_HUB_OFFLINE": "1", "VLLM_NO_USAGE_STATS": "1", "OMP_NUM_THREADS": str(threads)}
    if gpus:
        check_environment(Path(sys.prefix))
        return environment | environment_of(gpus, find_gpus())
    return environment | {
        "VLLM_CPU_KVCACHE_SPACE": "1",
        "VLLM_CPU_OMP_THREADS_BIND": "nobind",  # two jobs side by side would else be bound to the same cores
        "VLLM_ENABLE_V1_MULTIPROCESSING": "0",  # one more process would import everything once more
        # vLLM compiles the collection of log-probabilities when it is first asked for them: without a C++ compiler
        # that ends a server, and with one nobody is answered meanwhile.
        "TORCH_COMPILE_DISABLE": "1",
    }


def engine_settings(
    decode: dict[str, Any], adapters: Sequence[Path] = (), at_once: int | None = None
) -> dict[str, Any]:
    """vLLM's engine arguments, from decode settings and the folders of the adapters that are served unmerged.

    `at_once` of them take part in one batch (default: all).
    """
    settings: dict[str, Any] = {
        "max_model_len": decode["max_model_len"],
        "max_num_seqs": decode["max_num_seqs"],
        "generation_config": "vllm",  # Qwen2.5's own has a repetition penalty, which acts at temperature 0 too
        "seed": 0,
        "dtype": decode["dtype"],
    }
    if decode["gpus"]:
        settings["tensor_parallel_size"] = decode["gpus"]
        if decode["dtype"] == "auto" and lacks_bfloat16(find_gpus()):
            settings["dtype"] = "float16"
    else:
        settings["enforce_eager"] = True
    if adapters:
        settings |= {"enable_lora": True, "max_lora_rank": max_lora_rank(adapters)}
        settings["max_loras"] = at_once or len(adapters)
    return settings
