"""Split the sentences that are too long into windows, and write the alpaca rows of all windows.

A training row fits if prompt and answer have at most --cutoff-len tokens. A prompt for prediction fits if it leaves
room for --max-tokens within --max-model-len; its gold answer does not matter. A sentence that fits becomes a single
window. Runs in the train environment.
"""

from __future__ import annotations

import argparse
import functools
from pathlib import Path

from entitune.cli import InputError, run
from entitune.files import write_json, write_jsonl, write_rows
from entitune.manifests import check_model
from entitune.prompting.answer_formats import ANSWER_FORMATS, AnswerFormat
from entitune.prompting.answer_formats.writing import write_answer
from entitune.prompting.chat import add_chat_option
from entitune.prompting.encoding import Encoder
from entitune.prompting.prompt import AlpacaRow, Prompt
from entitune.prompting.rows import read_alpaca
from entitune.prompting.windows import Room, Span, Window, entities_in, lost_entities, split, windows_of
from entitune.records import Entity, Sentence, read_sentences


def row_of(prompt: Prompt, window: Window, answer_format: AnswerFormat) -> AlpacaRow:
    """Return the alpaca row of a window. Its key `sentence` is the id of the sentence that the window is part of."""
    sentence = window.to_sentence()
    row = prompt.row(sentence, write_answer(answer_format, sentence))
    return row if window.sentence is None else {**row, "sentence": window.sentence}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sentences", required=True, help="canonical JSONL of the split")
    parser.add_argument("--alpaca", type=Path, required=True, help="alpaca JSON of build_alpaca for the same sentences")
    parser.add_argument(
        "--answer", choices=ANSWER_FORMATS, default="json", help="format of the answers (default: %(default)s)"
    )
    parser.add_argument("--model", required=True, help="folder of the base model")
    add_chat_option(parser)
    parser.add_argument("--cutoff-len", type=int, help="for training: longest row in tokens, prompt and answer")
    parser.add_argument("--max-model-len", type=int, help="for prediction: longest prompt and answer in tokens")
    parser.add_argument("--max-tokens", type=int, help="for prediction: longest answer in tokens")
    parser.add_argument("--output", required=True, help="alpaca JSON of the windows")
    parser.add_argument(
        "--windows", required=True, help="JSONL: the windows as sentences, with the keys sentence and start"
    )
    parser.add_argument("--summary", required=True, help="JSON: the numbers of windows, and of mentions in no window")
    args = parser.parse_args()
    limits = (args.max_model_len, args.max_tokens)
    if (args.cutoff_len is None) == (None in limits):
        parser.error("give --cutoff-len, or --max-model-len and --max-tokens")

    check_model(Path(args.model))
    rows, encoder = read_alpaca(args.alpaca), Encoder(args.model, args.chat)
    if not rows:
        raise InputError(f"{args.alpaca}: no rows")
    prompt = Prompt.from_row(rows[0])

    def lengths(text: str, entities: tuple[Entity, ...] = ()) -> tuple[int, int]:
        """Return the lengths of prompt and answer in tokens."""
        part = Sentence("", text, entities)
        prompt_ids, answer_ids = encoder.encode(prompt.row(part, write_answer(args.answer, part)))
        return len(prompt_ids), len(answer_ids)

    if args.cutoff_len is None:
        room = Room(args.max_model_len, args.max_tokens, lengths("")[0], args.answer)

    def fits(sentence: Sentence, start: int, end: int) -> bool:
        """Return whether a part of the sentence fits, as a training row or as a prompt."""
        text = sentence.text[start:end]
        if args.cutoff_len is None:
            return room.has(lengths(text)[0])
        return bool(sum(lengths(text, entities_in(sentence, Span(start, end)))) <= args.cutoff_len)

    windows: list[Window] = []
    counts = {"sentences": 0, "split": 0, "windows": 0, "mentions": 0, "mentions_lost": 0}
    for line, sentence in enumerate(read_sentences(args.sentences), 1):
        try:
            spans = split(sentence.text, functools.partial(fits, sentence))
        except ValueError as error:
            raise InputError(
                f"{args.sentences}:{line}: sentence {sentence.id}: {error}: the prompt leaves no room; shorten it or "
                + ("raise cutoff_len in the recipe" if args.cutoff_len else "raise max_model_len in conf/decode.yaml")
            ) from None
        windows += windows_of(sentence, spans)
        counts["sentences"] += 1
        counts["split"] += len(spans) > 1
        counts["mentions"] += len(sentence.entities or ())
        counts["mentions_lost"] += len(lost_entities(sentence, spans))
    counts["windows"] = len(windows)
    write_jsonl(args.windows, (window.to_dict() for window in windows))
    write_rows(args.output, (row_of(prompt, window, args.answer) for window in windows))
    lost = counts["mentions_lost"]
    write_json(args.summary, {**counts, "kinds": {"whole in no window": lost} if lost else {}})
    print(
        "{split} of {sentences} sentences split, {windows} windows; no window holds {mentions_lost} of {mentions} "
        "mentions completely".format(**counts)
    )


if __name__ == "__main__":
    run(main)
