"""Fetch the archive of a dataset: download it, or copy the one that is at hand; its checksum is verified."""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path

from entitune.cli import InputError, run
from entitune.files import atomic_write, sha256
from fetch_dataset import download


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--urls", nargs="+", required=True)
    parser.add_argument("--sha256", required=True)
    parser.add_argument("--local-archive")
    parser.add_argument("--output", type=Path, required=True)
    args = parser.parse_args()
    if args.local_archive:
        found = sha256(args.local_archive)
        if found != args.sha256:
            raise InputError(f"{args.local_archive} has the sha256 {found}, expected {args.sha256}")
        with open(args.local_archive, "rb") as source, atomic_write(args.output, "wb") as stream:
            shutil.copyfileobj(source, stream)
        return
    part = args.output.with_name(f".{args.sha256}.part")
    part.parent.mkdir(parents=True, exist_ok=True)
    download(tuple(args.urls), args.sha256, part, 30.0)
    part.replace(args.output)


if __name__ == "__main__":
    run(main)
