"""The Markdown pages: their commands, sections, headings and links."""

from __future__ import annotations

import re
import subprocess
from typing import NamedTuple

from helpers import ROOT

FENCED = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
"""A block of code: its language and its lines."""
INLINE = re.compile(r"`((?:snakemake|python|make|docker|apptainer|\.?/?scripts/\w+\.\w+) [^`]+)`")
"""A command within a sentence: a program and at least one argument."""
LINK = re.compile(r"\[[^]]*\]\(([^)\s]+)\)")


class Section(NamedTuple):
    """A heading, its level, and the text down to the next heading."""

    level: int
    title: str
    text: str


def pages() -> list[str]:
    """Return the paths of all Markdown files of the repository."""
    listed = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "*.md"]
    names = subprocess.run(listed, cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
    return [name for name in names if (ROOT / name).is_file()]


DOCUMENTS = [name for name in pages() if name in ("README.md", "CONTRIBUTING.md", "SECURITY.md") or "docs/" in name]
"""The English pages for users."""


def read(name: str) -> str:
    """Return the text of a file of the repository."""
    return (ROOT / name).read_text(encoding="utf-8")


def commands(text: str) -> list[str]:
    """Return the shell commands of a page in order, each once: from its `sh` blocks and its sentences.

    A line that ends with a backslash belongs to the next one. A block that sets shell variables is one command.
    """
    found: list[str] = []
    for language, block in FENCED.findall(text):
        if language == "sh":
            found += [block.strip()] if re.search(r"^\w+=\S+( |$)", block) else block.replace("\\\n", "").splitlines()
    found += [" ".join(command.split()) for command in INLINE.findall(FENCED.sub("", text))]
    return list(dict.fromkeys(found))


def sections(text: str) -> list[Section]:
    """Return the sections of a page. A line of code that begins with `#` is not a heading."""
    prose = FENCED.sub(lambda block: re.sub(r"^#", " #", block[0], flags=re.MULTILINE), text)
    parts = re.split(r"^(#+) (.*)$", prose, flags=re.MULTILINE)[1:]
    return [Section(len(parts[at]), parts[at + 1], parts[at + 2]) for at in range(0, len(parts), 3)]


def anchor(title: str) -> str:
    """Return the anchor of a heading as forges build it: lower case, hyphens for spaces, no punctuation."""
    return re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-")
