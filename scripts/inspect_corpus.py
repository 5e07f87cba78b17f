"""Describe a corpus and print the entries for conf/ to use it.

    python scripts/inspect_corpus.py train.jsonl dev.jsonl
    python scripts/inspect_corpus.py train=a.txt dev=b.txt --add mine

For each split, the output shows the format, encoding, numbers of sentences and mentions, labels, lengths, duplicates
and problems. It ends with an entry for conf/datasets.yaml and a row for conf/runs.tsv; --add NAME appends both. The
name of a file or folder (train, dev, valid, test) tells the split, unless the argument is SPLIT=FILE. Two files for one
split are the sentences and their tags.
"""

from __future__ import annotations

import argparse
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml
from pydantic import JsonValue

from entitune.cli import InputError, printable, run
from entitune.corpus.counts import Counts
from entitune.corpus.formats import FORMATS, read_split
from entitune.corpus.huggingface import is_parquet
from entitune.corpus.options import CorpusOptions
from entitune.corpus.problems import Problems, note_lines
from entitune.corpus.recognise import PLACEHOLDER, Recognised, first_problem, flow, recognise, sample_rows
from entitune.corpus.rows import Row
from entitune.corpus.sources import Source, begins_with_mark, other_encoding
from entitune.corpus.unread import advise
from entitune.files import atomic_write
from entitune.registries import RESERVED_LABELS, check_name

SPLITS = {"train": "train|trn", "dev": "dev|valid|val|eval", "test": "test|tst"}
ROW = {
    "model": "entitune-tiny",
    "prompt": "ner-zh-short",
    "train": "tiny",
    "decode": "cpu",
    "seeds": "1",
}
"""The suggested row: the embedded model, which needs no download and no GPU."""
LONG = 200
"""A sentence with more characters may not fit the recipe and decode settings of this row, which allow 512 tokens."""


@dataclass
class Split:
    """A split and its properties."""

    name: str
    source: Source
    recognised: Recognised
    counts: Counts
    labels: Counter[str]
    long: int
    """Sentences of more than LONG characters."""


class Lengths:
    """The lengths of sentences and mentions, and counts of sentences without mentions and of overlapping mentions."""

    def __init__(self) -> None:
        self.sentences: Counter[int] = Counter()
        """Characters -> sentences of that length."""
        self.mentions: Counter[int] = Counter()
        self.bare = 0
        """Labelled sentences without a mention."""
        self.overlapping = 0
        """Mentions that overlap an earlier one."""

    def add(self, row: Row) -> None:
        """Count a row."""
        if row.sentence is None:
            return
        self.sentences[len(row.sentence.text)] += 1
        self.bare += row.sentence.entities == ()
        reached = 0
        for entity in row.sentence.entities or ():
            self.mentions[len(entity.text)] += 1
            self.overlapping += entity.start < reached
            reached = max(reached, entity.end)


def quantile(lengths: Counter[int], share: float) -> int:
    """Return the smallest length that at least this share of the counted lengths does not exceed."""
    below = 0
    for length, count in sorted(lengths.items()):
        below += count
        if below >= share * lengths.total():
            return length
    raise ValueError("nothing was counted")


def spread(lengths: Counter[int]) -> str:
    """Return a description of a distribution of lengths."""
    median, most = quantile(lengths, 0.5), quantile(lengths, 0.95)
    return f"shortest {min(lengths)}, median {median}, 95 % up to {most}, longest {max(lengths)}"


def split_of(argument: str) -> tuple[str | None, str]:
    """Return the split and the path of an argument: SPLIT=FILE, or a file whose name or folder tells the split."""
    name, equals, path = argument.partition("=")
    if equals and name in SPLITS and not Path(argument).exists():
        return name, path
    for words in (re.split(r"[^a-z]+", Path(argument).name.lower()), [Path(argument).resolve().parent.name.lower()]):
        for split, names in SPLITS.items():
            if any(re.fullmatch(names, word) for word in words):
                return split, argument
    return None, argument


def group(arguments: Sequence[str]) -> dict[str, list[str]]:
    """Return split -> its paths, in the order train, dev, test. A single file may have any name."""
    paths: dict[str, list[str]] = {}
    for argument in arguments:
        split, path = split_of(argument)
        if split is None and len(arguments) > 1:
            raise InputError(f"{path}: the name does not tell the split; write train={path}, dev={path} or test={path}")
        paths.setdefault(split or "train", []).append(path)
    return {split: paths[split] for split in SPLITS if split in paths}


def shared_format(found: dict[str, Recognised]) -> Recognised | None:
    """Return the common format and options of all labelled splits; None if their formats differ.

    An unlabelled split is read in the format of the others.
    """
    labelled = [one for one in found.values() if one.labelled] or list(found.values())
    if len({one.format for one in labelled}) != 1:
        return None
    return Recognised(labelled[0].format, {key: value for one in labelled for key, value in one.options.items()})


def unknown(source: Source) -> str:
    """Return the message about a file of unknown format."""
    for path, name in zip(source.paths, source.names, strict=False):
        if path.is_file() and (encoding := other_encoding(path)):
            return f"{name}: the file is {encoding}"
    if advice := advise(source):
        return f"{source.name}: this looks like {advice}"
    if problem := first_problem(source):
        return f"{source.name}:{problem}"
    if rows := sample_rows(source):
        keys = ", ".join(map(repr, dict.fromkeys(key for row in rows for key in row)))
        return (
            f"{source.name}: unknown format, JSON rows with the keys {keys}. If they have mentions with offsets, "
            "describe them with format: json and a mapping (docs/corpora.md)"
        )
    return f"{source.name}: unknown format; the formats are {', '.join(FORMATS)} (docs/corpora.md)"


def inspect(split: str, source: Source, recognised: Recognised) -> Split:
    """Read a split and print its properties. Raises InputError if it cannot be read."""
    counts, lengths, problems = Counts(), Lengths(), Problems(source.name)
    options = CorpusOptions.model_validate(recognised.options)
    reading, rows = read_split(source, recognised.format, split, options=options)
    for row in rows:
        counts.add(row)
        lengths.add(row)
        for problem in row.problems:
            problems.add(problem)
    repeated, contradictory = counts.duplicates()
    print(f"{split}: {' '.join(source.names)}")
    print_line("format", f"{recognised.format} ({FORMATS[recognised.format].about})")
    print_line("encoding", encoding(source.paths[0]))
    print_line("rows", f"{counts.rows}, {counts.dropped} of them with problems")
    print_line(
        "sentences", f"{counts.sentences}" + (f", {lengths.bare} of them without a mention" if counts.labelled else "")
    )
    if counts.labelled:
        print_line("mentions", f"{counts.mentions}, {lengths.overlapping} of them overlap an earlier one")
        print_line(
            "labels", ", ".join(f"{printable(label)} ({count})" for label, count in reading.label_counts.most_common())
        )
        for names in similar_labels(reading.label_counts):
            print_line("", f"{', '.join(map(repr, names))} differ in case or spaces only: join them with `rename`")
    elif counts.sentences:
        print_line("mentions", f"none: the split is unlabelled; labels are in {FORMATS[recognised.format].labels}")
    if counts.sentences:
        print_line("characters", spread(lengths.sentences))
    if counts.mentions:
        print_line("of a mention", spread(lengths.mentions))
    print_line("duplicates", f"{repeated} sentences repeat an earlier one, {contradictory} with another annotation")
    found = [f"{kind} ({count} times): {first}" for kind, count, first in problems.examples()]
    for title, lines in (("notes", list(note_lines(reading.notes))), ("problems", found)):
        for number, line in enumerate(lines):
            print_line("" if number else title, line)
    long = sum(count for length, count in lengths.sentences.items() if length > LONG)
    return Split(split, source, recognised, counts, reading.label_counts, long)


def similar_labels(labels: Iterable[str]) -> list[list[str]]:
    """Return the labels that differ in case or spaces only."""
    groups: dict[str, list[str]] = {}
    for label in labels:
        groups.setdefault("".join(label.split()).casefold(), []).append(label)
    return [names for names in groups.values() if len(names) > 1]


def encoding(path: Path) -> str:
    """Return the encoding of a file that has been read."""
    if path.is_file() and is_parquet(path):
        return "parquet"
    return "UTF-8 with a byte order mark" if path.is_file() and begins_with_mark(path) else "UTF-8"


def print_line(title: str, text: str) -> None:
    """Print a titled line."""
    print(f"  {title:<13}{text}")


def leaks(splits: Iterable[Split]) -> None:
    """Print how many sentences a split shares with an earlier one."""
    earlier: list[tuple[str, set[int]]] = []
    for split in splits:
        texts = set(split.counts.texts)
        for name, others in earlier:
            if shared := len(texts & others):
                print(f"{split.name}: {shared} different sentences are also in {name}")
        earlier.append((split.name, texts))


def usable(label: str) -> str:
    """Return a label that conf/datasets.yaml accepts: without spaces, commas and quotes, and not a reserved name."""
    name = re.sub(r"[\s,\"'，、]+", "_", "".join(filter(str.isprintable, label)).strip()).lstrip("-") or "label"
    return f"{name}_" if name in RESERVED_LABELS else name


def dataset_entry(splits: Sequence[Split]) -> dict[str, JsonValue]:
    """Return the entry of conf/datasets.yaml."""
    counts: Counter[str] = Counter()
    for split in splits:
        counts.update(split.labels)
    labels = [label for label, _ in counts.most_common()]
    names = {label: usable(label) for label in labels}
    recognised = splits[0].recognised
    entry: dict[str, JsonValue] = {"format": recognised.format, **recognised.options}
    if renamed := {label: name for label, name in names.items() if label != name}:
        entry["rename"] = dict(renamed)
    entry["labels"] = list(dict.fromkeys(names.values()))
    entry["splits"] = {
        split.name: split.source.names[0] if len(split.source.names) == 1 else list(split.source.names)
        for split in splits
    }
    return entry


def as_yaml(name: str, entry: dict[str, JsonValue]) -> str:
    """Return an entry as YAML, one key per line."""
    return f"{flow(name)}:\n" + "".join(f"  {key}: {flow(value)}\n" for key, value in entry.items())


def sheet_row(name: str, entry: dict[str, JsonValue], columns: Sequence[str]) -> str:
    """Return a row of the sheet that trains and scores the embedded model on the dataset."""
    values = {**ROW, "run": f"{name}-tiny", "dataset": name}
    splits = entry["splits"]
    if isinstance(splits, dict) and "train" not in splits:
        values["train"] = "none"
    return "\t".join(values.get(column, "") for column in columns) + "\n"


def read_conf(conf: Path) -> tuple[str, str, list[str]]:
    """Return the texts of datasets.yaml and runs.tsv, each ending with a line end, and the columns of the sheet."""
    datasets, runs = ((conf / name).read_text(encoding="utf-8") for name in ("datasets.yaml", "runs.tsv"))
    datasets, runs = (text if text.endswith("\n") or not text else f"{text}\n" for text in (datasets, runs))
    columns = next((line.split("\t") for line in runs.splitlines() if line.strip() and not line.startswith("#")), [])
    return datasets, runs, columns


def add(conf: Path, name: str, entry: dict[str, JsonValue]) -> None:
    """Append the entry and the row. Raises InputError and changes nothing if the name is taken or invalid."""
    try:
        check_name(name)
    except ValueError as error:
        raise InputError(f"--add: {error}") from None
    datasets, runs, columns = read_conf(conf)
    row = sheet_row(name, entry, columns)
    if name in (yaml.safe_load(datasets) or {}):
        raise InputError(f"{conf / 'datasets.yaml'}: dataset {name!r} already exists; choose another name")
    if row.split("\t")[0] in (line.split("\t")[0] for line in runs.splitlines()):
        raise InputError(f"{conf / 'runs.tsv'}: run {name}-tiny already exists; choose another name")
    for path, text, addition in (
        (conf / "datasets.yaml", datasets, as_yaml(name, entry)),
        (conf / "runs.tsv", runs, row),
    ):
        with atomic_write(path) as stream:
            stream.write(text + addition)
    print(f"{conf / 'datasets.yaml'} and {conf / 'runs.tsv'}: added {name} and {name}-tiny")


def suggest(conf: Path, name: str | None, splits: Sequence[Split]) -> None:
    """Print the entry and the row. With a name, also add them to `conf`."""
    entry = dataset_entry(splits)
    try:
        columns = read_conf(conf)[2]
    except FileNotFoundError:
        columns = ["run", "dataset", *ROW]
    print(f"For conf/datasets.yaml:\n\n{as_yaml(name or 'mine', entry)}")
    print(f"For conf/runs.tsv:\n\n{sheet_row(name or 'mine', entry, columns)}")
    if PLACEHOLDER in str(entry.get("tag_names")):
        print(f"Replace {PLACEHOLDER}1, ... by the names of the tags, in order; the dataset's card has them")
    if invalid := sum(split.counts.dropped for split in splits):
        print(f"{invalid} rows have problems: fix them, or leave them out with `on_invalid: drop` in the entry")
    if long := sum(split.long for split in splits):
        print(f"{long} sentences have more than {LONG} characters: `windows: true` in the entry splits those too long")
    labelled = {split.name for split in splits if split.counts.mentions}
    if "dev" not in labelled or ("train" not in labelled and any(split.name == "train" for split in splits)):
        needed = "A dataset needs a labelled split dev to score runs on, and a labelled split train to train on"
        if name:
            raise InputError(f"--add: nothing was added. {needed}")
        print(needed)
    if name:
        add(conf, name, entry)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="+", metavar="[SPLIT=]FILE", help="file, folder or archive of a split")
    parser.add_argument(
        "--add", metavar="NAME", help="append a dataset NAME and a run NAME-tiny to the files in --conf"
    )
    parser.add_argument(
        "--conf", type=Path, default=Path("conf"), help="folder of datasets.yaml and runs.tsv (default: %(default)s)"
    )
    args = parser.parse_args()

    sources = {split: Source.of(paths) for split, paths in group(args.files).items()}
    found = {split: recognised for split, source in sources.items() if (recognised := recognise(source))}
    shared = shared_format(found)
    splits, unread = [], []
    for split, source in sources.items():
        try:
            if split not in found:
                raise InputError(unknown(source))
            splits.append(inspect(split, source, (shared or found[split])._replace(labelled=found[split].labelled)))
            print()
        except InputError as error:
            unread.append(str(error))
    if unread:
        raise InputError("\n".join(unread))
    leaks(splits)
    if shared is None:
        listed = ", ".join(f"{split}: {one.format}" for split, one in found.items())
        raise InputError(f"the splits have different formats ({listed}); all splits of a dataset need the same format")
    suggest(args.conf, args.add, splits)


if __name__ == "__main__":
    run(main)
