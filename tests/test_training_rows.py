"""Checks before a training: encoded rows equal the trainer's rows, and markup in texts is refused.

The train environment takes seconds to import, so one process answers for all cases of a test.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from helpers import must_run, read_jsonl, write_jsonl
from training import CHAT, MODEL, RECIPE, SENTENCES, prepare, render, run_several, write_alpaca

from entitune.prompting.prompt import Prompt
from entitune.records import Entity, Sentence

pytestmark = pytest.mark.engine

PROMPTS = {
    "plain": Prompt("找出实体。"),
    "system": Prompt("找出实体。", "你是专家。"),
    "examples": Prompt("找出实体。", examples=[["找出实体。\n白石来了。", "[]"], ["找出实体。\n高远来了。", "[]"]]),
}


@pytest.fixture(scope="module")
def encoded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """For each prompt a folder with train.json, its tokens, the registered rows and the rendered YAML."""
    folder = tmp_path_factory.mktemp("rows")
    prepare(folder, PROMPTS)
    for name in PROMPTS:
        render(folder / name, RECIPE)
    return folder


def proof(folder: Path, config: Path, tokens: str = "train.tokens.jsonl") -> list[object]:
    return ["--config", config, "--tokens", folder / tokens, "--output", config.with_suffix(".json")]


def test_the_trainer_sees_the_rows_that_were_encoded(encoded: Path) -> None:
    """Also with a system turn, with examples (which have no loss), and with packing."""
    calls = [proof(encoded / name, render(encoded / name, RECIPE)) for name in PROMPTS]
    calls += [proof(encoded / "examples", render(encoded / "examples", RECIPE | {"neat_packing": True}))]
    held_out = encoded / "held_out"
    rows = {"--selected": SENTENCES[:5], "--held-out": SENTENCES[5:]}
    chosen = [(name, write_jsonl(held_out / f"{name}.jsonl", sentences)) for name, sentences in rows.items()]
    files = ["--alpaca", encoded / "plain/train.json", "--tokens", encoded / "plain/train.tokens.jsonl"]
    common = ["--cutoff-len", 512, "--name", "mine_train", "--output-dir", held_out / "cutoff"]
    must_run("register_dataset", *files, *(word for pair in chosen for word in pair), *common)
    evaluated = render(held_out, RECIPE | {"val_size": 0.3, "bf16": False})
    calls += [proof(held_out, evaluated, "../plain/train.tokens.jsonl")]
    assert run_several("check_training_rows", calls) == [""] * 5
    for call, count in zip(calls, [7, 7, 7, 7, 5], strict=True):
        assert json.loads(Path(str(call[-1])).read_text())["equal"] == count
    assert len(json.loads((held_out / "cutoff/held_out.json").read_text(encoding="utf-8"))) == 2
    assert yaml.safe_load(evaluated.read_text())["eval_dataset"] == "held_out"


def test_differences_from_the_trainers_rows_are_named(encoded: Path) -> None:
    plain, examples = encoded / "plain", encoded / "examples"
    rows = read_jsonl(plain / "train.tokens.jsonl")
    rows[2]["answer_ids"] = rows[2]["answer_ids"][:-1]
    write_jsonl(plain / "short.jsonl", rows)
    longest = max(len(row["prompt_ids"]) + row["answer_tokens"] for row in rows)
    cases = [
        (proof(plain, render(plain, RECIPE, template="default")), "sentence train-1: from token 0 on the trainer has"),
        (proof(plain, render(plain, RECIPE, cutoff_len=longest - 1)), "the trainer has"),
        (proof(plain, render(plain, RECIPE, train_on_prompt=True, mask_history=False)), "from label 0 on"),
        (proof(examples, render(examples, RECIPE, mask_history=False)), "sentence train-1: from label"),
        (proof(plain, render(plain, RECIPE, max_samples=3)), "the trainer has 3 rows, train.json has 7"),
        (proof(plain, render(plain, RECIPE, neat_packing=True, cutoff_len=longest)), "packed rows must be shorter"),
        (proof(plain, render(plain, RECIPE), "short.jsonl"), "sentence train-3: from token"),
        (
            proof(plain, render(plain, RECIPE | {"lora_target": "q_proj,k_prj"})),
            "lora_target: the model has no 'k_prj'",
        ),
        (
            proof(plain, render(plain, RECIPE | {"lora_target": "q_proj, lm_head"})),
            "lora_target: lm_head: the model uses one matrix",
        ),
        (
            proof(plain, render(plain, RECIPE | {"lr_scheduler_type": "cosine", "lr_scheduler_kwargs": {"x": 1}})),
            "lr_scheduler_kwargs: ",
        ),
        (proof(plain, render(plain, RECIPE, do_predict=True)), "LLaMA-Factory refuses the recipe"),
        # Last: LLaMA-Factory changes its template for the rest of the process.
        (proof(plain, render(plain, RECIPE, default_system="用英文回答。")), "sentence train-1: from token"),
    ]
    outcomes = run_several("check_training_rows", [call for call, _ in cases])
    for outcome, (_, message) in zip(outcomes, cases, strict=True):
        assert message in outcome


def test_control_tokens_in_texts_are_refused_or_dropped(tmp_path: Path) -> None:
    """Tests a sentence, a label in an answer, an example and a prompt. Angle brackets alone are ordinary text."""
    ends, begins = "高远说<|im_end|>是结束符。", "白石<|im_start|>assistant\n[]"
    bad = [Sentence("dev-2", ends, ()), Sentence("dev-3", begins, (Entity("name", "白石", 0, 2),))]
    bad += [Sentence("dev-4", "高远", (Entity("<|endoftext|>", "高远", 0, 2),)), Sentence("dev-6", "{{idx}}号", ())]
    fine = [
        Sentence("dev-1", "a<|b|> <im_end> <think> <image> {{content}} {{name}}", ()),
        Sentence("dev-5", "高远", None),
    ]
    texts = write_alpaca(tmp_path / "texts.json", Prompt("p"), [fine[0], *bad, fine[1]])
    shown = write_alpaca(tmp_path / "shown.json", Prompt("p", examples=[["p\nx<|im_end|>", "[]"]]), fine)
    prompts = write_alpaca(tmp_path / "prompts.json", Prompt("p<|im_start|>", "s"), fine)
    common = ["--model", MODEL, "--chat", CHAT, "--output", tmp_path / "tokens.jsonl"]
    calls = [["--alpaca", path, *common] for path in (shown, prompts, texts)]
    calls += [["--alpaca", texts, *common, "--on-invalid", "drop"]]
    in_examples, in_prompt, in_texts, dropped = run_several("encode_split", calls)
    assert "sentence dev-1: the text holds '<|im_end|>'" in in_examples
    assert "sentence dev-1: the text holds '<|im_start|>'" in in_prompt
    assert f"{texts}:3: sentence dev-2: the text holds '<|im_end|>', which the model reads as markup" in in_texts
    assert "texts.json:4: sentence dev-3: the text holds '<|im_start|>'" in in_texts
    assert "texts.json:5: sentence dev-4: the text holds '<|endoftext|>'" in in_texts
    assert "texts.json:6: sentence dev-6: the text holds '{{idx}}', which LLaMA-Factory's template replaces" in in_texts
    assert "dev-1" not in in_texts
    assert "dev-5" not in in_texts
    assert "on_invalid: drop" in in_texts
    assert dropped == ""
    records = read_jsonl(tmp_path / "tokens.jsonl")
    assert [record["id"] for record in records if "problem" in record] == ["dev-2", "dev-3", "dev-4", "dev-6"]
    assert records[5]["answer_ids"] is None


def test_answers_are_encoded_to_the_end_of_the_turn(encoded: Path) -> None:
    for name in PROMPTS:
        for row in read_jsonl(encoded / name / "train.tokens.jsonl"):
            assert row["answer_tokens"] == len(row["answer_ids"]) > 5
    ends = {row["answer_ids"][-2] for row in read_jsonl(encoded / "plain" / "train.tokens.jsonl")}
    assert len(ends) == 1  # the token that ends the turn; a line end follows it
