"""Measure time and peak memory of scripts/convert_dataset.py on generated splits of growing size, format by format.

Prints one line per format and size. Exits with status 1 if the peak memory is above the limit, if the time grows faster
than the number of sentences, or if a format takes more than three times CLUENER's time per MB of input. On a shared
machine, times differ between runs of this script: compare only the formats of one run.
"""

from __future__ import annotations

import argparse
import itertools
import json
import multiprocessing
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

LABELS = ("address", "book", "company", "game", "government", "movie", "name", "organization", "position", "scene")
LIMIT_MB = 300
LIMIT_GROWTH = 1.3  # time per sentence, largest to smallest size; more than 1, because speeds of machines vary
LIMIT_RATIO = 3.0  # seconds per MB of input, relative to CLUENER's format
DOCUMENT_LINES = 200  # in a brat document
SCRIPT = Path(__file__).parent.parent / "scripts" / "convert_dataset.py"

Mentions: TypeAlias = list[tuple[str, int, int]]
"""(label, start, half-open end)"""
Sentences: TypeAlias = Iterable[tuple[int, str, Mentions]]
"""(number, text, mentions)"""


def sentence(generator: random.Random) -> tuple[str, Mentions]:
    """Return a sentence of CLUENER's length (37 characters and 2 mentions on average)."""
    length = generator.randint(25, 50)
    text = "".join(chr(generator.randrange(0x4E00, 0x9FA5)) for _ in range(length))
    cuts = sorted(generator.sample(range(length + 1), 2 * generator.randint(1, 3)))
    return text, [(generator.choice(LABELS), start, end) for start, end in zip(cuts[::2], cuts[1::2], strict=True)]


def tags_of(text: str, mentions: Mentions) -> list[str]:
    """Return the BIO tag of each character."""
    tags = ["O"] * len(text)
    for name, start, end in mentions:
        tags[start:end] = [f"B-{name}", *[f"I-{name}"] * (end - start - 1)]
    return tags


# These functions return one sentence in a format with one row per sentence.


def cluener(number: int, text: str, mentions: Mentions) -> dict[str, Any]:
    label: dict[str, dict[str, list[list[int]]]] = {}
    for name, start, end in mentions:
        label.setdefault(name, {}).setdefault(text[start:end], []).append([start, end - 1])
    return {"text": text, "label": label}


def cluener_ids(number: int, text: str, mentions: Mentions) -> dict[str, Any]:
    return {"id": number, **cluener(number, text, mentions)}


def doccano(number: int, text: str, mentions: Mentions) -> dict[str, Any]:
    return {"id": number, "text": text, "label": [[start, end, name] for name, start, end in mentions]}


def cmeee(number: int, text: str, mentions: Mentions) -> dict[str, Any]:
    entities = [
        {"start_idx": start, "end_idx": end - 1, "type": name, "entity": text[start:end]}
        for name, start, end in mentions
    ]
    return {"text": text, "entities": entities}


def entity_list(number: int, text: str, mentions: Mentions) -> dict[str, Any]:
    found = [
        {"entity_index": {"begin": start, "end": end}, "entity_type": name, "entity": text[start:end]}
        for name, start, end in mentions
    ]
    return {"text": text, "entity_list": found}


def ccks(number: int, text: str, mentions: Mentions) -> dict[str, Any]:
    found = [{"start_pos": start, "end_pos": end, "label_type": name} for name, start, end in mentions]
    return {"originalText": text, "entities": found}


def spans(number: int, text: str, mentions: Mentions) -> dict[str, Any]:
    return {"text": text, "spans": [{"start": start, "end": end, "label": name} for name, start, end in mentions]}


def entitune(number: int, text: str, mentions: Mentions) -> dict[str, Any]:
    found = [{"label": name, "text": text[start:end], "start": start, "end": end} for name, start, end in mentions]
    return {"id": str(number), "text": text, "entities": found}


def mapped(number: int, text: str, mentions: Mentions) -> dict[str, Any]:
    return {
        "s": text,
        "ner": [{"at": [start, end], "kind": name, "w": text[start:end]} for name, start, end in mentions],
    }


MAPPING = {"text": "s", "mentions": "ner", "start": "at.0", "end": "at.1", "label": "kind", "surface": "w"}


def label_studio_min(number: int, text: str, mentions: Mentions) -> dict[str, Any]:
    regions = [{"start": start, "end": end, "text": text[start:end], "labels": [name]} for name, start, end in mentions]
    return {"id": number, "text": text, "label": regions}


def label_studio(number: int, text: str, mentions: Mentions) -> dict[str, Any]:
    regions = [
        {"type": "labels", "value": {"start": start, "end": end, "text": text[start:end], "labels": [name]}}
        for name, start, end in mentions
    ]
    return {"id": number, "data": {"text": text}, "annotations": [{"result": regions}]}


def huggingface(number: int, text: str, mentions: Mentions) -> dict[str, Any]:
    return {"tokens": list(text), "ner_tags": tags_of(text, mentions)}


def conll_bio(number: int, text: str, mentions: Mentions) -> str:
    tags = tags_of(text, mentions)
    return "".join(f"{character}\t{tag}\n" for character, tag in zip(text, tags, strict=True)) + "\n"


def conll_bmes(number: int, text: str, mentions: Mentions) -> str:
    tags = tags_of(text, mentions)
    for name, start, end in mentions:
        within = [f"M-{name}"] * (end - start - 2)
        tags[start:end] = [f"S-{name}"] if end - start == 1 else [f"B-{name}", *within, f"E-{name}"]
    return "".join(f"{character}\t{tag}\n" for character, tag in zip(text, tags, strict=True)) + "\n"


def conll_bioes(number: int, text: str, mentions: Mentions) -> str:
    return conll_bmes(number, text, mentions).replace("\tM-", "\tI-")


def conll_columns(number: int, text: str, mentions: Mentions) -> str:
    tags = tags_of(text, mentions)
    return "".join(f"{character}\tNN\t-\t{tag}\n" for character, tag in zip(text, tags, strict=True)) + "\n"


def boson(number: int, text: str, mentions: Mentions) -> str:
    line, end = "", 0
    for name, start, stop in mentions:
        line += f"{text[end:start]}{{{{{name}:{text[start:stop]}}}}}"
        end = stop
    return f"{line}{text[end:]}\n"


# These functions write all sentences of a split and return the paths for the script.


def write_lines(
    folder: Path, sentences: Sentences, row: Callable[[int, str, Mentions], dict[str, Any] | str]
) -> list[Path]:
    with open(folder / "train", "w", encoding="utf-8", newline="\n") as stream:
        for one in sentences:
            written = row(*one)
            stream.write(written if isinstance(written, str) else json.dumps(written, ensure_ascii=False) + "\n")
    return [folder / "train"]


def write_array(folder: Path, sentences: Sentences, row: Callable[[int, str, Mentions], dict[str, Any]]) -> list[Path]:
    """Write a pretty-printed array, as in CMeEE."""
    with open(folder / "train", "w", encoding="utf-8", newline="\n") as stream:
        for number, one in enumerate(sentences):
            stream.write(("," if number else "[") + "\n" + json.dumps(row(*one), ensure_ascii=False, indent=2))
        stream.write("\n]\n")
    return [folder / "train"]


def write_parallel(folder: Path, sentences: Sentences) -> list[Path]:
    with (
        open(folder / "train.sentences", "w", encoding="utf-8") as texts,
        open(folder / "train.tags", "w", encoding="utf-8") as tags,
    ):
        for _, text, mentions in sentences:
            texts.write(" ".join(text) + "\n")
            tags.write(" ".join(tags_of(text, mentions)) + "\n")
    return [folder / "train.sentences", folder / "train.tags"]


def write_parquet(folder: Path, sentences: Sentences) -> list[Path]:
    """Write parquet as `datasets` does: tags are numbers, and their names are in the metadata."""
    import pyarrow
    from pyarrow import parquet

    names = ["O", *(f"{prefix}-{label}" for label in LABELS for prefix in "BI")]
    numbers = {name: number for number, name in enumerate(names)}
    features = {"ner_tags": {"feature": {"names": names, "_type": "ClassLabel"}, "_type": "Sequence"}}
    columns = {"tokens": pyarrow.list_(pyarrow.string()), "ner_tags": pyarrow.list_(pyarrow.int64())}
    schema = pyarrow.schema(columns, metadata={"huggingface": json.dumps({"info": {"features": features}})})
    with parquet.ParquetWriter(folder / "train", schema) as writer:
        for batch in _batched(sentences, 1000):
            rows = [
                {"tokens": list(text), "ner_tags": [numbers[tag] for tag in tags_of(text, mentions)]}
                for _, text, mentions in batch
            ]
            writer.write_table(pyarrow.Table.from_pylist(rows, schema))
    return [folder / "train"]


def write_brat(folder: Path, sentences: Sentences) -> list[Path]:
    for batch in _batched(sentences, DOCUMENT_LINES):
        name = folder / "train" / f"{batch[0][0]:07d}"
        name.parent.mkdir(exist_ok=True)
        text = ""
        lines: list[str] = []
        for _, line, mentions in batch:
            lines += [
                f"T{len(lines) + place}\t{label} {len(text) + start} {len(text) + end}\t{line[start:end]}\n"
                for place, (label, start, end) in enumerate(mentions, 1)
            ]
            text += line + "\n"
        name.with_suffix(".txt").write_text(text, encoding="utf-8")
        name.with_suffix(".ann").write_text("".join(lines), encoding="utf-8")
    return [folder / "train"]


def _batched(sentences: Sentences, size: int) -> Iterator[list[tuple[int, str, Mentions]]]:
    iterator = iter(sentences)
    while batch := list(itertools.islice(iterator, size)):
        yield batch


@dataclass(frozen=True)
class Generated:
    """A generated split: the format for the script, and the function that writes the split."""

    format: str
    write: Callable[..., list[Path]]
    row: Callable[[int, str, Mentions], dict[str, Any] | str] | None = None
    options: dict[str, Any] = field(default_factory=dict)
    """The options for the script."""


FORMATS = {
    "cluener": Generated("cluener", write_lines, cluener),
    "cluener-ids": Generated("cluener", write_lines, cluener_ids),
    "conll-bio": Generated("conll-bio", write_lines, conll_bio),
    "conll-bmes": Generated("conll-bmes", write_lines, conll_bmes),
    "conll-bioes": Generated("conll-bioes", write_lines, conll_bioes),
    "conll-columns": Generated("conll-bio", write_lines, conll_columns),
    "doccano": Generated("doccano", write_lines, doccano),
    "cmeee-array": Generated("cmeee", write_array, cmeee),
    "entity-list": Generated("entity-list", write_lines, entity_list),
    "ccks": Generated("ccks", write_lines, ccks),
    "spans": Generated("spans", write_lines, spans),
    "entitune": Generated("entitune", write_lines, entitune),
    "json": Generated("json", write_lines, mapped, {"mapping": MAPPING}),
    "label-studio": Generated("label-studio", write_array, label_studio),
    "label-studio-min": Generated("label-studio", write_array, label_studio_min),
    "huggingface": Generated("huggingface", write_lines, huggingface),
    "parquet": Generated("huggingface", write_parquet),
    "parallel": Generated("parallel", write_parallel),
    "boson": Generated("boson", write_lines, boson),
    "brat": Generated("brat", write_brat),
}


def generate(name: str, folder: Path, size: int) -> list[Path]:
    """Write a split of `size` sentences and return the paths for the script."""
    generator = random.Random(1)
    # Drawing a million sentences would take longer than converting them. The script does not notice that they repeat.
    drawn = [sentence(generator) for _ in range(10_000)]
    sentences = ((number, *drawn[number % len(drawn)]) for number in range(size))
    generated = FORMATS[name]
    return generated.write(folder, sentences, generated.row) if generated.row else generated.write(folder, sentences)


def measure(raw: list[Path], generated: Generated, folder: Path) -> tuple[float, float]:
    """Convert `raw` and return the wall time in seconds and the peak resident memory in MB."""
    command = [sys.executable, SCRIPT, "--raw", *raw, "--format", generated.format, "--labels", ",".join(LABELS)]
    command += ["--options", json.dumps(generated.options)]
    command += ["--split", "train", "--output", folder / "train.jsonl", "--dropped", folder / "train.dropped"]
    started = time.perf_counter()
    process = subprocess.Popen([str(word) for word in command], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    assert process.stderr is not None
    message = process.stderr.read()
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - started
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        sys.exit(f"bench_convert: the conversion failed with status {process.returncode}: {message.decode()}")
    return seconds, usage.ru_maxrss * 1024 / 1e6


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--sizes", type=int, nargs="+", default=[250_000, 500_000, 1_000_000], metavar="N", help="numbers of sentences"
    )
    parser.add_argument("--formats", nargs="+", choices=FORMATS, default=list(FORMATS), help="default: all formats")
    args = parser.parse_args()
    failures = []
    reference = None
    titles = ("format", "sentences", "MB in", "seconds", "us/sentence", "s/MB", "peak MB")
    print("{:<16} {:>10} {:>7} {:>8} {:>12} {:>6} {:>8}".format(*titles))
    for name in args.formats:
        costs = []
        for size in sorted(args.sizes):
            with tempfile.TemporaryDirectory() as directory:
                # In a separate process, because the peak of a child process starts at the size of its parent.
                with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
                    raw = pool.submit(generate, name, Path(directory), size).result()
                seconds, peak = measure(raw, FORMATS[name], Path(directory))
                files = [file for path in raw for file in (path.rglob("*") if path.is_dir() else [path])]
                megabytes = sum(file.stat().st_size for file in files) / 1e6
            costs.append(seconds / size)
            rate = seconds / megabytes
            cost = f"{costs[-1] * 1e6:.1f}"
            print(
                f"{name:<16} {size:>10,} {megabytes:>7.0f} {seconds:>8.1f} {cost:>12} {rate:>6.3f} {peak:>8.0f}",
                flush=True,
            )
            if peak > LIMIT_MB:
                failures.append(f"{name}, {size:,} sentences: {peak:.0f} MB, expected at most {LIMIT_MB}")
        if costs[-1] > LIMIT_GROWTH * costs[0]:
            failures.append(f"{name}: the time per sentence grew by {costs[-1] / costs[0]:.2f}")
        reference = rate if name == "cluener" else reference
        if reference and rate > LIMIT_RATIO * reference:
            failures.append(
                f"{name}: {rate / reference:.1f} times CLUENER's time per MB, expected at most {LIMIT_RATIO}"
            )
    print("\n".join(failures) or f"within {LIMIT_MB} MB and {LIMIT_RATIO} times CLUENER's time per MB, and linear")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
