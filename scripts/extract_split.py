"""Write a raw split, byte for byte: a local file, or a member of an archive."""

from __future__ import annotations

import argparse
from pathlib import Path

from entitune.cli import run
from fetch_dataset import Source, _write_split, unpack


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--source", type=Path, required=True)
    parser.add_argument("--member")
    parser.add_argument("--output", type=Path, required=True)
    args = parser.parse_args()
    if args.member:
        unpack(args.source, Source({args.output.name: (args.member, None)}), args.output.parent)
    else:
        with args.source.open("rb") as stream:
            _write_split(stream, str(args.source), None, args.output)


if __name__ == "__main__":
    run(main)
