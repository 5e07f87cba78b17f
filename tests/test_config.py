"""conf/ is checked while the workflow is parsed: one message with file, key and the fix."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from helpers import ROOT, SHEET, edit_yaml, snakemake
from steps import grows_linearly

from entitune.config_files import ConfigError, read_sheet
from entitune.runs import SELECT, TunedRun
from entitune.study import Study, load_study

DEMO = "demo\tdemo\tentitune-tiny\tner-zh-short\tdemo\tcpu\t1\t\n"

KEYS = "adam_beta1 adam_beta2 adam_epsilon learning_rate lora_dropout max_grad_norm neftune_noise_alpha weight_decay"
LONG_SWEEP = ";".join(f"{name}=0.123456789" for name in KEYS.split())
"""A sweep with run names of more than 200 characters."""


@pytest.fixture
def conf(tmp_path: Path) -> Path:
    shutil.copytree(ROOT / "conf", tmp_path / "conf")
    (tmp_path / "conf" / "runs.tsv").write_text(SHEET + DEMO)
    return tmp_path / "conf"


def problem(conf: Path, **config: object) -> str:
    with pytest.raises(ConfigError) as caught:
        load_study({"runs": ["demo"], **config}, conf)
    return str(caught.value)


def test_committed_configuration_is_valid() -> None:
    study = load_study(yaml.safe_load((ROOT / "conf" / "config.yaml").read_text()), ROOT / "conf")
    assert isinstance(study, Study)
    assert study.selected[0] == "demo"


def test_defaults_are_filled_in(conf: Path) -> None:
    study = load_study({"runs": ["demo"]}, conf)
    assert study.datasets["demo"].on_invalid == "fail"
    assert study.prompts["ner-zh-short"].shots == 0


def test_runs_from_the_command_line_arrive_as_text(conf: Path) -> None:
    (conf / "runs.tsv").write_text(SHEET + DEMO + DEMO.replace("demo", "other", 1))
    assert load_study({"runs": "demo,other"}, conf).selected == ("demo", "other")


def test_sweep_expands_into_runs(conf: Path) -> None:
    sweep = "lora_rank=8,16;learning_rate=1.0e-4,2.0e-4"
    (conf / "runs.tsv").write_text(SHEET + DEMO.replace("\t\n", f"\t{sweep}\n"))
    study = load_study({"runs": ["demo"]}, conf)
    assert len(study.selected) == 4
    assert study.selected[2] == "demo+lora_rank=16+learning_rate=0.0001"
    run = study.runs[study.selected[2]]
    assert isinstance(run, TunedRun)
    assert run.arguments["lora_rank"] == 16
    assert run.arguments["learning_rate"] == 1.0e-4


@pytest.mark.parametrize(
    ("registry", "keys", "changes", "expected"),
    [
        ("datasets", ["demo"], {"formt": "x"}, ["conf/datasets.yaml: demo", "unknown key 'formt'", "format"]),
        ("datasets", ["demo"], {"format": "csv"}, ["conf/datasets.yaml: demo: format", "cluener", "conll-bio"]),
        ("datasets", ["demo"], {"labels": ["<|im_end|>"]}, ["demo: labels: 0", "<|im_end|>", "is markup"]),
        ("datasets", ["demo"], {"labels": {"a": "<|x|>"}}, ["demo: labels: 0", "<|x|>", "is markup"]),
        ("datasets", ["demo"], {"labels": [1]}, ["demo: labels: 0", "1 is not of type string", "in quotes: '1'"]),
        ("datasets", ["demo"], {"labels": "name"}, ["conf/datasets.yaml: demo: labels", "array"]),
        ("datasets", ["demo"], {"labels": ["a,b"]}, ["conf/datasets.yaml: demo: labels: 0", "a,b"]),
        ("datasets", ["cluener", "archive"], {"sha256": "12"}, ["archive: sha256", "64 hexadecimal digits"]),
        ("models", ["entitune-tiny"], {"source": "hub"}, ["models.yaml: entitune-tiny: source", "modelscope"]),
        ("models", ["entitune-tiny"], {"source": "modelscope"}, ["models.yaml: entitune-tiny", "'id'"]),
        ("prompts", ["ner-zh-short"], {"user": "prompts/no.txt"}, ["prompts.yaml: ner-zh-short", "no.txt"]),
        ("recipes", ["demo"], {"gpus": -1}, ["recipes.yaml: demo: gpus", "-1"]),
        ("recipes", ["demo"], {"config": "train/no.yaml"}, ["train/no.yaml", "no such file"]),
        ("recipes", ["reference"], {"gpus": 0}, ["recipes.yaml: reference", "use_cpu"]),
        ("decode", ["cpu"], {"adapter": "both"}, ["decode.yaml: cpu: adapter", "merged", "lora"]),
        ("decode", ["cpu"], {"max_tokens": "many"}, ["decode.yaml: cpu: max_tokens", "integer"]),
        ("decode", ["cpu"], {"max_tokens": 512}, ["decode.yaml: cpu: max_model_len: 512", "no room for a prompt"]),
        ("datasets", ["demo"], {"labels": {"a": "b\nc"}}, ["demo: labels: 0: description", "one line"]),
    ],
)
def test_mistakes_in_registries_are_named(
    conf: Path, registry: str, keys: list[str], changes: dict[str, object], expected: list[str]
) -> None:
    edit_yaml(conf / f"{registry}.yaml", *keys, **changes)
    message = problem(conf)
    assert all(part in message for part in expected), message


def test_the_time_to_plan_a_sweep_is_linear(conf: Path) -> None:
    """Planning a run of a sweep (reading, engine groups, files, provenance) costs the same for 200 and 400 runs."""

    def work(runs: int) -> Callable[[], None]:
        rates = ",".join(f"{rate}.0e-6" for rate in range(1, runs + 1))
        sweep = DEMO.replace("\t\n", f"\tlearning_rate={rates}\n")

        def plan() -> None:
            (conf / "runs.tsv").write_text(SHEET + sweep)
            study = load_study({"runs": ["demo"]}, conf)
            assert len(study.selected) == runs
            for run in study.selected_runs:
                study.made_from(run, 1)

        return plan

    assert grows_linearly(work, 200)


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        (DEMO.replace("\tdemo", "\tnowhere", 1), ["row 'demo'", "dataset", "nowhere", "conf/datasets.yaml", "cluener"]),
        (DEMO.replace("ner-zh-short", "x"), ["row 'demo'", "prompt", "conf/prompts.yaml"]),
        (DEMO.replace("\tdemo\tcpu", "\tx\tcpu"), ["row 'demo'", "train", "none"]),
        (DEMO + DEMO, ["two runs", "demo"]),
        (DEMO.replace("demo", "a/b", 1), ["row 'a/b'", "safe as a name in a path"]),
        (DEMO.replace("demo", "a..b", 1), ["row 'a..b'", "'..'"]),
        (DEMO.replace("demo", "..", 1), ["row '..'"]),
        (DEMO.replace("demo", "datasets", 1), ["datasets", "reserved"]),
        (DEMO.replace("\t1\t", "\t1;2\t"), ["seeds", "1;2", "whole numbers"]),
        (DEMO.replace("\t1\t", "\t1,1\t"), ["seeds", "repeats a seed"]),
        (DEMO.replace("\t\n", "\tlora_rnk=8\n"), ["sweep", "lora_rnk"]),
        (DEMO.replace("demo\tcpu", "none\tcpu").replace("\t\n", "\tlora_rank=8\n"), ["sweep", "does not train"]),
        (DEMO.replace("\t1\t\n", "\n"), ["runs.tsv:2", "columns"]),
        (DEMO.replace("\t1\t", "\t٣\t"), ["seeds", "٣", "whole numbers"]),
        (DEMO.replace("\t\n", "\tlearning_rate=.inf\n"), ["sweep", "learning_rate: inf", "finite"]),
        (DEMO.replace("\t\n", "\tuse_rslora=yes\n"), ["sweep", "use_rslora: 'yes'", "boolean"]),
        (DEMO.replace("\t\n", "\tadam_beta1=2\n"), ["sweep", "adam_beta1: 2", "less than 1"]),
        (DEMO.replace("\t\n", f"\t{LONG_SWEEP}\n"), ["sweep", "more than 200 characters", "fewer keys"]),
    ],
)
def test_mistakes_in_the_sheet_are_named(conf: Path, row: str, expected: list[str]) -> None:
    (conf / "runs.tsv").write_text(SHEET + row)
    message = problem(conf)
    assert all(part in message for part in expected), message


def test_a_duplicate_column_of_the_sheet_is_refused(conf: Path) -> None:
    (conf / "runs.tsv").write_text(SHEET.replace("\n", "\tsweep\n") + DEMO.replace("\n", "lora_rank=8\n"))
    assert "the header has the column 'sweep' twice" in problem(conf)


def test_missing_files_of_a_selected_run_are_named(conf: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """This includes the needs of the run whose seeds vote."""
    monkeypatch.chdir(ROOT)
    vote = "vote\tdemo\t-\t-\tvote:demo\t-\t1\n"
    (conf / "runs.tsv").write_text(SHEET + DEMO.replace("\t1\t", "\t1,2,3\t") + vote)

    def missing() -> str:
        with pytest.raises(ConfigError) as caught:
            load_study({"runs": ["vote"]}, conf).check_files()
        return str(caught.value)

    models = (conf / "models.yaml").read_text(encoding="utf-8")
    (conf / "models.yaml").write_text(models.replace("data/models/entitune-tiny", "data/models/no"), encoding="utf-8")
    assert "entitune-tiny: path: no such folder: data/models/no" in missing()
    edit_yaml(conf / "models.yaml", "entitune-tiny", source="package", lock="envs/no.txt")
    assert "entitune-tiny: lock: no such file: envs/no.txt" in missing()
    edit_yaml(conf / "datasets.yaml", "demo", "splits", train="data/demo")
    assert "demo: splits: train: data/demo is not a file; format cluener needs a file" in missing()


def test_mistakes_in_config_yaml_are_named(conf: Path) -> None:
    assert "'dev' is given twice" in problem(conf, splits="dev,dev")
    assert "conf/config.yaml: unknown key 'run'" in problem(conf, run="demo")
    assert "no 'nope'" in problem(conf, runs=["nope"])
    assert "'demo' is not a dataset with an archive" in problem(conf, local_archive={"demo": "x.zip"})


def test_tables_cover_the_splits_of_config_yaml(conf: Path) -> None:
    assert load_study({"runs": ["demo"]}, conf).splits == ("dev",)
    edit_yaml(conf / "datasets.yaml", "demo", splits={"train": "t.json", "dev": "d.json", "test": "e.json"})
    study = load_study({"runs": ["demo"], "splits": "dev,test"}, conf)
    files = study.made_from(study.runs["demo"], 1)
    assert [name for name in files if "scores" in name] == [
        "results/demo/seed-1/scores/dev.tsv",
        "results/demo/seed-1/scores/test.tsv",
    ]
    assert "is not one of 'dev', 'test'" in problem(conf, splits=["train"])
    edit_yaml(conf / "datasets.yaml", "demo", splits={"train": "t.json", "dev": "d.json"})
    assert "dataset 'demo' of run 'demo' has no split 'test'" in problem(conf, splits=["test"])


def test_a_recipe_with_select_scores_its_checkpoints_on_held_out_rows(conf: Path) -> None:
    edit_yaml(conf / "recipes.yaml", "demo", select=0.1)
    (conf / "runs.tsv").write_text(SHEET + DEMO.replace("\t\n", "\ttrain_rows=80\n"))
    study = load_study({"runs": ["demo"]}, conf)
    run = study.runs["demo+train_rows=80"]
    assert isinstance(run, TunedRun)
    assert "save_total_limit" not in run.arguments  # each checkpoint is a candidate
    assert run.selection(3) == ".held_out-0.1.rows-80.seed-3"
    files = study.made_from(run, 1)
    assert {run.files(1).candidates, run.files(1).checkpoint_scores, run.files(1).adapter()} <= set(files)
    assert run.rows_trained_on(640) == 80
    # The choice reads held-out training rows, and no rows of dev.
    source = run.engine_source(1, SELECT)
    assert (source.sentences, source.tokens) == (run.files(1).held_out, run.files(1).held_out_tokens)
    assert (source.model, source.adapter) == (run.files(1).merged_candidates, None)
    assert source.parity == run.data.parity("train", "predict-cpu")
    edit_yaml(conf / "decode.yaml", "cpu", adapter="lora")
    served = load_study({"runs": ["demo"]}, conf).runs["demo+train_rows=80"]
    assert isinstance(served, TunedRun)
    assert served.engine_source(1, SELECT).adapter == run.files(1).candidates


def test_recipes_that_cannot_hold_out_rows_are_refused(conf: Path) -> None:
    edit_yaml(conf / "recipes.yaml", "demo", select=1)
    assert "conf/recipes.yaml: demo: select" in problem(conf)
    edit_yaml(conf / "recipes.yaml", "demo", select=0.1)
    edit_yaml(conf / "train" / "demo.yaml", val_size=0.1)
    assert "val_size: `select` already holds out rows" in problem(conf)
    (conf / "runs.tsv").write_text(SHEET + DEMO.replace("\t\n", "\tsave_strategy=no\n"))
    edit_yaml(conf / "train" / "demo.yaml", val_size=0)
    assert "row 'demo': sweep: save_strategy: " in problem(conf)


def test_files_of_other_systems_are_checked(conf: Path) -> None:
    def imports(text: str) -> None:
        (conf / "imports.yaml").write_text(f"theirs: {{{text}, system: x}}\n", encoding="utf-8")

    (conf / "runs.tsv").write_text(SHEET + DEMO.replace("demo\tcpu\t1", "import:theirs\tcpu\t1"))
    imports("predictions: a.jsonl")
    edit_yaml(conf / "datasets.yaml", "demo", splits={"train": "t.json", "dev": "d.json", "test": "e.json"})
    assert "conf/imports.yaml: theirs: test_predictions: missing" in problem(conf, splits=["dev", "test"])
    imports("predictions: [a, b]")
    assert "predictions of dev: only format parallel takes two files" in problem(conf)
    imports("predictions: [a, b], format: parallel")
    study = load_study({"runs": ["demo"]}, conf)
    assert study.made_from(study.runs["demo"], 1)[:2] == ["a", "b"]


def test_a_thought_and_a_schema_exclude_each_other(conf: Path) -> None:
    edit_yaml(conf / "models.yaml", "entitune-tiny", thinking=True)
    edit_yaml(conf / "decode.yaml", "cpu", structured=True)
    assert "row 'demo': model 'entitune-tiny' thinks before it answers" in problem(conf)


def test_equal_keys_are_refused(conf: Path) -> None:
    with (conf / "models.yaml").open("a") as stream:
        stream.write("entitune-tiny: {}\n")
    assert "'entitune-tiny' is given twice" in problem(conf)


def test_broken_yaml_names_the_line(conf: Path) -> None:
    (conf / "models.yaml").write_text("a: [1\nb: 2\n")
    assert "line 2" in problem(conf)


def test_numbers_that_yaml_reads_as_text_are_named(conf: Path) -> None:
    (conf / "train" / "demo.yaml").write_text("cutoff_len: 256\nuse_cpu: true\nlearning_rate: 1e-4\n")
    assert "learning_rate: YAML reads 1e-4 as text" in problem(conf)


def test_checkpoints_from_which_training_would_resume_differently_are_refused(conf: Path) -> None:
    text = "cutoff_len: 256\nuse_cpu: true\ntrain_sampling_strategy: group_by_length\nsave_steps: 50\n"
    (conf / "train" / "demo.yaml").write_text(text)
    assert "save_strategy: must be epoch with group_by_length" in problem(conf)


def test_arguments_that_the_pipeline_sets_are_refused(conf: Path) -> None:
    (conf / "train" / "demo.yaml").write_text("cutoff_len: 256\nuse_cpu: true\nseed: 3\n")
    assert "seed: the pipeline sets this argument" in problem(conf)


def test_sheet_skips_comments_and_empty_lines(tmp_path: Path) -> None:
    (tmp_path / "runs.tsv").write_text("# a comment\nrun\tseeds\n\na\t1\n")
    assert read_sheet(tmp_path / "runs.tsv") == [{"run": "a", "seeds": "1"}]


@pytest.mark.workflow
def test_workflow_shows_one_message_and_no_traceback() -> None:
    done = snakemake(ROOT, "-n", "--config", "runs=nope")
    assert done.returncode != 0
    assert "conf/config.yaml: runs: no 'nope' in conf/runs.tsv; there are: demo" in done.stdout
    assert "Traceback" not in done.stdout


@pytest.mark.workflow
def test_an_unknown_run_in_a_target_gives_a_message() -> None:
    done = snakemake(ROOT, "-n", "results/nope/seed-1/train.yaml")
    assert done.returncode != 0
    assert "has no run 'nope'; it has: demo" in done.stdout


@pytest.mark.workflow
def test_the_list_of_rules_describes_each_rule() -> None:
    listed = [line for line in snakemake(ROOT, "--list-rules").stdout.splitlines() if re.match("[a-z_]+( |$)", line)]
    assert len(listed) > 30
    assert [line for line in listed if not re.fullmatch(r"\w+ \(.+\)", line)] == []


@pytest.mark.parametrize(("value", "shown"), [(1, "1"), (0, "0"), (True, "true"), (False, "false"), (None, "null")])
def test_a_value_that_is_not_text_is_shown_as_written(conf: Path, value: object, shown: str) -> None:
    edit_yaml(conf / "datasets.yaml", "demo", labels=["name", value])
    assert f"demo: labels: 1: {shown} is not of type string; put it in quotes: '{shown}'" in problem(conf)
