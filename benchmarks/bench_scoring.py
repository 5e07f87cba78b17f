"""Compare the speed of scoring with that of building BIO lists and calling seqeval, and measure the bootstrap.

Prints a table. Each row runs in its own process on the same file of generated predictions. seqeval gets a part of the
sentences, because it would need minutes and gigabytes for all; its time grows linearly with their number.
Exits with status 1 if the two disagree, if scoring is less than 10 times faster per sentence or needs 1 GB or more, or
if 10,000 resamples of a split of the size of CLUENER dev take more than 5 s. The limits are for the CPU time of all
threads, because other jobs on the machine affect it less than wall time.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import random
import resource
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from itertools import islice
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "scripts"))

LABELS = ("address", "book", "company", "game", "government", "movie", "name", "organization", "position", "scene")
DEV = 1343
MIN_RATIO, MAX_MB, MAX_BOOTSTRAP_S = 10, 1000, 5.0


def predictions(sentences: int) -> Iterator[str]:
    """Yield lines like those of a run on CLUENER: 37 characters, 2.2 mentions, four of five predicted correctly."""
    generator = random.Random(1)
    for number in range(sentences):
        length = generator.randint(25, 50)
        text = "".join(chr(0x4E00 + (number * 31 + i * i) % 5000) for i in range(length))
        cuts = sorted(generator.sample(range(length + 1), 2 * generator.randint(1, 3)))
        gold = [
            {"label": generator.choice(LABELS), "text": text[start:end], "start": start, "end": end}
            for start, end in zip(cuts[::2], cuts[1::2], strict=True)
        ]
        pred = []
        for entity in gold:
            chance = generator.random()
            if chance < 0.8:
                pred.append(entity)
            elif chance < 0.9:
                pred.append({**entity, "label": generator.choice(LABELS)})
        raw = json.dumps([{"label": one["label"], "text": one["text"]} for one in pred], ensure_ascii=False)
        record = {"id": str(number), "text": text, "gold": gold, "pred": pred, "raw": raw}
        yield json.dumps({**record, "finish_reason": "stop", "status": "ok"}, ensure_ascii=False) + "\n"


def score(path: str, sentences: int) -> Any:
    """Compute both scorings as scripts/score_predictions.py does, and return the values of `spans` by label."""
    from entitune.evaluation.scoring import measure, tally
    from entitune.records import read_predictions

    counted = tally(islice(read_predictions(path), sentences), LABELS)
    values = {scoring: measure(one.totals) for scoring, one in counted.items()}["spans"]
    return dict(zip(counted["spans"].names, values.tolist(), strict=True))


def seqeval(path: str, sentences: int) -> Any:
    """Compute `spans` from BIO lists with seqeval in strict mode, and return the values by label."""
    from seqeval.metrics import classification_report
    from seqeval.scheme import IOB2

    tags: dict[str, list[list[str]]] = {"gold": [], "pred": []}
    with open(path, encoding="utf-8") as stream:
        for line in islice(stream, sentences):
            record = json.loads(line)
            for side, lists in tags.items():
                sentence = ["O"] * len(record["text"])
                for one in record[side]:
                    inside = [f"I-{one['label']}"] * (one["end"] - one["start"] - 1)
                    sentence[one["start"] : one["end"]] = [f"B-{one['label']}", *inside]
                lists.append(sentence)
    report = classification_report(
        tags["gold"], tags["pred"], mode="strict", scheme=IOB2, output_dict=True, zero_division=0
    )
    names = {**{label: label for label in LABELS}, "micro": "micro avg", "macro": "macro avg"}
    return {
        name: [float(report[theirs][key]) for key in ("precision", "recall", "f1-score")]
        for name, theirs in names.items()
    }


def bootstrap(path: str, sentences: int, resamples: int = 10_000) -> Any:
    """Count, and compute the intervals of all values of precision, recall and F1 of both scorings."""
    from entitune.evaluation.scoring import intervals, tally
    from entitune.records import read_predictions

    for counted in tally(islice(read_predictions(path), sentences), LABELS).values():
        intervals(counted, resamples, 0)


def measured(task: Callable[..., Any], *arguments: Any) -> tuple[float, float, float, Any]:
    """Return wall seconds, CPU seconds, peak MB and the result of a task. Its imports are not measured."""
    task(arguments[0], 1000)
    wall, cpu = time.perf_counter(), time.process_time()
    result = task(*arguments)
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    return wall, cpu, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, result


def alone(task: Callable[..., Any], *arguments: Any) -> tuple[float, float, float, Any]:
    """Call `measured` in a new process."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(measured, task, *arguments).result()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sentences", type=int, default=1_000_000, help="sentences to score (default: 1000000)")
    parser.add_argument("--seqeval-sentences", type=int, default=50_000, help="sentences for seqeval (default: 50000)")
    args = parser.parse_args()

    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder) / "predictions.jsonl")
        with open(path, "w", encoding="utf-8") as stream:
            stream.writelines(predictions(args.sentences))
        print("| task | sentences | wall s | CPU s | CPU µs per sentence | peak MB |\n|---|---|---|---|---|---|")
        per_sentence, values = {}, {}
        for name, task, sentences in (
            ("score", score, args.seqeval_sentences),
            ("seqeval", seqeval, args.seqeval_sentences // 2),
            ("seqeval", seqeval, args.seqeval_sentences),
            ("score", score, args.sentences),
        ):
            wall, cpu, peak, values[name, sentences] = alone(task, path, sentences)
            per_sentence[name] = cpu / sentences
            figures = f"{wall:.1f} | {cpu:.1f} | {1e6 * cpu / sentences:.1f} | {peak:.0f}"
            print(f"| {name} | {sentences:,} | {figures} |", flush=True)
        seconds, bootstrap_cpu, memory, _ = alone(bootstrap, path, DEV)
        print(f"| 10,000 resamples | {DEV:,} | {seconds:.1f} | {bootstrap_cpu:.1f} | – | {memory:.0f} |")

    ours, theirs = values["score", args.seqeval_sentences], values["seqeval", args.seqeval_sentences]
    largest = max(abs(a - b) for name in theirs for a, b in zip(ours[name], theirs[name], strict=True))
    ratio = per_sentence["seqeval"] / per_sentence["score"]
    print(f"\nscoring is {ratio:.0f} times faster per sentence; the largest difference of a value is {largest:.1e}")
    if ratio < MIN_RATIO or peak >= MAX_MB or bootstrap_cpu > MAX_BOOTSTRAP_S or largest > 1e-12:
        sys.exit(1)


if __name__ == "__main__":
    main()
