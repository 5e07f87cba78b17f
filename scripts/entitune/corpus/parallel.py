"""Two parallel files: one with a sentence per line, the other with the sentence's tags, separated by spaces.

The tokens of a sentence are separated by spaces. If their number is not that of the tags, but the number of characters
is, each character is a token.
"""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterator
from typing import IO

from entitune.cli import InputError
from entitune.corpus.conll import read_tagged
from entitune.corpus.options import Scheme
from entitune.corpus.rows import Draft, Kind, Reading, Row
from entitune.corpus.sources import Source, decode, is_folder, lines_of, note_file, note_line_ends, open_members


def read_parallel(source: Source, reading: Reading, scheme: Scheme) -> Iterator[Row]:
    """Read two files, sentences and tags, or a folder or archive of just these two.

    Raises InputError if there are not two files, or if they differ in their number of lines.
    """
    for path in source.paths:
        if path.is_file():
            note_file(path, reading)
    with open_pair(source) as (names, files):
        lines = itertools.zip_longest(*map(lines_of, files))
        for sentence, tags in lines:
            if sentence is None or tags is None:
                number = (sentence or tags)[0]
                shorter, longer = names if sentence is None else reversed(names)
                raise InputError(f"{longer}:{number}: {shorter} has only {number - 1} lines; expected as many in both")
            number, line = sentence
            if not line.isspace() or not tags[1].isspace():
                yield _read_pair(number, line, tags[1], names[1], scheme, reading)


@contextlib.contextmanager
def open_pair(source: Source) -> Iterator[tuple[tuple[str, str], tuple[IO[bytes], IO[bytes]]]]:
    """Open the file of sentences and the file of tags, in this order, with their names for messages.

    Two paths are in this order, and so are two files in a packed archive. In any other folder or archive, the file
    whose first line consists of tags is the file of tags.
    """
    with contextlib.ExitStack() as stack:
        if len(source.paths) == 2:
            first, second = (stack.enter_context(path.open("rb")) for path in source.paths)
            yield (source.names[0], source.names[1]), (first, second)
            return
        if not is_folder(source.paths[0]):
            raise InputError(f"{source.name}: expected two files, sentences and tags, or a folder with just these two")
        members = stack.enter_context(open_members(source))
        if len(members) != 2:
            found = ", ".join(member.name for member in members) or "none"
            raise InputError(f"{source.name}: expected two files, sentences and tags; it has: {found}")
        names = source.names  # two for files that were packed
        if len(names) != 2:
            heads = []
            for member in members:
                with member.open() as stream:
                    heads.append(stream.readline(1 << 16))
            if looks_like_tags(heads[0]) and not looks_like_tags(heads[1]):
                members = members[::-1]
            names = tuple(f"{source.name}/{member.name}" for member in members)
        yield (names[0], names[1]), (stack.enter_context(members[0].open()), stack.enter_context(members[1].open()))


def looks_like_tags(line: bytes) -> bool:
    """Return whether a line consists of tags: O and PREFIX-LABEL."""
    tags = decode(line)[0].split()
    return bool(tags) and all(tag == "O" or tag[:2] in ("B-", "I-", "M-", "E-", "S-") for tag in tags)


def _read_pair(number: int, line: bytes, tag_line: bytes, tag_file: str, scheme: Scheme, reading: Reading) -> Row:
    draft = Draft(reading, number, line + tag_line)
    (text, reason), (tag_text, tag_reason) = decode(line), decode(tag_line)
    for problem, prefix in ((reason, ""), (tag_reason, f"{tag_file}: ")):
        if problem:
            draft.problem(Kind.ENCODING, prefix + problem)
    if not draft.problems:
        tags = tag_text.split()
        tokens = [token for token in text.split(" ") if token]
        if len(tokens) != len(tags) and len(text) == len(tags):
            tokens = list(text)
        if len(tokens) == len(tags):
            note_line_ends(draft.raw, number, reading)
            read_tagged(tokens, tags, scheme, draft, reading)
        else:
            draft.problem(
                Kind.LENGTHS,
                f"{len(tokens)} tokens ({len(text)} characters), but {len(tags)} tags on line {number} of {tag_file}",
            )
    return draft.finish(f"{reading.split}-{number}")
