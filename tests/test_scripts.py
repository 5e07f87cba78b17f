"""The pipeline's small scripts, run by hand."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from helpers import ROOT, read_jsonl, run_script, write_jsonl
from pages import pages

from entitune.cli import InputError
from entitune.engines.lengths import check_lengths
from entitune.engines.vllm_settings import max_lora_rank
from entitune.left_out import read_left_out
from entitune.prompting.answer_formats.writing import write_answer
from entitune.prompting.prompt import Prompt, chat_of
from entitune.prompting.windows import Window
from entitune.records import Entity, Sentence, Tokens
from predict_shard import shard_of
from train_adapter import last_record

SENTENCES = [
    Sentence("dev-1", "温格战胜曼联", (Entity("name", "温格", 0, 2), Entity("organization", "曼联", 4, 6))),
    Sentence("dev-2", "没有", ()),
    Sentence("dev-3", "不知道", None),
]


@pytest.mark.slow
@pytest.mark.parametrize("path", sorted((ROOT / "scripts").glob("*.py")), ids=lambda path: path.stem)
def test_every_script_has_a_help_text(path: Path) -> None:
    done = run_script(path.stem, "--help")
    assert done.returncode == 0, done.stderr
    assert "usage:" in done.stdout
    assert run_script(path.stem, "--no-such-option").returncode == 2


def test_options_in_docstrings_and_pages_exist() -> None:
    texts = [path for folder in ("scripts", "benchmarks") for path in (ROOT / folder).rglob("*.py")]
    texts += [ROOT / name for name in pages()]
    unknown, found = [], 0
    for path in texts:
        text = re.sub(r"\\+\n\s*", " ", path.read_text(encoding="utf-8"))
        for name, rest in re.findall(r"\b(?:scripts|benchmarks)/(\w+)\.py( [^\n`|]*)", text):
            for script in (ROOT / folder / f"{name}.py" for folder in ("scripts", "benchmarks")):
                options = set(re.findall(r" (--[a-z][a-z-]+)", rest)) if script.exists() else set()
                found += len(options)
                code = script.read_text(encoding="utf-8") if options else ""
                unknown += [f"{path.name}: {name}.py {option}" for option in options if f'"{option}"' not in code]
    assert found > 30
    assert unknown == []


def test_alpaca_rows_have_prompt_sentence_and_answer(tmp_path: Path) -> None:
    write_jsonl(tmp_path / "dev.jsonl", [sentence.to_dict() for sentence in SENTENCES])
    (tmp_path / "user.txt").write_text('类别：{labels}。格式：[{"label": "x"}]\n', encoding="utf-8")
    output = tmp_path / "dev.json"
    arguments = ["--sentences", tmp_path / "dev.jsonl", "--user", tmp_path / "user.txt", "--output", output]
    done = run_script("build_alpaca", *arguments, "--labels", "name,organization")
    assert done.returncode == 0, done.stderr
    rows = json.loads(output.read_text(encoding="utf-8"))
    assert [row["id"] for row in rows] == ["dev-1", "dev-2", "dev-3"]
    assert rows[0]["instruction"] == '类别：name, organization。格式：[{"label": "x"}]'
    assert rows[0]["input"] == "温格战胜曼联"
    expected = [{"label": "name", "text": "温格"}, {"label": "organization", "text": "曼联"}]
    assert json.loads(rows[0]["output"]) == expected
    assert rows[1]["output"] == "[]"
    assert rows[2]["output"] == ""
    assert chat_of(rows[0]) == [{"role": "user", "content": rows[0]["instruction"] + "\n温格战胜曼联"}]


def test_crossing_entities_are_refused_or_left_out_of_answers_in_brackets(tmp_path: Path) -> None:
    crossing = (Entity("a", "甲乙", 0, 2), Entity("b", "乙丙", 1, 3))
    labelled = [*SENTENCES[:2], Sentence("dev-9", "甲乙丙", crossing)]
    sentences = write_jsonl(tmp_path / "dev.jsonl", [sentence.to_dict() for sentence in labelled])
    (tmp_path / "user.txt").write_text("{definitions}", encoding="utf-8")
    output = tmp_path / "dev.json"
    arguments = ["--sentences", sentences, "--user", tmp_path / "user.txt", "--output", output, "--answer", "brackets"]
    arguments += ["--labels", "a,b", "--definitions", '{"a": "甲类", "b": "乙类"}']
    done = run_script("build_alpaca", *arguments)
    assert done.returncode == 1
    assert f"{sentences}: 1 entities cross another one" in done.stderr
    assert "b '乙丙' at 1 in sentence dev-9; use another answer format, or" in done.stderr
    assert not output.exists()

    examples = write_jsonl(tmp_path / "examples.jsonl", labelled[2:])
    arguments += ["--on-invalid", "drop", "--examples", examples, "--summary", tmp_path / "dev.summary.json"]
    done = run_script("build_alpaca", *arguments)
    assert done.returncode == 0, done.stderr
    assert "left out of the answers" in done.stderr
    (left_out,) = read_left_out([tmp_path / "dev.summary.json"])
    assert (left_out.what, left_out.count, left_out.of) == ("mentions", 1, 4)
    rows = json.loads(output.read_text(encoding="utf-8"))
    assert [row["output"] for row in rows] == ["[温格|name]战胜[曼联|organization]", "没有", "[甲乙|a]丙"]
    assert rows[0]["instruction"] == "- a：甲类\n- b：乙类"
    assert rows[0]["history"] == [["- a：甲类\n- b：乙类\n甲乙丙", rows[2]["output"]]]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--definitions", "[1]"], "--definitions: expected a JSON object of label: description"),
        (["--definitions", '{"a": 1}'], "--definitions: expected a JSON object of label: description"),
        (["--definitions", "{"], "--definitions: not JSON"),
        (["--definitions", '{"x": "甲类"}'], "--definitions: x is not among --labels a,b"),
        (["--definitions", '{"a": "甲类"}'], "these labels have no description: b"),
        (["--definitions", '{"a": "甲", "b": "乙"}'], "a sentence is unlabelled and cannot be an example"),
    ],
)
def test_prompts_that_cannot_be_made_are_refused(tmp_path: Path, options: list[str], message: str) -> None:
    labelled = write_jsonl(tmp_path / "dev.jsonl", [sentence.to_dict() for sentence in SENTENCES[:2]])
    unlabelled = write_jsonl(tmp_path / "train.jsonl", [SENTENCES[2].to_dict()])
    (tmp_path / "user.txt").write_text("{definitions}", encoding="utf-8")
    arguments = ["--sentences", labelled, "--user", tmp_path / "user.txt", "--output", tmp_path / "dev.json"]
    arguments += ["--labels", "a,b", "--examples", unlabelled if "乙" in options[-1] else labelled]
    done = run_script("build_alpaca", *arguments, *options)
    assert done.returncode == 1
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "dev.json").exists()


def test_few_shot_examples_precede_the_sentence() -> None:
    shown = [(SENTENCES[0], "[1]"), (SENTENCES[1], "[2]")]
    prompt = Prompt.build("{labels}", "角色", {"name": ""}, examples=shown)
    roles = [message["role"] for message in chat_of(prompt.row(SENTENCES[0]))]
    assert roles == ["system", "user", "assistant", "user", "assistant", "user"]
    assert prompt.examples == [["name\n温格战胜曼联", "[1]"], ["name\n没有", "[2]"]]


def test_labels_with_their_descriptions_fill_a_prompt() -> None:
    labels = {"drug": "药品的通用名或商品名，如{labels}", "body": "身体部位"}
    prompt = Prompt.build("类别：\n{definitions}\n格式：{x}\n", "有{labels}", labels)
    assert prompt.user == "类别：\n- drug：药品的通用名或商品名，如{labels}\n- body：身体部位\n格式：{x}"
    assert prompt.system == "有drug, body"
    with pytest.raises(ValueError, match="these labels have no description: body, part"):
        Prompt.build("{definitions}", "", {"drug": "药", "body": "", "part": ""})
    assert Prompt.build("{labels}", "", {"drug": "药", "body": ""}).user == "drug, body"


@pytest.fixture
def registered(tmp_path: Path) -> list[object]:
    rows = [Prompt("p").row(sentence, write_answer("json", sentence)) for sentence in SENTENCES[:2]]
    (tmp_path / "train.json").write_text(json.dumps(rows), encoding="utf-8")
    tokens = [
        {"id": "dev-1", "prompt_ids": [1] * 10, "answer_tokens": 6},
        {"id": "dev-2", "prompt_ids": [1] * 8, "answer_tokens": 2},
    ]
    write_jsonl(tmp_path / "tokens.jsonl", tokens)
    arguments = ["--alpaca", tmp_path / "train.json", "--tokens", tmp_path / "tokens.jsonl", "--name", "x_train"]
    return [*arguments, "--output-dir", tmp_path / "out"]


def test_rows_that_fit_are_registered(tmp_path: Path, registered: list[object]) -> None:
    assert run_script("register_dataset", *registered, "--cutoff-len", 16).returncode == 0
    assert len(json.loads((tmp_path / "out" / "train.json").read_text(encoding="utf-8"))) == 2
    info = json.loads((tmp_path / "out" / "dataset_info.json").read_text(encoding="utf-8"))
    assert info["x_train"]["file_name"] == "train.json"
    assert info["x_train"]["columns"]["response"] == "output"


def test_windows_of_the_selected_sentences_are_registered(tmp_path: Path, registered: list[object]) -> None:
    rows = json.loads((tmp_path / "train.json").read_text(encoding="utf-8"))
    rows = [{**row, "sentence": name} for row, name in zip(rows, ("a", "b"), strict=True)]
    (tmp_path / "train.json").write_text(json.dumps(rows), encoding="utf-8")
    write_jsonl(tmp_path / "selected.jsonl", [Sentence("b", "好", ())])
    write_jsonl(tmp_path / "held.jsonl", [Sentence("a", "好", ())])
    chosen = ["--cutoff-len", 16, "--selected", tmp_path / "selected.jsonl"]
    for options, held_out in (([], None), (["--held-out", tmp_path / "held.jsonl"], ["dev-1"])):
        done = run_script("register_dataset", *registered, *chosen, *options)
        assert done.returncode == 0, done.stderr
        kept = json.loads((tmp_path / "out" / "train.json").read_text(encoding="utf-8"))
        assert [row["id"] for row in kept] == ["dev-2"]
        if held_out:
            rows = json.loads((tmp_path / "out" / "held_out.json").read_text(encoding="utf-8"))
            assert [row["id"] for row in rows] == held_out


def test_windows_of_held_out_sentences_choose_a_checkpoint(tmp_path: Path) -> None:
    windows = [
        Window("a@0-1", "甲", (), "a"),
        Window("a@1-2", "乙", (), "a", 1),
        Window("b", "丙", ()),
        Window("c", "丁", ()),
    ]
    write_jsonl(tmp_path / "windows.jsonl", windows)
    write_jsonl(tmp_path / "tokens.jsonl", [{"id": one.id, "prompt_ids": [1], "answer_tokens": 2} for one in windows])
    write_jsonl(tmp_path / "held.jsonl", [Sentence("a", "甲乙", ()), Sentence("c", "丁", ())])
    files = ["--held-out", tmp_path / "held.jsonl", "--tokens", tmp_path / "tokens.jsonl"]
    files += ["--windows", tmp_path / "windows.jsonl", "--sentences", tmp_path / "s.jsonl", "--output", tmp_path / "o"]
    done = run_script("register_held_out", *files, "--max-tokens", 5, "--max-model-len", 10)
    assert done.returncode == 0, done.stderr
    for name in ("s.jsonl", "o"):
        assert [row["id"] for row in read_jsonl(tmp_path / name)] == ["a@0-1", "a@1-2", "c"]


def test_rows_that_would_be_cut_are_refused_or_dropped(tmp_path: Path, registered: list[object]) -> None:
    done = run_script("register_dataset", *registered, "--cutoff-len", 15)
    assert done.returncode == 1
    assert "sentence dev-1: 16 tokens with prompt and answer, cutoff_len is 15" in done.stderr
    assert not (tmp_path / "out" / "train.json").exists()
    done = run_script("register_dataset", *registered, "--cutoff-len", 15, "--on-invalid", "drop")
    assert done.returncode == 0
    assert "dropped 1 of 2 rows" in done.stdout
    (dropped,) = read_jsonl(tmp_path / "out" / "too_long.jsonl")
    assert dropped["id"] == "dev-1"
    assert [str(one) for one in read_left_out([tmp_path / "out" / "train.summary.json"])] == [
        "train: 1 of 2 rows left out: longer than cutoff_len 15 (1)"
    ]
    done = run_script("register_dataset", *registered, "--cutoff-len", 15, "--on-invalid", "drop", "--max-dropped", 0.4)
    assert done.returncode == 1
    assert "1 of 2 rows cannot be used: longer than cutoff_len 15 (1); max_dropped allows 40.0%" in done.stderr
    assert "windows: true" in done.stderr
    done = run_script("register_dataset", *registered, "--cutoff-len", 5, "--on-invalid", "drop")
    assert done.returncode == 1
    assert "no row is left" in done.stderr


def render(tmp_path: Path, **changes: Any) -> dict[str, Any]:
    files = {"train": "[1]", "manifest": "m", "lock": "l"}
    files |= {name: content for name, content in changes.items() if name in files}
    for name, content in files.items():
        (tmp_path / name).write_text(content)
    arguments = {"lora_rank": changes.get("rank", 8), "learning_rate": 1e-4, **changes.get("arguments", {})}
    options = ["--arguments", json.dumps(arguments), "--dataset", "x_train", "--seed", changes.get("seed", 1)]
    options += [word for name in files for word in (f"--{name}", tmp_path / name)]
    options += ["--whole-accumulations"] if changes.get("whole") else []
    options += ["--checkpoints", tmp_path / "checkpoints", "--output", tmp_path / "train.yaml"]
    done = run_script("render_config", *options)
    assert done.returncode == 0, done.stderr
    rendered: dict[str, Any] = yaml.safe_load((tmp_path / "train.yaml").read_text(encoding="utf-8"))
    return rendered


def test_rendered_config_names_seed_and_files(tmp_path: Path) -> None:
    rendered = render(tmp_path, seed=7)
    assert rendered["seed"] == rendered["data_seed"] == 7
    assert rendered["dataset"] == "x_train"
    assert rendered["learning_rate"] == 1e-4
    assert rendered["overwrite_output_dir"] is False
    assert rendered["mask_history"] is True
    assert rendered["logging_nan_inf_filter"] is False
    assert "template" not in rendered


def test_a_rendered_config_depends_on_the_number_of_rows(tmp_path: Path) -> None:
    """The number of steps depends on the rows. A training shorter than logging_steps still logs its loss once."""
    arguments = {"per_device_train_batch_size": 4, "gradient_accumulation_steps": 8, "num_train_epochs": 3.0}
    for rows, steps, logged in ((9_673, 906, 10), (330, 30, 10), (40, 3, 3)):
        train = json.dumps(list(range(rows)))
        rendered = render(tmp_path, train=train, arguments={**arguments, "logging_steps": 10}, whole=True)
        assert (rendered["max_steps"], rendered["logging_steps"]) == (steps, logged)
        assert "max_steps" not in render(tmp_path, train=train, arguments=arguments)


@pytest.mark.parametrize("change", [{"train": "[2]"}, {"manifest": "x"}, {"lock": "x"}, {"rank": 9}, {"seed": 2}])
def test_other_data_model_settings_or_seed_get_another_folder(tmp_path: Path, change: dict[str, object]) -> None:
    assert render(tmp_path)["output_dir"] == render(tmp_path)["output_dir"]
    assert render(tmp_path)["output_dir"] != render(tmp_path, **change)["output_dir"]


def test_shards_are_contiguous_and_complete() -> None:
    records = [{"id": i} for i in range(11)]
    for shards in (1, 2, 3, 11, 12):
        parts = [shard_of(records, shard, shards) for shard in range(1, shards + 1)]
        assert [record for part in parts for record in part] == records
        assert max(map(len, parts)) - min(map(len, parts)) <= 1


def test_prompts_without_room_for_an_answer_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    records = [Tokens("a", [1] * 90, 20)]
    check_lengths(records, 10, 100, "tokens.jsonl")
    assert "1 gold answers (the first: a) are longer than max_tokens" in capsys.readouterr().out
    with pytest.raises(InputError, match=r"with windows: true in .*, set max_model_len to at least 110"):
        check_lengths(records, 20, 100, "tokens.jsonl")


def test_max_lora_rank_fits_the_adapters(tmp_path: Path) -> None:
    for rank in (1, 8, 24, 64, 1024):
        (tmp_path / str(rank)).mkdir()
        (tmp_path / str(rank) / "adapter_config.json").write_text(json.dumps({"r": rank}))
    for ranks, limit in (([1], 1), ([8], 8), ([24], 32), ([64, 8], 64)):
        assert max_lora_rank([tmp_path / str(rank) for rank in ranks]) == limit
    with pytest.raises(InputError, match="rank 1024"):
        max_lora_rank([tmp_path / "8", tmp_path / "1024"])


def test_answers_that_miss_a_sentence_are_refused(tmp_path: Path) -> None:
    write_jsonl(tmp_path / "s.jsonl", [sentence.to_dict() for sentence in SENTENCES[:2]])
    answer = {"run": "demo", "seed": 1, "raw": "[]", "finish_reason": "stop", "output_tokens": 2}
    write_jsonl(tmp_path / "a.jsonl", [{"id": "dev-2", **answer}])
    arguments = ["--sentences", tmp_path / "s.jsonl", "--answers", tmp_path / "a.jsonl", "--output", tmp_path / "p"]
    arguments += ["--run", "demo", "--seed", 1]
    done = run_script("read_answers", *arguments)
    assert done.returncode == 1
    assert "expected one answer for each sentence" in done.stderr
    assert not (tmp_path / "p").exists()


def test_answers_are_grounded_and_counted(tmp_path: Path) -> None:
    write_jsonl(tmp_path / "s.jsonl", [sentence.to_dict() for sentence in SENTENCES])
    raws = [('[{"label": "name", "text": "温格"}, {"label": "name", "text": "曼城"}]', "stop"), ("好的", "stop")]
    raws.append(('[{"label": "name", "text": "不知道"}, {"la', "length"))
    answers = [
        {"run": "demo", "seed": 1, "id": sentence.id, "raw": raw, "finish_reason": reason, "output_tokens": 1}
        for sentence, (raw, reason) in zip(SENTENCES, raws, strict=True)
    ]
    write_jsonl(tmp_path / "a1.jsonl", answers[:2])
    write_jsonl(tmp_path / "a2.jsonl", answers[2:])
    paths = ["--answers", tmp_path / "a1.jsonl", tmp_path / "a2.jsonl", "--output", tmp_path / "p.jsonl"]
    paths += ["--run", "demo", "--seed", 1]
    done = run_script("read_answers", "--sentences", tmp_path / "s.jsonl", *paths)
    assert done.returncode == 0, done.stderr
    records = read_jsonl(tmp_path / "p.jsonl")
    assert [record["status"] for record in records] == ["ok", "unparseable", "truncated"]
    assert records[0]["pred"] == [
        {"label": "name", "text": "温格", "start": 0, "end": 2},
        {"label": "name", "text": "曼城", "start": None, "end": None},
    ]
    assert records[2]["pred"][0]["end"] == 3
    assert records[2]["gold"] is None


def test_progress_is_read_while_a_line_is_being_written(tmp_path: Path) -> None:
    log = tmp_path / "trainer_log.jsonl"
    assert last_record(log) is None
    log.write_text('{"current_steps": 1}\n{"current_st')
    assert last_record(log) == {"current_steps": 1}
