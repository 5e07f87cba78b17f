"""Predict a shard of a split with vLLM, greedily: the raw answer to every prompt, in order.

One engine can answer for several adapters of a base, one after the other: --tokens, --adapter and --output then have
one value for each. Runs in a predict environment (CPU or CUDA). Sends the token ids of encode_split, which are those of
training.
"""

from __future__ import annotations

import argparse
import functools
import io
import json
import os
import time
from pathlib import Path
from typing import Any

from entitune.cli import InputError, output_to, run
from entitune.engines.vllm_settings import engine_environment, engine_settings
from entitune.files import atomic_write, read_jsonl, to_json
from entitune.job_records import recorded_job
from entitune.progress import Progress
from entitune.prompting.prompt import answer_schema


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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tokens", nargs="+", required=True, help="prompts as token ids, from encode_split")
    parser.add_argument("--model", required=True, help="folder of the base or merged model")
    parser.add_argument(
        "--adapter", type=Path, nargs="+", help="folder of a LoRA adapter to serve on top of the model (default: none)"
    )
    parser.add_argument("--decode", type=json.loads, required=True, help="JSON: the decode settings")
    parser.add_argument(
        "--labels", nargs="+", help="allow no answer but the JSON that is asked for, with these labels (default: any)"
    )
    parser.add_argument("--shard", type=int, default=1, help="which part, from 1 (default: 1)")
    parser.add_argument("--shards", type=int, default=1, help="of how many parts (default: 1)")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads (default: 1)")
    parser.add_argument("--title", default="predict", help="what progress lines begin with")
    parser.add_argument("--log", type=Path, help="file for vLLM's own output (default: the terminal)")
    parser.add_argument("--record", type=Path, help="JSON: node, time and memory of the job (default: none)")
    parser.add_argument("--output", nargs="+", required=True, help="JSONL: id, raw, finish_reason, output_tokens")
    args = parser.parse_args()

    decode = args.decode
    adapters = args.adapter or [None]
    if not len(args.tokens) == len(adapters) == len(args.output):
        parser.error("--tokens, --adapter and --output must have equally many values")
    shards = []
    for tokens in args.tokens:
        shards.append(shard_of(list(read_jsonl(tokens)), args.shard, args.shards))
        check_lengths(shards[-1], decode["max_tokens"], decode["max_model_len"], tokens)

    with recorded_job(args.record):
        predict(args, shards)


def predict(args: argparse.Namespace, shards: list[list[dict[str, Any]]]) -> None:
    """Answer the prompts of each list in `shards` with its adapter and write its output."""
    decode, adapters = args.decode, args.adapter or [None]
    terminal = output_to(args.log)
    os.environ |= engine_environment(decode["gpus"], args.threads)
    settings = engine_settings(decode, args.adapter or [], at_once=1)

    from tqdm import tqdm
    from vllm import LLM, SamplingParams
    from vllm.lora.request import LoRARequest
    from vllm.sampling_params import StructuredOutputsParams

    engine = LLM(model=args.model, **settings)
    sampling = SamplingParams(
        temperature=0.0,
        max_tokens=decode["max_tokens"],
        structured_outputs=StructuredOutputsParams(json=answer_schema(args.labels)) if args.labels else None,
    )
    progress = Progress(args.title, terminal)
    answered, total = 0, sum(map(len, shards))

    class Bar(tqdm):
        """vLLM tells a tqdm how far it is; this one passes it on."""

        def display(self, *_: object, **__: object) -> None:
            told = self.format_dict
            if self.iterable is None and told["n"]:  # else prompts are being read, which takes no time
                rate, done = told["n"] / told["elapsed"], answered + told["n"]
                left = tqdm.format_interval((total - done) / rate)
                progress.show(100 * done / total, f"{done}/{total} sentences, {rate:.1f} sentences/s", left)

    for number, (records, adapter, path) in enumerate(zip(shards, adapters, args.output, strict=True), 1):
        started = time.monotonic()
        outputs = engine.generate(
            [{"prompt_token_ids": record["prompt_ids"]} for record in records],
            sampling,
            lora_request=LoRARequest(str(adapter), number, str(adapter)) if adapter else None,
            use_tqdm=functools.partial(Bar, file=io.StringIO(), mininterval=0.5),
        )
        seconds = time.monotonic() - started
        count = sum(len(output.outputs[0].token_ids) for output in outputs)
        print(f"{len(outputs)} answers, {count} tokens in {seconds:.2f} s: {count / seconds:.0f} tokens/s", flush=True)
        if len(outputs) != len(records):
            raise InputError(f"vLLM answered {len(outputs)} of {len(records)} prompts")
        answered += len(records)
        with atomic_write(path) as stream:
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
