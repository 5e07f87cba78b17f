"""Predict a shard of a split with vLLM, greedily: the raw answer to every prompt, in order.

Runs in a predict environment (CPU or CUDA). Sends the token ids of encode_split, which are those of training.
"""

from __future__ import annotations

import argparse
import functools
import io
import json
import os
from pathlib import Path
from typing import Any

from entitune.cli import InputError, output_to, run
from entitune.files import atomic_write, read_jsonl, to_json
from entitune.gpu import environment_of, find_gpus, lacks_bfloat16
from entitune.progress import Progress

LORA_RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)
"""The values that vLLM takes as max_lora_rank."""


def shard_of(records: list[dict[str, Any]], shard: int, shards: int) -> list[dict[str, Any]]:
    """The `shard`-th (from 1) of `shards` contiguous parts whose sizes differ by at most one."""
    bounds = [len(records) * i // shards for i in range(shards + 1)]
    return records[bounds[shard - 1] : bounds[shard]]


def check_lengths(records: list[dict[str, Any]], max_tokens: int, max_model_len: int, source: str) -> None:
    """Raise InputError where a prompt and its answer would not fit: vLLM would refuse or cut them."""
    long = [record for record in records if len(record["prompt_ids"]) + max_tokens > max_model_len]
    if long:
        longest = max(len(record["prompt_ids"]) for record in long)
        raise InputError(
            f"{source}: {len(long)} prompts (the first: {long[0]['id']}) leave no room for max_tokens {max_tokens} "
            f"within max_model_len {max_model_len}; set max_model_len to at least {longest + max_tokens}"
        )
    cut = [record["id"] for record in records if (record["answer_tokens"] or 0) > max_tokens]
    if cut:
        print(
            f"warning: {source}: {len(cut)} gold answers (the first: {cut[0]}) are longer than max_tokens", flush=True
        )


def max_lora_rank(adapter: Path) -> int:
    """The smallest max_lora_rank of vLLM that holds the adapter."""
    rank = json.loads((adapter / "adapter_config.json").read_text(encoding="utf-8"))["r"]
    fitting = [limit for limit in LORA_RANKS if limit >= rank]
    if not fitting:
        raise InputError(f"{adapter}: rank {rank} is above vLLM's largest, {LORA_RANKS[-1]}")
    return fitting[0]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tokens", required=True, help="prompts as token ids, from encode_split")
    parser.add_argument("--model", required=True, help="folder of the base or merged model")
    parser.add_argument("--adapter", type=Path, help="folder of a LoRA adapter to serve on top of the model")
    parser.add_argument("--decode", type=json.loads, required=True, help="JSON: the decode settings")
    parser.add_argument("--shard", type=int, default=1, help="which part, from 1 (default: 1)")
    parser.add_argument("--shards", type=int, default=1, help="of how many parts (default: 1)")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads (default: 1)")
    parser.add_argument("--title", default="predict", help="what progress lines begin with")
    parser.add_argument("--log", type=Path, help="file for vLLM's own output (default: the terminal)")
    parser.add_argument("--output", required=True, help="JSONL: id, raw, finish_reason, output_tokens")
    args = parser.parse_args()

    decode = args.decode
    records = shard_of(list(read_jsonl(args.tokens)), args.shard, args.shards)
    check_lengths(records, decode["max_tokens"], decode["max_model_len"], args.tokens)

    terminal = output_to(args.log)
    # vLLM reads its environment when it is imported.
    os.environ |= {"HF_HUB_OFFLINE": "1", "VLLM_NO_USAGE_STATS": "1", "OMP_NUM_THREADS": str(args.threads)}
    settings: dict[str, Any] = {"dtype": decode["dtype"]}
    if decode["gpus"] == 0:
        os.environ |= {
            "VLLM_CPU_KVCACHE_SPACE": "1",
            "VLLM_CPU_OMP_THREADS_BIND": "nobind",  # two jobs side by side would else be bound to the same cores
            "VLLM_ENABLE_V1_MULTIPROCESSING": "0",  # a second process would import everything once more
        }
        settings["enforce_eager"] = True
    else:
        found = find_gpus()
        os.environ |= environment_of(decode["gpus"], found)
        settings["tensor_parallel_size"] = decode["gpus"]
        if decode["dtype"] == "auto" and lacks_bfloat16(found):
            settings["dtype"] = "float16"
    if args.adapter:
        settings |= {"enable_lora": True, "max_lora_rank": max_lora_rank(args.adapter)}

    from tqdm import tqdm
    from vllm import LLM, SamplingParams
    from vllm.lora.request import LoRARequest

    engine = LLM(
        model=args.model,
        max_model_len=decode["max_model_len"],
        max_num_seqs=decode["max_num_seqs"],
        generation_config="vllm",  # Qwen2.5's own has a repetition penalty, which acts at temperature 0 too
        seed=0,
        **settings,
    )
    progress = Progress(args.title, terminal)

    class Bar(tqdm):
        """vLLM tells a tqdm how far it is; this one passes it on."""

        def display(self, *_: object, **__: object) -> None:
            told = self.format_dict
            if self.iterable is None and told["n"]:  # else prompts are being read, which takes no time
                rate = told["n"] / told["elapsed"]
                left = tqdm.format_interval((told["total"] - told["n"]) / rate)
                details = f"{told['n']}/{told['total']} sentences, {rate:.1f} sentences/s"
                progress.show(100 * told["n"] / told["total"], details, left)

    outputs = engine.generate(
        [{"prompt_token_ids": record["prompt_ids"]} for record in records],
        SamplingParams(temperature=0.0, max_tokens=decode["max_tokens"]),
        lora_request=LoRARequest("adapter", 1, str(args.adapter)) if args.adapter else None,
        use_tqdm=functools.partial(Bar, file=io.StringIO(), mininterval=0.5),
    )
    if len(outputs) != len(records):
        raise InputError(f"vLLM answered {len(outputs)} of {len(records)} prompts")
    with atomic_write(args.output) as stream:
        for record, output in zip(records, outputs, strict=True):
            answer = output.outputs[0]
            line = {
                "id": record["id"],
                "raw": answer.text,
                "finish_reason": answer.finish_reason,
                "output_tokens": len(answer.token_ids),
            }
            stream.write(to_json(line) + "\n")


if __name__ == "__main__":
    run(main)
