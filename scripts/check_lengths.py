"""Check before training that the prompts of a split fit the limits of the engine that will predict."""

from __future__ import annotations

import argparse

from entitune.cli import run
from entitune.engines.lengths import check_lengths
from entitune.files import write_json
from entitune.records import read_tokens


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tokens", required=True, help="prompts as token ids, from encode_split")
    parser.add_argument("--max-tokens", type=int, required=True, help="longest answer in tokens")
    parser.add_argument("--max-model-len", type=int, required=True, help="longest prompt and answer in tokens")
    parser.add_argument("--output", required=True, help="JSON: prompts, longest_prompt, answers_cut")
    args = parser.parse_args()

    rows = list(read_tokens(args.tokens))
    cut = check_lengths(rows, args.max_tokens, args.max_model_len, args.tokens)
    longest = max((len(row.prompt_ids) for row in rows), default=0)
    write_json(args.output, {"prompts": len(rows), "longest_prompt": longest, "answers_cut": cut})


if __name__ == "__main__":
    run(main)
