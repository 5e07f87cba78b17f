"""The pages that people read: made from what they describe, and the same in both languages."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest
from helpers import ROOT

from document_config import main as document_config
from document_scripts import DEVELOPERS, HELPERS, PEOPLE, steps
from document_scripts import page as scripts_page
from entitune import paths
from entitune.paths import GroupFiles, PromptData, RunFiles

FENCED = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\[[^]]*\]\(([^)#\s]+)[^)]*\)")


def read(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def test_configuration_page_and_schema_are_what_the_models_say(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page, schema = tmp_path / "configuration.md", tmp_path / "study.schema.json"
    monkeypatch.setattr(sys, "argv", ["document_config", "--schema", str(schema), "--output", str(page)])
    document_config()
    assert read("docs/configuration.md") == page.read_text(encoding="utf-8"), "run scripts/document_config.py"
    committed = read("conf/schemas/study.schema.json")
    assert committed == schema.read_text(encoding="utf-8"), "run scripts/document_config.py"


def test_the_index_of_scripts_is_what_the_rules_say(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    assert read("scripts/README.md") == scripts_page(), "run scripts/document_scripts.py"
    named = {*PEOPLE, *HELPERS, *DEVELOPERS} | {step.script for step in steps()}
    assert {path.stem for path in (ROOT / "scripts").glob("*.py")} == named


def test_both_readmes_have_the_same_commands_and_sections() -> None:
    english, chinese = read("README.md"), read("README.zh-CN.md")
    assert FENCED.findall(chinese) == FENCED.findall(english)
    levels = [re.findall(r"^(#+) ", FENCED.sub("", page), re.MULTILINE) for page in (english, chinese)]
    assert levels[0] == levels[1]
    assert "(README.md)" in chinese


@pytest.mark.parametrize("page", ["README.md", "README.zh-CN.md", "CONTRIBUTING.md", "CHANGELOG.md", "docs/*.md"])
def test_links_lead_somewhere(page: str) -> None:
    broken = [
        f"{path.relative_to(ROOT)}: {target}"
        for path in ROOT.glob(page)
        for target in LINK.findall(FENCED.sub("", path.read_text(encoding="utf-8")))
        if "://" not in target and not (path.parent / target).exists()
    ]
    assert broken == []


def test_the_page_of_the_settings_names_every_file() -> None:
    page = read("conf/README.md")
    names = [f"{path.name}/" if path.is_dir() else path.name for path in (ROOT / "conf").iterdir()]
    assert [name for name in names if f"`{name}" not in page and name != "README.md"] == []


def test_the_rules_of_the_design_page_exist() -> None:
    rules = {name for path in (ROOT / "rules").glob("*.smk") for name in re.findall(r"\brule (\w+):", path.read_text())}
    figure = dict(FENCED.findall(read("docs/design.md")))["mermaid"]
    assert set(re.findall(r"\b[a-z]+_[a-z_]+\b(?!/)", figure)) - rules == set()


def test_the_contracts_name_every_rule_that_makes_a_file() -> None:
    """Of the pipeline; what makes the embedded base is told where it lies."""
    makers = [
        name
        for path in (ROOT / "rules").glob("*.smk")
        if path.stem != "base_model"
        for name, body in re.findall(r"^rule (\w+):\n((?: .*\n|\n)+)", path.read_text(encoding="utf-8"), re.MULTILINE)
        if "\n    output:" in body
    ]
    assert len(makers) > 20
    page = read("docs/contracts.md")
    assert [name for name in makers if f"`{name}`" not in page] == []


def test_the_contracts_name_every_path() -> None:
    """Every path that entitune.paths spells is in docs/contracts.md, whole or relative to its folder."""
    run, data, group = (
        RunFiles("{run}", "{seed}"),
        PromptData("{dataset}", "{prompt}", "{model}"),
        GroupFiles("{group}"),
    )
    spelled = [paths.METRICS, paths.SEEDS, paths.COMPARISON]
    spelled += [paths.archive("{dataset}"), paths.audit("{dataset}"), paths.model("{model}")]
    spelled += [make("{dataset}", "{split}") for make in (paths.raw, paths.sentences, paths.dropped)]
    spelled += [data.alpaca("{split}"), data.tokens("{split}"), data.parity("{split}", "{env}")]
    spelled += [data.training_rows("{cutoff}", "{selection}"), paths.selected_rows("{dataset}", "{rows}", "{seed}")]
    spelled += [group.answers("{split}", "{shard}"), group.record("{split}", "{shard}")]
    spelled += [paths.training_rows_check("{run}"), paths.lengths_check("{run}", "{split}")]
    page = read("docs/contracts.md")
    assert [path for path in spelled if f"`{path}`" not in page] == []
    own = [run.config, run.adapter(), run.merged, run.checkpoints, run.manifest, run.serving_check, run.submission]
    own += [run.predictions("{split}"), run.scores("{split}"), run.score_page("{split}"), run.record("{rule}")]
    own += [run.errors("{split}", table) for table in paths.ERROR_TABLES]
    relative = [path.removeprefix(f"{run.folder}/") for path in own]
    names = {path: (path, path.rsplit("/", 1)[0] + "/", path.rsplit("/", 1)[-1]) for path in relative}
    assert [path for path, forms in names.items() if not any(f"`{form}" in page for form in forms)] == []
