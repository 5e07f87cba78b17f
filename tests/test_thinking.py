"""The key `thinking` of a model, with a model of Qwen3's architecture that thinks by default.

Its weights are random and its chat template is our own. Trainer, encoding, parity and server are compared by their
token ids.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from helpers import python_of, read_jsonl, run_code
from training import MODEL, RECIPE, SENTENCES, prepare, prepare_chats, render, run_several

from entitune.prompting.chat import ChatSettings
from entitune.prompting.prompt import AlpacaRow, Prompt, chat_of

TEMPLATE = (
    "{%- for message in messages %}"
    "{{- '<|im_start|>' + message.role + '\\n' }}"
    "{%- if message.role == 'assistant' and loop.last %}{{- '<think>\\n\\n</think>\\n\\n' }}{%- endif %}"
    "{{- message.content + '<|im_end|>\\n' }}"
    "{%- endfor %}"
    "{%- if add_generation_prompt %}"
    "{{- '<|im_start|>assistant\\n' }}"
    "{%- if enable_thinking is defined and enable_thinking is false %}{{- '<think>\\n\\n</think>\\n\\n' }}{%- endif %}"
    "{%- endif %}"
)
MAKE = """
import sys, torch
from transformers import AutoTokenizer, Qwen3Config, Qwen3ForCausalLM

tokenizer = AutoTokenizer.from_pretrained(sys.argv[1])
tokenizer.add_tokens(["<think>", "</think>"])
tokenizer.chat_template = sys.argv[3]
torch.manual_seed(0)
config = Qwen3Config(vocab_size=len(tokenizer), hidden_size=64, intermediate_size=128, num_hidden_layers=2,
    num_attention_heads=4, num_key_value_heads=2, head_dim=16, max_position_embeddings=1024, tie_word_embeddings=True,
    eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id)
Qwen3ForCausalLM(config).to(torch.bfloat16).save_pretrained(sys.argv[2])
tokenizer.save_pretrained(sys.argv[2])
"""
PROMPTS = {
    "plain": Prompt("找出实体。"),
    "examples": Prompt(
        "找出实体。", "你是专家。", [["找出实体。\n白石来了。", "[]"], ["找出实体。\n高远来了。", "[]"]]
    ),
}
OFF, ON = ChatSettings("qwen3"), ChatSettings("qwen3", thinking=True)
CASES = {"off": OFF, "on": ON, "own-off": ChatSettings(), "own-on": ChatSettings(thinking=True)}


def test_the_settings_are_one_record() -> None:
    assert ChatSettings.from_json(ON.to_json()) == ON
    assert ON.training_arguments == {"template": "qwen3", "enable_thinking": True}
    assert ChatSettings().training_arguments == {"enable_thinking": False}
    assert OFF.template_arguments == {"enable_thinking": False}
    with pytest.raises(TypeError):
        ChatSettings.from_json('{"templat": "qwen3"}')


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("qwen3") / "model"
    run_code("train", MAKE, MODEL, folder, TEMPLATE)
    return folder


@pytest.fixture(scope="module")
def encoded(model: Path) -> Path:
    prepare_chats({model.parent / name: chat.to_json() for name, chat in CASES.items()}, PROMPTS, model=model)
    return model.parent


def parity_call(folder: Path, model: Path, chat: ChatSettings) -> list[object]:
    words = ["--alpaca", folder / "train.json", "--tokens", folder / "train.tokens.jsonl", "--model", model]
    return [*words, "--chat", chat.to_json(), "--output", folder / "parity.json"]


@pytest.mark.engine
def test_trainer_encoding_and_chat_template_make_the_same_tokens(encoded: Path, model: Path) -> None:
    folders = {(name, prompt): encoded / name / prompt for name in CASES for prompt in PROMPTS}
    proofs = []
    for (name, _), folder in folders.items():
        config = render(folder, RECIPE, CASES[name].to_json(), model_name_or_path=str(model))
        proofs.append(
            ["--config", config, "--tokens", folder / "train.tokens.jsonl", "--output", folder / "proof.json"]
        )
    assert run_several("check_training_rows", proofs) == [""] * len(folders)
    calls = [parity_call(folder, model, CASES[name]) for (name, _), folder in folders.items()]
    assert run_several("check_parity", calls, "predict-cpu") == [""] * len(folders)


@pytest.mark.engine
def test_the_empty_thought_is_learned_only_if_the_model_may_think(encoded: Path, model: Path) -> None:
    added = {
        token["content"]: token["id"] for token in json.loads((model / "tokenizer.json").read_text())["added_tokens"]
    }
    thought = {added["<think>"], added["</think>"]}
    for name, chat in CASES.items():
        for prompt in PROMPTS:
            for row in read_jsonl(encoded / name / prompt / "train.tokens.jsonl"):
                in_prompt, in_answer = (thought & set(row[key]) for key in ("prompt_ids", "answer_ids"))
                assert (in_prompt, in_answer) == ((set(), thought) if chat.thinking else (thought, set()))


@pytest.mark.engine
def test_settings_with_different_prompts_in_training_and_serving_are_refused(encoded: Path, model: Path) -> None:
    folder = encoded / "nothink"
    folder.mkdir()
    prepare(folder, {"plain": PROMPTS["plain"]}, model=model, chat=ChatSettings("qwen3_nothink").to_json())
    calls = [
        parity_call(folder / "plain", model, ChatSettings("qwen3_nothink")),
        parity_call(encoded / "off" / "plain", model, ON),
        parity_call(encoded / "on" / "plain", model, OFF),
        parity_call(encoded / "on" / "plain", MODEL, ON),
    ]
    nothink, off, on, no_switch = run_several("check_parity", calls, "predict-cpu")
    for refused in (nothink, off, on):
        assert "sentence train-1: the prompt served differs from the prompt trained on" in refused
    assert "the chat template has no switch for thinking" in no_switch
    assert "remove `thinking: true`" in no_switch


@pytest.fixture(scope="module")
def server(model: Path) -> Iterator[str]:
    """vLLM's own server with default settings for a model that must not think."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [str(python_of("predict-cpu")), "-m", "vllm.entrypoints.openai.api_server", "--model", str(model)]
    command += ["--host", "127.0.0.1", "--port", str(port), "--served-model-name", "m", "--enforce-eager"]
    command += ["--max-model-len", "512", "--default-chat-template-kwargs", json.dumps(OFF.template_arguments)]
    variables = {"VLLM_CPU_KVCACHE_SPACE": "1", "HF_HUB_OFFLINE": "1", "VLLM_NO_USAGE_STATS": "1"}
    log = (model.parent / "server.log").open("w")
    process = subprocess.Popen(command, env={**os.environ, **variables}, stdout=log, stderr=log)
    deadline = time.monotonic() + 600
    try:
        while True:
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/health").close()
                break
            except OSError:
                assert process.poll() is None, (model.parent / "server.log").read_text()[-3000:]
                assert time.monotonic() < deadline
                time.sleep(0.5)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait()


def tokens_of(server: str, row: AlpacaRow, **more: object) -> list[int]:
    body = {"model": "m", "messages": chat_of(row), "add_generation_prompt": True, **more}
    request = urllib.request.Request(
        f"{server}/tokenize", json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request) as answer:
        ids: list[int] = json.loads(answer.read())["tokens"]
    return ids


@pytest.mark.engine
def test_the_server_sends_the_same_tokens_to_the_model(encoded: Path, server: str) -> None:
    for prompt in PROMPTS:
        rows = json.loads((encoded / "off" / prompt / "train.json").read_text(encoding="utf-8"))
        for name, more in (("off", {}), ("on", {"chat_template_kwargs": ON.template_arguments})):
            trained = read_jsonl(encoded / name / prompt / "train.tokens.jsonl")
            served = [tokens_of(server, row, **more) for row in rows]
            assert served == [record["prompt_ids"] for record in trained]
        assert len(rows) == len(SENTENCES)
