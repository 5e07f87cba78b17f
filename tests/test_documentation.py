"""The pages agree with the code and with each other, in both languages."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest
from helpers import ROOT
from pages import DOCUMENTS, FENCED, LINK, anchor, pages, read, sections

from document_config import main as document_config
from document_scripts import FOR_DEVELOPERS, FOR_USERS, RUN_BY_SCRIPTS, steps
from document_scripts import page as scripts_page
from entitune import paths
from entitune.paths import GroupFiles, PromptData, RunFiles

UNITS = r"s|ms|µs|min|h|hours?|minutes?|seconds?|MB|GB|tokens/s|sentences/s|times|per cent|%"
FIGURE = re.compile(rf"(?<![\w.,])(?:\d[\d,.]*\s?(?:{UNITS})(?!\w)|0?\.\d{{3,}})")
"""A measured number: with a unit, or a score."""
MEASURED_BY = re.compile(r"<!-- measured: |python (?:scripts|benchmarks)/|snakemake |tests/test_")
"""Text that names the command behind a section's figures."""
NOT_MEASURED = {
    "README.md#what-reruns-when": "a limit of the profile",
    "docs/cluster.md#slurm": "settings of Slurm and of the profile",
    "docs/contracts.md#tables": "the level of the intervals",
    "docs/corpora.md#what-is-checked": "the default of max_dropped",
    "docs/evaluation.md#precision-recall-f1": "the reference's published table",
    "docs/evaluation.md#intervals": "the level of the intervals",
    "docs/evaluation.md#comparing-runs": "the smallest p-value",
    "docs/serving.md#safety": "bounds of the server; tests/test_connections.py and tests/test_serving.py hold them",
    "docs/troubleshooting.md#nothing-starts": "in a message",
    "docs/troubleshooting.md#downloads": "in a message",
    "docs/troubleshooting.md#serving": "in a message",
}
"""Sections whose figures are not measured, and where the figures come from."""
MESSAGES_OF_OTHERS = {"Directory cannot be locked", "Nothing to be done", "CUDA out of memory"}
FOLDERS = "benchmarks|conf|data|docs|envs|profiles|report|rules|scripts|tests"
EXAMPLES = {"conf/imports.yaml", "conf/train/x.yaml", "rules/stage.smk", "scripts/verb_noun.py"}
"""Files that pages name as examples; they do not exist."""
RULE = re.compile(r"^(?:use rule \w+ as (?=\w+ with:)|rule )(\w+)(?: with)?:", re.MULTILINE)


def test_configuration_page_and_schema_agree_with_the_models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page, schema = tmp_path / "configuration.md", tmp_path / "study.schema.json"
    monkeypatch.setattr(sys, "argv", ["document_config", "--schema", str(schema), "--output", str(page)])
    document_config()
    assert read("docs/configuration.md") == page.read_text(encoding="utf-8"), "run scripts/document_config.py"
    committed = read("conf/schemas/study.schema.json")
    assert committed == schema.read_text(encoding="utf-8"), "run scripts/document_config.py"


def test_the_index_of_scripts_agrees_with_the_rules(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    assert read("scripts/README.md") == scripts_page(), "run scripts/document_scripts.py"
    named = {*FOR_USERS, *RUN_BY_SCRIPTS, *FOR_DEVELOPERS} | {step.script for step in steps()}
    assert {path.stem for path in (ROOT / "scripts").glob("*.py")} == named


@pytest.mark.parametrize("page", ["README", "docs/corpus"])
def test_a_page_in_both_languages_has_the_same_sections_commands_and_figures(page: str) -> None:
    english, chinese = read(f"{page}.md"), read(f"{page}.zh-CN.md")
    assert FENCED.findall(chinese) == FENCED.findall(english)
    assert f"({Path(page).name}.md)" in chinese
    assert [one.level for one in sections(chinese)] == [one.level for one in sections(english)]
    for one, other in zip(sections(english), sections(chinese), strict=True):
        assert numbers(other.text) == numbers(one.text), f"{other.title} has other figures than {one.title}"


def numbers(text: str) -> set[str]:
    """Return decimal numbers and numbers of at least four digits. Millions become 万 (ten thousands), as in Chinese."""
    large = [f"{round(float(number) * 100)} 万" for number in re.findall(r"([\d.]+) million", text)]
    return {*large, *re.findall(r"(?<![\w.])(?:\d+\.\d+(?! million)|\d{1,3}(?:,\d{3})+|\d+ 万)", text)}


@pytest.mark.parametrize("readme", ["README.md", "README.zh-CN.md"])
def test_the_readme_leads_to_every_page(readme: str) -> None:
    linked = {target.split("#")[0] for target in LINK.findall(read(readme))}
    assert set(DOCUMENTS) - {"README.md"} - linked == set()


@pytest.mark.parametrize("page", pages())
def test_links_lead_somewhere(page: str) -> None:
    """A link leads to a committed file and to one of its headings."""
    broken = []
    for target in LINK.findall(FENCED.sub("", read(page))):
        name, _, fragment = target.partition("#")
        path = (ROOT / page).parent / name if name else ROOT / page
        if "://" in target or name.startswith("../blob/"):
            continue
        if not path.exists() or (fragment and fragment not in map(anchor, titles(path.read_text(encoding="utf-8")))):
            broken.append(target)
    assert broken == []


def titles(text: str) -> list[str]:
    """Return the headings of a page."""
    return [one.title for one in sections(text)]


@pytest.mark.parametrize("page", pages())
def test_a_block_of_code_names_its_language(page: str) -> None:
    """Commands have the language `sh`, by which tests/test_readme.py finds them."""
    assert [block for language, block in FENCED.findall(read(page)) if not language] == []


@pytest.mark.parametrize("page", pages())
def test_files_and_modules_that_a_page_names_exist(page: str) -> None:
    text = read(page)
    named = re.findall(rf"(?<![\w./{{}}*-])((?:{FOLDERS})/[\w./-]*\w)(?![\w*{{])", text)
    missing = [name for name in named if not (ROOT / name).exists() and name not in EXAMPLES]
    for module in re.findall(r"`entitune((?:\.\w+)+)`", text):
        path, names = ROOT / "scripts" / "entitune", module[1:].split(".")
        while names and (path / names[0]).is_dir():
            path /= names.pop(0)
        file = path / f"{names.pop(0)}.py" if names else path / "__init__.py"
        if not file.exists() or any(not re.search(rf"\b{name}\b", file.read_text(encoding="utf-8")) for name in names):
            missing.append(f"entitune{module}")
    assert missing == []


def test_the_messages_of_the_troubleshooting_page_are_those_of_the_code() -> None:
    """At least three consecutive words, or two long ones, are in the code. Names and numbers may differ."""
    code = [*(ROOT / "scripts").rglob("*.py"), *(ROOT / "scripts").glob("*.sh"), *(ROOT / "rules").glob("*.smk")]
    text = "\n".join(path.read_text(encoding="utf-8") for path in code)
    text = re.sub(r"[\"']\s*\n\s*[rf]*[\"']", "", text).replace("\\'", "'").replace('\\"', '"')  # join string literals
    rows = re.findall(r"^\| (.*?)(?<!\\) \| ", read("docs/troubleshooting.md"), re.MULTILINE)
    messages = [message for row in rows for message in re.findall(r"`([^`]+ [^`]+)`", row)]
    assert len(messages) > 50
    assert [message for message in messages if message not in MESSAGES_OF_OTHERS and not occurs(message, text)] == []


def occurs(message: str, text: str) -> bool:
    """Whether a text contains two or three consecutive words of a message."""
    words = message.split()
    windows = [" ".join(words[at : at + size]) for size in (2, 3) for at in range(len(words) - size + 1)]
    return any(window in text for window in (one.strip(",.:;…") for one in windows) if len(window) >= 8)


def test_every_figure_names_the_command_that_measured_it() -> None:
    """The command is named in the section, or the section is listed in NOT_MEASURED."""
    unnamed, with_figures = [], set()
    for name in DOCUMENTS:
        for one in sections(read(name)):
            place = f"{name}#{anchor(one.title)}"
            if figures := FIGURE.findall(FENCED.sub("", one.text)):
                with_figures.add(place)
                if not MEASURED_BY.search(one.text) and place not in NOT_MEASURED:
                    unnamed.append(f"{place}: {', '.join(figures)}")
    assert unnamed == []
    assert NOT_MEASURED.keys() - with_figures == set(), "these sections have no figures any more"


def test_the_page_of_the_settings_names_every_file() -> None:
    page = read("conf/README.md")
    names = [f"{path.name}/" if path.is_dir() else path.name for path in (ROOT / "conf").iterdir()]
    assert [name for name in names if f"`{name}" not in page and name != "README.md"] == []


def test_the_glossary_is_sorted_short_and_names_what_exists() -> None:
    rows = re.findall(r"^\| (?!word |---)(.*?) \| (.*?) \| (.*) \|$", read("docs/glossary.md"), re.MULTILINE)
    words = [word.strip("`").lower() for word, _, _ in rows]
    assert len(rows) > 20
    assert words == sorted(words)
    assert [word for word, meaning, _ in rows if len(meaning) > 240] == []
    for word, _, places in rows:
        for target, name in re.findall(r"\[[^]]*\]\((.*?)\)(?:: `(.*?)`)?", places):
            assert re.search(rf"\b{name}\b", (ROOT / "docs" / target).read_text(encoding="utf-8")), f"{word}: {name}"


def test_the_rules_of_the_design_page_exist() -> None:
    rules = {name for path in (ROOT / "rules").glob("*.smk") for name in RULE.findall(path.read_text())}
    figure = dict(FENCED.findall(read("docs/design.md")))["mermaid"]
    assert set(re.findall(r"\b[a-z]+_[a-z_]+\b(?!/)", figure)) - rules == set()


def test_the_contracts_name_every_rule_that_makes_a_file() -> None:
    """Except the rules that make the embedded base model, whose files data/models describes."""
    makers = [
        name
        for path in (ROOT / "rules").glob("*.smk")
        if path.stem != "base_model"
        for name, body in re.findall(rf"{RULE.pattern}\n((?: .*\n|\n)+)", path.read_text(encoding="utf-8"), RULE.flags)
        if "\n    output:" in body
    ]
    assert len(makers) > 20
    page = read("docs/contracts.md")
    assert [name for name in makers if f"`{name}`" not in page] == []


def test_the_contracts_name_every_path() -> None:
    """Every path of entitune.paths is in docs/contracts.md, complete or relative to its folder."""
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
    spelled += [data.examples, data.held_out("{selection}")]
    spelled += [group.answers("{split}", "{shard}"), group.record("{split}", "{shard}")]
    spelled += [paths.training_rows_check("{run}"), paths.lengths_check("{run}", "{split}")]
    page = read("docs/contracts.md")
    assert [path for path in spelled if f"`{path}`" not in page] == []
    own = [run.held_out, run.held_out_tokens, run.candidates, run.merged_candidates, run.checkpoint_scores]
    own += [run.config, run.adapter(), run.merged, run.checkpoints, run.manifest, run.serving_check, run.submission]
    own += [run.predictions("{split}"), run.scores("{split}"), run.score_page("{split}"), run.record("{rule}")]
    own += [run.errors("{split}", table) for table in paths.ERROR_TABLES]
    relative = [path.removeprefix(f"{run.folder}/") for path in own]
    names = {path: (path, path.rsplit("/", 1)[0] + "/", path.rsplit("/", 1)[-1]) for path in relative}
    assert [path for path, forms in names.items() if not any(f"`{form}" in page for form in forms)] == []
