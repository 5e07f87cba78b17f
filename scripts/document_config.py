"""Write docs/configuration.md, the reference of everything under conf/, from conf/schemas/study.schema.yaml."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from entitune.cli import run
from entitune.engines.llamafactory_arguments import RecipeArguments
from entitune.files import atomic_write
from entitune.study import read_yaml

INTRODUCTION = """# Configuration: every key of everything under conf/

Made by `scripts/document_config.py` from `conf/schemas/study.schema.yaml`; a test fails when they differ. All of it is
checked while the workflow is parsed: a mistake is one message with file, key and what would be right, before anything
runs. `snakemake -n` is a check of the configuration.
"""

SECTIONS = {
    "config": (
        "conf/config.yaml",
        "What a command covers. Each key can be given after `--config` on the command line.",
    ),
    "runs": (
        "conf/runs.tsv",
        "The sheet: tab-separated, a header, a row a run; empty lines and lines that begin with `#` are skipped. "
        "A row with a sweep gives a run a combination, called `RUN+key=value`.",
    ),
    "datasets": ("conf/datasets.yaml", "Corpora by name."),
    "models": ("conf/models.yaml", "Base models by name."),
    "prompts": (
        "conf/prompts.yaml",
        "Prompts by name. Their text files hold `{labels}` once in all: the dataset's labels replace it.",
    ),
    "recipes": (
        "conf/recipes.yaml",
        "Train recipes by name: LLaMA-Factory's arguments, and what the job needs of a machine. The file of arguments "
        "is a LLaMA-Factory YAML. It must have `cutoff_len`, and with `gpus: 0` also `use_cpu: true`. It may have: "
        + ", ".join(f"`{name}`" for name in RecipeArguments.model_fields)
        + ". LLaMA-Factory's other arguments are filled in by the pipeline or refused, with the reason in the message.",
    ),
    "decode": ("conf/decode.yaml", "Decode settings by name: how vLLM predicts. Always greedily."),
}


def reference_of(rule: dict[str, Any]) -> str | None:
    """The definition that a rule refers to, in allOf or by itself."""
    references = [part["$ref"] for part in (rule, *rule.get("allOf", ())) if "$ref" in part]
    return references[0].rsplit("/", 1)[1] if references else None


def kind_of(rule: dict[str, Any]) -> str:
    """What a value looks like, in a few words."""
    if definition := reference_of(rule):
        return definition
    if "enum" in rule:
        return ", ".join(f"`{value}`" for value in rule["enum"])
    if rule["type"] == "array":
        return f"list of {kind_of(rule['items'])}"
    names = {"string": "text", "integer": "whole number", "boolean": "true or false", "null": "null", "object": "map"}
    kinds = rule["type"] if isinstance(rule["type"], list) else [rule["type"]]
    least = f" from {rule['minimum']}" if "minimum" in rule else ""
    return " or ".join(names[kind] for kind in kinds) + least


def rows(rule: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, str, str, str]]:
    """(key, value, default, meaning) of each property of an object and of the objects in it."""
    for key, child in rule["properties"].items():
        default = f"`{str(child['default']).lower()}`" if "default" in child else ""
        needed = "required" if key in rule.get("required", ()) else default
        yield f"`{prefix}{key}`", kind_of(child), needed, child["description"]
        if "properties" in child:
            yield from rows(child, f"{prefix}{key}.")


def table(header: Sequence[str], body: Iterable[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [header, ["---"] * len(header), *body]
    return "".join("| " + " | ".join(cell.replace("|", r"\|") for cell in line) + " |\n" for line in lines)


def section(name: str, schema: dict[str, Any]) -> str:
    """One part of the schema as a heading, a sentence and a table."""
    file, about = SECTIONS[name]
    rule = schema[name]
    entry = rule if name == "config" else rule["items"] if name == "runs" else rule["additionalProperties"]
    return f"\n## {file}\n\n{about}\n\n" + table(("key", "value", "default", "meaning"), rows(entry))


def definitions(schema: dict[str, Any]) -> str:
    """The kinds of value that several keys share."""
    body = [(name, rule["description"]) for name, rule in schema["$defs"].items()]
    return "\n## Kinds of value\n\n" + table(("value", "meaning"), body)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--schema", type=Path, default=Path("conf/schemas/study.schema.yaml"), help="the schema")
    parser.add_argument("--output", default="docs/configuration.md", help="the page (default: %(default)s)")
    args = parser.parse_args()

    schema = read_yaml(args.schema)
    with atomic_write(args.output) as stream:
        stream.write(INTRODUCTION + "".join(section(name, schema) for name in SECTIONS) + definitions(schema))


if __name__ == "__main__":
    run(main)
