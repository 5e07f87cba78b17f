"""Make words.tsv, the vocabulary of the generator, from the dictionary of jieba 0.42.1 (MIT licence).

The list is committed, so jieba is not needed at run time. To make it again:

    uv run --no-project --with jieba==0.42.1 python scripts/base_model/extract_words.py scripts/base_model/words.tsv
"""

import argparse
import re
import sys
from pathlib import Path

# part of speech in jieba -> (group in words.tsv, number of the most frequent words to keep)
GROUPS = {
    "n": ("noun", 11000),
    "v": ("verb", 7000),
    "vn": ("noun", 1500),
    "a": ("adjective", 1800),
    "d": ("adverb", 800),
    "i": ("idiom", 2500),
    "l": ("idiom", 1500),
    "ns": ("place", 4500),
    "nt": ("institution", 3000),
    "nr": ("person", 4500),
    "nrt": ("foreign", 2500),
    "nrfg": ("person", 450),
    "nz": ("brand", 2500),
}
HEADER = (
    "# Derived from the dictionary of jieba 0.42.1, https://github.com/fxsjy/jieba, MIT, Copyright (c) 2013 Sun Junyi"
)


def extract(lines: list[str]) -> list[tuple[str, str]]:
    """Return sorted pairs (group, word) of the most frequent words of each tag, from lines "word frequency tag"."""
    by_tag: dict[str, list[tuple[int, str]]] = {}
    for line in lines:
        word, frequency, tag = line.split()
        if tag in GROUPS and re.fullmatch(r"[\u4e00-\u9fff]{2,12}", word):
            by_tag.setdefault(tag, []).append((-int(frequency), word))
    chosen = {(GROUPS[tag][0], word) for tag, words in by_tag.items() for _, word in sorted(words)[: GROUPS[tag][1]]}
    return sorted(chosen)


def main() -> None:
    """Read the command line and write the list."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("output", type=Path)
    parser.add_argument("--dictionary", type=Path, help="jieba's dict.txt (default: that of the installed package)")
    args = parser.parse_args()
    if args.dictionary is None:
        import jieba

        args.dictionary = Path(jieba.__file__).parent / "dict.txt"
    rows = extract(args.dictionary.read_text(encoding="utf-8").splitlines())
    args.output.write_text("\n".join([HEADER, *(f"{g}\t{w}" for g, w in rows)]) + "\n", encoding="utf-8")
    print(f"{len(rows)} words", file=sys.stderr)


if __name__ == "__main__":
    main()
