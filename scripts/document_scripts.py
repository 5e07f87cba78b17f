"""Write scripts/README.md: the rules with their scripts, environments and modules."""

from __future__ import annotations

import argparse
import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from entitune.cli import run
from entitune.code_inputs import SCRIPTS, imported_by
from entitune.files import atomic_write

RULES = Path("rules")
SHARED = {"cli", "files", "paths", "progress", "records"}
"""Modules that nearly all scripts import. The table omits them."""
FOR_USERS = (
    *("inspect_corpus", "verify_runs", "serve_runs", "extract_entities", "export_annotations", "export_run"),
    "print_versions",
)
"""Scripts that users run. No rule runs them."""
FOR_DEVELOPERS = ("document_config", "document_scripts")
"""Scripts that write pages of the repository."""
RUN_BY_SCRIPTS = ("run_llamafactory",)
"""Scripts that another script runs."""

INTRODUCTION = """# Scripts: where to find a stage

`scripts/document_scripts.py` makes this page; a test fails when it differs from the rules. A rule has the name of its
script; the table has both names where several rules share a script. Every script explains its arguments with `--help`
and can be run by hand from the repository's root. The package `entitune` has the code that several scripts share.

| package | contents |
|---|---|
"""


class Step(NamedTuple):
    """A rule that runs a script."""

    stage: str
    rule: str
    script: str
    environment: str


def steps() -> Iterator[Step]:
    """Yield the rules that run a script, in the order of the Snakefile."""
    scripts: dict[str, tuple[str, str]] = {}
    included = re.findall(r'^include: "rules/(\w+)\.smk"', Path("Snakefile").read_text(encoding="utf-8"), re.MULTILINE)
    for stage in included:
        text = (RULES / f"{stage}.smk").read_text(encoding="utf-8")
        for block in re.split(r"^(?=(?:use )?rule )", text, flags=re.MULTILINE)[1:]:
            script = re.search(r"scripts/(\w+)\.py", block)
            if rule := re.match(r"rule (\w+):", block):
                if script:
                    scripts[rule[1]] = script[1], environment_of(block)
            elif rule := re.match(r"use rule (\w+) as (\w+) with:", block):
                scripts[rule[2]] = scripts[rule[1]]
            if rule and (name := rule[rule.lastindex or 1]) in scripts:
                yield Step(stage, name, *scripts[name])


def environment_of(rule: str) -> str:
    """Return the environment that runs the script of a rule, given as text."""
    if "{params.python}" not in rule:
        return "workflow"
    named = re.search(r'python=paths\.python\("([\w-]+)"\)', rule)
    return named[1] if named else "predict-cpu or -cuda"


def summary_of(path: Path) -> str:
    """Return the first paragraph of a file's docstring, without its full stop."""
    docstring = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))
    return (docstring or "").split("\n\n")[0].replace("\n", " ").removesuffix(".")


def modules_of(script: str) -> str:
    """Return the modules of entitune that a script imports directly, without those in SHARED."""
    names = [
        ".".join(Path(file).relative_to(SCRIPTS / "entitune").with_suffix("").parts)
        for file in imported_by(script)
        if file.startswith(f"{SCRIPTS / 'entitune'}/") and not file.endswith("__init__.py")
    ]
    return ", ".join(f"`{name}`" for name in names if name not in SHARED)


def page() -> str:
    """Return the text of scripts/README.md."""
    package = SCRIPTS / "entitune"
    parts = [INTRODUCTION]
    for folder in sorted(path.parent for path in package.glob("*/__init__.py")):
        parts.append(f"| `entitune.{folder.name}` | {summary_of(folder / '__init__.py')} |\n")
    for file in sorted(package.glob("*.py")):
        if file.name != "__init__.py":
            parts.append(f"| `entitune.{file.stem}` | {summary_of(file)} |\n")
    parts.append("\n## Scripts of rules\n\n| stage | rule | script | environment | modules |\n|---|---|---|---|---|\n")
    for step in steps():
        script = "the same" if step.script == step.rule else f"`{step.script}.py`"
        parts.append(
            f"| [{step.stage}](../rules/{step.stage}.smk) | `{step.rule}` | {script} | {step.environment} "
            f"| {modules_of(step.script)} |\n"
        )
    for title, names in (
        ("Commands for users", FOR_USERS),
        ("Run by other scripts", RUN_BY_SCRIPTS),
        ("Tools for developers", FOR_DEVELOPERS),
    ):
        parts.append(f"\n## {title}\n\n| script | what it does |\n|---|---|\n")
        parts += [f"| `{name}.py` | {summary_of(SCRIPTS / f'{name}.py')} |\n" for name in names]
    parts.append("| `setup.sh` | Set up the workflow's environment in .envs/workflow |\n")
    parts.append("| `lock.sh` | Write the lock files of the environments from envs/*.in |\n")
    parts.append("\nThe scripts in `base_model/` train the embedded base model: `snakemake base_model --cores 2`.\n")
    return "".join(parts)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", default="scripts/README.md", help="the page (default: %(default)s)")
    args = parser.parse_args()
    with atomic_write(args.output) as stream:
        stream.write(page())


if __name__ == "__main__":
    run(main)
