"""Write the held-out rows that choose a checkpoint, as sentences and as token ids, before training.

Rows that cannot be encoded are left out, as in training. All other prompts must leave room for an answer. If long
sentences are split, each window is a row.
"""

from __future__ import annotations

import argparse
from dataclasses import asdict

from entitune.cli import InputError, run
from entitune.engines.lengths import check_lengths
from entitune.files import write_jsonl
from entitune.prompting.windows import Window
from entitune.records import read_records, read_sentences, read_tokens


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--held-out", required=True, help="canonical JSONL of the held-out rows")
    parser.add_argument("--windows", help="JSONL of split_windows for the training split (default: no windows)")
    parser.add_argument("--tokens", required=True, help="JSONL of encode_split for the training split")
    parser.add_argument("--max-tokens", type=int, required=True, help="longest answer in tokens")
    parser.add_argument("--max-model-len", type=int, required=True, help="longest prompt and answer in tokens")
    parser.add_argument("--sentences", required=True, help="output: canonical JSONL of the encoded held-out rows")
    parser.add_argument("--output", required=True, help="JSONL: their id, prompt_ids and answer_tokens, in this order")
    args = parser.parse_args()

    encoded = {row.id: row for row in read_tokens(args.tokens) if row.prompt_ids}
    held_out = list(read_sentences(args.held_out))
    if args.windows:
        names = {sentence.id for sentence in held_out}
        windows = read_records(args.windows, Window)
        held_out = [window.to_sentence() for window in windows if window.source in names]
    sentences = [sentence for sentence in held_out if sentence.id in encoded]
    if not sentences:
        raise InputError(f"{args.held_out}: no row can be encoded, see {args.tokens}; hold out a larger share")
    rows = [encoded[sentence.id] for sentence in sentences]
    check_lengths(rows, args.max_tokens, args.max_model_len, args.tokens)
    write_jsonl(args.sentences, (sentence.to_dict() for sentence in sentences))
    write_jsonl(args.output, map(asdict, rows))


if __name__ == "__main__":
    run(main)
