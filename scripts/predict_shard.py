"""Predict a shard of a split with vLLM and greedy decoding: the raw answer to each prompt, in order.

One process predicts for all members of an engine group, and for all candidates if a checkpoint is chosen. It loads
several models in turn, and uses one engine for several adapters of the same model. The prompts are the token ids of
encode_split, as in training. Runs in a predict environment (CPU or CUDA).
"""

from __future__ import annotations

import argparse
import functools
import gc
import io
import json
import os
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

from entitune.cli import InputError, label_names, output_to, run
from entitune.engines.groups import Job, adapters_of, by_model, for_each_candidate, parse_jobs
from entitune.engines.lengths import check_lengths
from entitune.engines.vllm_settings import EngineSettings, engine_arguments, engine_environment
from entitune.files import write_jsonl
from entitune.job_records import recorded_job
from entitune.manifests import check_model
from entitune.progress import Progress
from entitune.prompting.answer_formats import AnswerFormat
from entitune.prompting.answer_formats.constraints import Constraint, constraint_of
from entitune.records import Tokens, read_sentences, read_tokens

LOWEST = -9999.0
"""The log-probability of a token that a model considers impossible, because JSON has no infinity."""

Row = TypeVar("Row")


def shard_of(rows: Sequence[Row], shard: int, shards: int) -> Sequence[Row]:
    """Return the `shard`-th (from 1) of `shards` contiguous parts whose sizes differ by at most one."""
    bounds = [len(rows) * i // shards for i in range(shards + 1)]
    return rows[bounds[shard - 1] : bounds[shard]]


class GroupProgress:
    """Progress over the prompts of all jobs. vLLM reports to a tqdm bar; `bar` returns one that forwards the report."""

    def __init__(self, progress: Progress, total: int) -> None:
        self._progress = progress
        self._total = total
        self._answered = 0

    def bar(self) -> Callable[..., Any]:
        """Return a class that vLLM can use as tqdm."""
        from tqdm import tqdm

        group = self

        class Bar(tqdm):  # type: ignore[type-arg]
            def display(self, *_: object, **__: object) -> None:
                values = self.format_dict
                if self.iterable is None and values["n"]:  # otherwise the bar is that of reading prompts, which is fast
                    group.show(values["n"], values["n"] / values["elapsed"])

        return functools.partial(Bar, file=io.StringIO(), mininterval=0.5)

    def show(self, count: int, rate: float) -> None:
        """Show the progress of the group: `count` answers of the current job at `rate` per second."""
        from tqdm import tqdm

        done = self._answered + count
        left = tqdm.format_interval((self._total - done) / rate)
        self._progress.show(100 * done / self._total, f"{done}/{self._total} sentences, {rate:.1f} sentences/s", left)

    def finish(self, count: int) -> None:
        """Count the answers of a finished job."""
        self._answered += count


def chosen_tokens(answer: Any) -> list[tuple[str, float]]:
    """Return the text and the log-probability of each token of vLLM's answer."""
    chosen = (found[token] for token, found in zip(answer.token_ids, answer.logprobs, strict=True))
    return [(one.decoded_token or "", round(max(one.logprob, LOWEST), 6)) for one in chosen]


def predict(
    jobs: Sequence[Job],
    prompts: dict[str, Sequence[Tokens]],
    decode: EngineSettings,
    constraints: dict[tuple[str, AnswerFormat], Sequence[Constraint]],
    progress: GroupProgress,
) -> Iterator[dict[str, Any]]:
    """Yield the answers of all jobs in order: run, seed, step (of a candidate), id, raw, finish_reason, output_tokens.

    With the setting `confidence`, an answer also has `tokens`: the text and log-probability of each of its tokens.
    `constraints` maps a file of prompts and an answer format to a constraint for each prompt.
    """
    from vllm import LLM, SamplingParams
    from vllm.lora.request import LoRARequest
    from vllm.sampling_params import StructuredOutputsParams

    @functools.cache
    def sampling(constraint: Constraint | None) -> SamplingParams:
        return SamplingParams(
            temperature=0.0,
            max_tokens=decode["max_tokens"],
            logprobs=0 if decode.get("confidence") else None,  # 0: only the chosen token
            structured_outputs=StructuredOutputsParams(**constraint.to_vllm()) if constraint else None,
        )

    for model, members in by_model(jobs):
        engine = LLM(model=model, **engine_arguments(decode, adapters_of(members), at_once=1))
        for number, job in enumerate(members, 1):
            rows, started = prompts[job.tokens], time.monotonic()
            outputs = engine.generate(
                [{"prompt_token_ids": row.prompt_ids} for row in rows],
                [sampling(one) for one in (constraints[job.tokens, job.answer] if job.answer else [None] * len(rows))],
                lora_request=LoRARequest(job.adapter, number, job.adapter) if job.adapter else None,
                use_tqdm=progress.bar(),
            )
            seconds = time.monotonic() - started
            count = sum(len(output.outputs[0].token_ids) for output in outputs)
            who = f"{job.run} seed {job.seed}" + ("" if job.step is None else f" step {job.step}")
            print(
                f"{who}: {len(outputs)} answers, {count} tokens in {seconds:.2f} s: {count / seconds:.0f} tokens/s",
                flush=True,
            )
            if len(outputs) != len(rows):
                raise InputError(f"vLLM answered {len(outputs)} of {len(rows)} prompts")
            progress.finish(len(rows))
            for row, output in zip(rows, outputs, strict=True):
                answer = output.outputs[0]
                yield {
                    "run": job.run,
                    "seed": job.seed,
                    **({} if job.step is None else {"step": job.step}),
                    "id": row.id,
                    "raw": answer.text,
                    "finish_reason": answer.finish_reason,
                    "output_tokens": len(answer.token_ids),
                    **({"tokens": chosen_tokens(answer)} if decode.get("confidence") else {}),
                }
        engine.llm_engine.engine_core.shutdown()
        del engine
        gc.collect()  # the next model needs this memory


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--jobs",
        type=parse_jobs,
        required=True,
        help="JSON: a list of {run, seed, tokens, model, adapter (or null)}; also answer and sentences if answers are "
        "constrained to a format, and candidates: true if the folder of adapter or model has checkpoint-STEP folders",
    )
    parser.add_argument("--decode", type=json.loads, required=True, help="JSON: the decode settings")
    parser.add_argument(
        "--labels",
        type=label_names,
        metavar="A,B,...",
        default=[],
        help="the dataset's labels, for answers that are constrained to a format",
    )
    parser.add_argument("--shard", type=int, default=1, help="number of the shard, from 1 (default: 1)")
    parser.add_argument("--shards", type=int, default=1, help="number of shards of the split (default: 1)")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads (default: 1)")
    parser.add_argument("--title", default="predict", help="start of progress lines (default: %(default)s)")
    parser.add_argument("--log", type=Path, help="file for vLLM's output (default: the terminal)")
    parser.add_argument("--record", type=Path, help="JSON: node, time and memory of the job (default: none)")
    parser.add_argument(
        "--output", required=True, help="JSONL: run, seed, id, raw, finish_reason, output_tokens (and tokens)"
    )
    args = parser.parse_args()

    jobs = list(for_each_candidate(args.jobs))
    prompts = {}
    for path in dict.fromkeys(job.tokens for job in jobs):
        prompts[path] = shard_of(list(read_tokens(path)), args.shard, args.shards)
        check_lengths(prompts[path], args.decode["max_tokens"], args.decode["max_model_len"], path)
    for model, members in by_model(jobs):
        check_model(Path(model))
        adapters_of(members)  # raises InputError before an engine starts

    constraints: dict[tuple[str, AnswerFormat], Sequence[Constraint]] = {}
    for tokens, answer, file in dict.fromkeys((job.tokens, job.answer, job.sentences) for job in jobs):
        if not answer:
            continue
        if not file or not args.labels:
            parser.error("jobs with constrained answers need sentences and --labels")
        sentences = shard_of(list(read_sentences(file)), args.shard, args.shards)
        if [row.id for row in prompts[tokens]] != [sentence.id for sentence in sentences]:
            raise InputError(f"{tokens}: expected the prompts of the sentences in {file}, in order")
        constraints[tokens, answer] = [constraint_of(answer, args.labels, sentence.text) for sentence in sentences]

    terminal = output_to(args.log)
    os.environ |= engine_environment(args.decode["gpus"], args.threads)
    progress = GroupProgress(Progress(args.title, terminal), sum(len(prompts[job.tokens]) for job in jobs))
    with recorded_job(args.record):
        write_jsonl(args.output, predict(jobs, prompts, args.decode, constraints, progress))


if __name__ == "__main__":
    run(main)
