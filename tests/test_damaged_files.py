"""Edited or damaged files between two steps give a message that names the file, never a traceback."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from helpers import write_jsonl
from run_manifests import write_run_manifest

from entitune.claims import Holder, claim
from entitune.cli import InputError
from entitune.engines import checkpoints
from entitune.engines.vllm_settings import max_lora_rank
from entitune.files import write_rows
from entitune.manifests import ModelManifest, check_model
from entitune.prompting.predictions import RawAnswer
from entitune.prompting.rows import read_pairs
from entitune.records import read_records
from entitune.tsv import read_tsv, write_tsv
from entitune.verification import changed_files
from train_adapter import cut_log

Damage = Callable[[bytes], bytes]
DAMAGES: dict[str, Damage] = {
    "empty": lambda content: b"",
    "cut off": lambda content: content[: len(content) // 2],
    "zeros": lambda content: bytes(len(content)),
    "a zero": lambda content: content[: len(content) // 2] + b"\0" + content[len(content) // 2 :],
    "not UTF-8": lambda content: content[: len(content) // 2] + b"\xff" + content[len(content) // 2 :],
    "UTF-16": lambda content: content.decode().encode("utf-16"),
    "null": lambda content: b"null\n",
    "an array": lambda content: b"[]\n",
    "an array of numbers": lambda content: b"[1]\n",
    "an object": lambda content: b"{}\n",
    "text": lambda content: b'"x"\n',
    "brackets": lambda content: b"[" * 100_000,
}
CHANGES: dict[str, Damage] = {
    "a row twice": lambda content: content.split(b"\n")[0] + b"\n" + content,
    "a row less": lambda content: content.split(b"\n", 1)[1],
}
ROW = {"id": "1", "system": "", "instruction": "a", "input": "b", "output": "c", "history": []}
ANSWER = {"run": "demo", "seed": 1, "id": "1", "raw": "[]", "finish_reason": "stop", "tokens": [["[]", -0.1]]}
TOKENS = {"id": "1", "prompt_ids": [1], "answer_ids": [2], "answer_tokens": 1}


def files_of_a_step(folder: Path) -> dict[str, Path]:
    """Small, undamaged files of several steps."""
    write_rows(folder / "train.json", [{**ROW, "id": str(number)} for number in range(4)])
    write_jsonl(folder / "train.tokens.jsonl", [{**TOKENS, "id": str(number)} for number in range(4)])
    (folder / "adapter_config.json").write_text('{"r": 8}')
    write_run_manifest(folder / "run.json", files={"no such file": "0"})
    write_tsv(folder / "metrics.tsv", ["a", "b"], [{"a": "名", "b": "c"}])
    model = folder / "model"
    model.mkdir()
    (model / "config.json").write_text("{}")
    ModelManifest.of_folder(model, model="m", source="path", revision=None).write(model)
    return {path.name: path for path in [*folder.glob("*.*"), model / "manifest.json"]}


READERS: dict[str, Callable[[Path], Any]] = {
    "train.json": lambda path: read_pairs(path, path.with_name("train.tokens.jsonl")),
    "train.tokens.jsonl": lambda path: read_pairs(path.with_name("train.json"), path),
    "adapter_config.json": lambda path: max_lora_rank([path.parent]),
    "metrics.tsv": lambda path: read_tsv(path, ["a", "b"]),
    "run.json": lambda path: changed_files(str(path)),
    "manifest.json": lambda path: check_model(path.parent),
}


@pytest.mark.parametrize("name", READERS)
@pytest.mark.parametrize("kind", DAMAGES)
def test_a_damaged_file_ends_with_a_message_that_names_it(tmp_path: Path, name: str, kind: str) -> None:
    path = files_of_a_step(tmp_path)[name]
    READERS[name](path)
    path.write_bytes(DAMAGES[kind](path.read_bytes()))
    with pytest.raises(InputError, match=name):
        READERS[name](path)


@pytest.mark.parametrize("kind", [kind for kind in DAMAGES if kind != "empty"])  # an empty file is found by its ids
def test_damaged_answers_end_with_a_message(tmp_path: Path, kind: str) -> None:
    path = write_jsonl(tmp_path / "answers.jsonl", [ANSWER])
    assert [answer.raw for answer in read_records(path, RawAnswer)] == ["[]"]
    path.write_bytes(DAMAGES[kind](path.read_bytes()))
    with pytest.raises(InputError, match=r"answers\.jsonl:1"):
        list(read_records(path, RawAnswer))


@pytest.mark.parametrize("kind", CHANGES)
def test_rows_and_token_ids_of_other_rows_are_refused(tmp_path: Path, kind: str) -> None:
    path = files_of_a_step(tmp_path)["train.tokens.jsonl"]
    path.write_bytes(CHANGES[kind](path.read_bytes()))
    with pytest.raises(InputError, match="does not have the rows of"):
        READERS[path.name](path)


def test_a_model_that_has_lost_a_file_is_not_loaded(tmp_path: Path) -> None:
    model = files_of_a_step(tmp_path)["manifest.json"].parent
    (model / "config.json").unlink()
    with pytest.raises(InputError, match=r"config.json is missing\n"):
        check_model(model)
    check_model(tmp_path / "a folder of a person")  # has no manifest


@pytest.mark.parametrize("kind", DAMAGES)
def test_a_damaged_claim_has_no_holder(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "claim.json"
    path.write_bytes(DAMAGES[kind](json.dumps(vars(Holder.here())).encode()))
    with claim(path, "x", 0.2):
        assert path.exists()


@pytest.mark.parametrize("kind", DAMAGES)
def test_a_checkpoint_with_damaged_checksums_is_not_resumed_from(tmp_path: Path, kind: str) -> None:
    (tmp_path / checkpoints.CHECKSUMS).write_bytes(DAMAGES[kind](b'{"optimizer.pt": "0", "scheduler.pt": "1"}'))
    assert checkpoints.find_damage(tmp_path, 1)


@pytest.mark.parametrize("kind", DAMAGES)
def test_a_damaged_log_of_a_training_is_cut(tmp_path: Path, kind: str) -> None:
    (tmp_path / "checkpoint-5").mkdir()
    record = b'{"current_steps": 5, "loss": 1.0}\n'
    (tmp_path / "trainer_log.jsonl").write_bytes(record + DAMAGES[kind](record.replace(b"5", b"6", 1)))
    assert cut_log(tmp_path) == 5
    assert (tmp_path / "trainer_log.jsonl").read_bytes() == record
