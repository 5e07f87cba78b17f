"""Plain words: pages, docstrings, comments, messages and names avoid words that readers must guess."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

from helpers import ROOT

WORDS = {
    "alike": "equal, similar, in the same way",
    "anew": "again, new",
    "as a rule": "usually",
    "at hand": "available, local",
    "beside": "next to, with; for an unfinished output: temporary file",
    "by (?:itself|themselves)": "automatically, alone",
    "(?:go|goes|going|went|gone) on": "resume, continue",
    "(?:hold|holds|held)(?: it| them)? against": "compare with",
    "hyper-parameters?": "hyperparameter",
    "(?:is|are|be|stays?|kept|hold|holds|held|written) whole": "complete, completely",
    "(?:is|are|was|were|be) told": "get a message, be reported",
    "meant": "intended, designed",
    "mend(?:s|ed|ing)?": "fix",
    "(?:never|nor) (?:do|does|did|is|are|was|were)": "put the subject first",
    "of which": "a second sentence",
    "(?:say|says|said|tell|tells|told) (?:how|what|where|whether|which|why)": "show, name, describe, decide",
    "(?:stand|stands|stood|standing)(?! for|-alone)": "be",
    "what would be right": "the fix",
    "without a word": "silently",
}
"""A regular expression for each word to avoid, and the words to use instead."""
BETWEEN = r"""[\s#_"']+(?:f["'])?"""
"""Between two words: also a line end in a comment or between two parts of a string, and the underscore of a name."""
AVOIDED = {
    re.compile(rf"(?<![^\W_])(?:{word})(?![^\W_])".replace(" ", BETWEEN), re.IGNORECASE): use
    for word, use in WORDS.items()
}
SUFFIXES = {".j2", ".md", ".py", ".rst", ".sh", ".smk", ".toml", ".tsv", ".yaml", ".yml"}
NAMES = {"Dockerfile", "Makefile", "Snakefile"}
NOT_READ = ("data/", "tests/test_words.py")
"""Pages that quote the data, and this list."""


def avoidable(path: Path) -> Iterator[str]:
    """Yield line, word and replacement of each word to avoid in a file."""
    text = path.read_text(encoding="utf-8")
    for pattern, use in AVOIDED.items():
        for found in pattern.finditer(text):
            yield f"{text.count(chr(10), 0, found.start()) + 1}: {found[0]!r}; instead: {use}"


def test_avoidable_words_are_found(tmp_path: Path) -> None:
    module = tmp_path / "module.py"
    module.write_text(
        'x = 1  # It stands for y and goes\n# on\n\ndef is_told():\n    f("go "\n      f"on")\n    """Anew."""\n'
    )
    assert sorted((message[0], message.split("instead: ")[1]) for message in avoidable(module)) == [
        ("1", "resume, continue"),
        ("4", "get a message, be reported"),
        ("5", "resume, continue"),
        ("7", "again, new"),
    ]


def test_no_avoidable_word_is_left() -> None:
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
    paths = [ROOT / name for name in listed if not name.startswith(NOT_READ)]
    texts = [path for path in paths if path.is_file() and (path.suffix in SUFFIXES or path.name in NAMES)]
    assert len(texts) > 200
    left = [f"{path.relative_to(ROOT)}:{message}" for path in texts for message in avoidable(path)]
    assert left == [], "\n".join(left)
