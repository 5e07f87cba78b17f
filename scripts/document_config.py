"""Write what describes conf/ from the models of entitune.registries: docs/configuration.md and the JSON schema."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from pydantic import BaseModel

from entitune.cli import run
from entitune.engines.llamafactory_arguments import RecipeArguments
from entitune.files import atomic_write, write_json
from entitune.registries import Dataset, Decode, ImportedPredictions, Model, PromptFiles, Recipe, Selection, SheetRow

INTRODUCTION = """# Configuration: every key of everything under conf/

Made by `scripts/document_config.py` from the models in `scripts/entitune/registries.py`, as is the JSON schema
`conf/schemas/study.schema.json`; a test fails when they differ. All of it is checked while the workflow is parsed: a
mistake is one message with file, key and the fix, before anything runs. `snakemake -n` checks the configuration.
"""

SECTIONS: dict[str, tuple[type[BaseModel], str]] = {
    "conf/config.yaml": (
        Selection,
        "What a command covers. Each key can be given after `--config` on the command line.",
    ),
    "conf/runs.tsv": (
        SheetRow,
        "The sheet: tab-separated, a header, one line per run. Empty lines and lines that begin with `#` are "
        "skipped. A row with a sweep gives one run per combination, called `RUN+key=value`.",
    ),
    "conf/datasets.yaml": (Dataset, "Corpora by name."),
    "conf/models.yaml": (Model, "Base models by name."),
    "conf/prompts.yaml": (
        PromptFiles,
        "Prompts by name. Their text files hold once in all either `{labels}`, which is replaced by the names of the "
        "dataset's labels, or `{definitions}`, which is replaced by a line for each label with its description.",
    ),
    "conf/imports.yaml": (
        ImportedPredictions,
        "Predictions of other systems by name; the file may be absent. A row of the sheet imports one with "
        "`train: import:NAME`.",
    ),
    "conf/recipes.yaml": (
        Recipe,
        "Training recipes by name: LLaMA-Factory's arguments, and what the job needs of a machine. The file of "
        "arguments is a LLaMA-Factory YAML. It must have `cutoff_len`, and with `gpus: 0` also `use_cpu: true`. It may "
        "have: "
        + ", ".join(f"`{name}`" for name in RecipeArguments.model_fields)
        + ". LLaMA-Factory's other arguments are filled in by the pipeline or refused, with the reason in the message.",
    ),
    "conf/decode.yaml": (Decode, "Decode settings by name: how vLLM predicts. Always greedily."),
}

KINDS = """
## Kinds of value

| value | meaning |
| --- | --- |
| name | safe in a path: letters of ASCII, digits, `.`, `_` and `-`, the first a letter or digit |
| path | relative to the repository's root, or absolute |
| sha256 | 64 hexadecimal digits |
| url | an address that begins with `http://` or `https://` |
| label | text without spaces, commas and quotes, not beginning with `-`; not `micro`, `macro`, `(other)` or `all` |
"""

TYPES = {
    "string": "text",
    "integer": "whole number",
    "number": "number",
    "boolean": "true or false",
    "object": "map",
    "null": "null",
}


def kind_of(rule: dict[str, Any], schema: dict[str, Any]) -> str:
    """What a value looks like, in a few words."""
    if "$ref" in rule:
        return kind_of(schema["$defs"][rule["$ref"].rsplit("/", 1)[1]], schema)
    if "anyOf" in rule:
        kinds = [kind_of(part, schema) for part in rule["anyOf"]]
        return " or ".join(kind for kind in kinds if kind != "null" or "default" not in rule)
    if "enum" in rule:
        return ", ".join(f"`{value}`" for value in rule["enum"])
    if "format" in rule:
        return str(rule["format"])
    if rule.get("type") == "array":
        return f"list of {kind_of(rule['items'], schema)}"
    least = f" from {rule['minimum']}" if "minimum" in rule else ""
    return TYPES[rule["type"]] + least


def object_of(rule: dict[str, Any], schema: dict[str, Any]) -> dict[str, Any] | None:
    """The object that a value is, where its keys are known."""
    for part in (rule, *rule.get("anyOf", ())):
        found: dict[str, Any] = schema["$defs"][part["$ref"].rsplit("/", 1)[1]] if "$ref" in part else part
        if "properties" in found:
            return found
    return None


def rows(rule: dict[str, Any], schema: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, str, str, str]]:
    """(key, value, default, meaning) of each property of an object and of the objects in it."""
    for key, child in rule["properties"].items():
        if not prefix and key == "name":
            continue  # the key under which the entry is written
        default = f"`{str(child['default']).lower()}`" if child.get("default") not in (None, {}, "") else ""
        needed = "required" if key in rule.get("required", ()) else default
        yield f"`{prefix}{key}`", kind_of(child, schema), needed, child["description"]
        if inner := object_of(child, schema):
            yield from rows(inner, schema, f"{prefix}{key}.")


def table(header: Sequence[str], body: Iterable[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [header, ["---"] * len(header), *body]
    return "".join("| " + " | ".join(cell.replace("|", r"\|") for cell in line) + " |\n" for line in lines)


def page() -> str:
    """docs/configuration.md."""
    parts = [INTRODUCTION]
    for file, (model, about) in SECTIONS.items():
        schema = model.model_json_schema()
        body = table(("key", "value", "default", "meaning"), rows(schema, schema))
        parts.append(f"\n## {file}\n\n{about}\n\n{body}")
    return "".join(parts) + KINDS


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", default="docs/configuration.md", help="the page (default: %(default)s)")
    parser.add_argument(
        "--schema", default="conf/schemas/study.schema.json", help="the JSON schema (default: %(default)s)"
    )
    args = parser.parse_args()

    with atomic_write(args.output) as stream:
        stream.write(page())
    write_json(args.schema, {file: model.model_json_schema() for file, (model, _) in SECTIONS.items()})


if __name__ == "__main__":
    run(main)
