"""Write predictions as pre-annotations for annotators to correct, in doccano or Label Studio.

    python scripts/export_annotations.py --input predictions.jsonl --format doccano --output annotations.jsonl

The input is the output of read_answers.py or extract_entities.py. Mentions that were not found in their sentence cannot
be marked; their number is reported. convert_dataset.py reads the annotators' exports. It also reads the output of this
script (for Label Studio with the option use_predictions).
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from entitune.cli import InputError, run
from entitune.corpus.formats import FORMATS
from entitune.files import read_jsonl, write_jsonl, write_rows
from entitune.records import Entity, Sentence


def read_predicted(path: Path, counts: Counter[str]) -> Iterator[Sentence]:
    """Yield the sentences of a file of predictions with the mentions that have offsets, and add to `counts`.

    Raises InputError if the file does not hold predictions.
    """
    for number, record in enumerate(read_jsonl(path), 1):
        mentions = record.get("pred", record.get("entities")) if isinstance(record, dict) else None
        if not isinstance(mentions, list) or not isinstance(record.get("text"), str):
            raise InputError(f"{path}:{number}: expected an object with text and pred, or text and entities")
        text = record["text"]
        placed: dict[tuple[int, int, str], Entity] = {}
        for mention in mentions:
            if not isinstance(mention, dict) or not mention.keys() >= {"label", "start", "end"}:
                raise InputError(f"{path}:{number}: mention {mention!r}; expected label, start and end")
            label, start, end = mention["label"], mention["start"], mention["end"]
            if not isinstance(label, str):
                raise InputError(f"{path}:{number}: mention {mention!r}; expected a label that is a text")
            if start is None:
                counts["unplaced"] += 1
            elif type(start) is int and type(end) is int and 0 <= start < end <= len(text):
                # The sentence's own text: an answer may spell it differently.
                placed[start, end, label] = Entity(label, text[start:end], start, end)
            else:
                raise InputError(f"{path}:{number}: mention {mention!r}; expected offsets within the text")
        counts["sentences"] += 1
        counts["mentions"] += len(placed)
        yield Sentence(str(record.get("id", "")), text, tuple(placed[key] for key in sorted(placed)))


def main() -> None:
    writers = [name for name, dialect in FORMATS.items() if dialect.write]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--input", required=True, type=Path, help="JSON lines with text and pred, or text and entities")
    parser.add_argument("--format", required=True, choices=writers, help="format of the output")
    parser.add_argument("--output", required=True, type=Path)
    args = parser.parse_args()

    dialect = FORMATS[args.format]
    assert dialect.write is not None, "the choices are those that can be written"
    counts: Counter[str] = Counter()
    (write_rows if dialect.array else write_jsonl)(args.output, dialect.write(read_predicted(args.input, counts)))
    print(
        f"{args.output}: {counts['sentences']} sentences, {counts['mentions']} mentions; "
        f"left out: {counts['unplaced']} that were not found in their sentence"
    )


if __name__ == "__main__":
    run(main)
