"""Write docs/configuration.md and the JSON schema of conf/ from the models in entitune.registries."""

from __future__ import annotations

import argparse
import textwrap
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from pydantic import BaseModel

from entitune.cli import run
from entitune.engines.llamafactory_arguments import RecipeArguments
from entitune.files import atomic_write, write_json
from entitune.registries import Dataset, Decode, ImportedPredictions, Model, PromptFiles, Recipe, Selection, SheetRow

INTRODUCTION = """# Configuration: all keys of the files under conf/

`scripts/document_config.py` makes this page and the JSON schema `conf/schemas/study.schema.json` from the models in
`scripts/entitune/registries.py`; a test fails when they differ. Snakemake checks the configuration before anything
runs, also with `snakemake -n`. A message about a mistake names the file, the key and the fix.
"""

SECTIONS: dict[str, tuple[type[BaseModel], str]] = {
    "conf/config.yaml": (
        Selection,
        "What a command covers. Each key can also be set with `--config` on the command line.",
    ),
    "conf/runs.tsv": (
        SheetRow,
        "The sheet of runs: tab-separated, with a header and one line per run. Empty lines and lines that begin with "
        "`#` are skipped. A row with a sweep gives one run per combination, named `RUN+key=value`.",
    ),
    "conf/datasets.yaml": (Dataset, "Corpora by name."),
    "conf/models.yaml": (Model, "Base models by name."),
    "conf/prompts.yaml": (
        PromptFiles,
        "Prompts by name. Their text files together contain exactly one placeholder: `{labels}` becomes the names of "
        "the dataset's labels, `{definitions}` a line for each label with its description.",
    ),
    "conf/imports.yaml": (
        ImportedPredictions,
        "Predictions of other systems by name; the file may be absent. A row of the sheet imports predictions with "
        "`train: import:NAME`.",
    ),
    "conf/recipes.yaml": (
        Recipe,
        "Training recipes by name: LLaMA-Factory's arguments, and the resources of the job. The file of arguments is a "
        "LLaMA-Factory YAML. It must have `cutoff_len`, and with `gpus: 0` also `use_cpu: true`. "
        "[The last section](#arguments-of-a-recipe) lists the arguments that it may have.",
    ),
    "conf/decode.yaml": (Decode, "Decode settings by name: how vLLM predicts. Decoding is always greedy."),
}

KINDS = """
## Kinds of value

| value | meaning |
| --- | --- |
| name | safe in a path: ASCII letters, digits, `.`, `_` and `-`; begins with a letter or digit |
| path | relative to the repository's root, or absolute |
| sha256 | 64 hexadecimal digits |
| url | an address that begins with `http://` or `https://` |
| label | text without spaces, commas and quotes; does not begin with `-`; not `micro`, `macro`, `(other)` or `all` |
"""

ARGUMENTS = """
## Arguments of a recipe

The pipeline sets or refuses LLaMA-Factory's other arguments; the message gives the reason.

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
    """Return a short description of the values that a rule of the schema allows."""
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
    """Return the schema of a value that is an object with known keys; None for other values."""
    for part in (rule, *rule.get("anyOf", ())):
        found: dict[str, Any] = schema["$defs"][part["$ref"].rsplit("/", 1)[1]] if "$ref" in part else part
        if "properties" in found:
            return found
    return None


def rows(rule: dict[str, Any], schema: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, str, str, str]]:
    """Yield key, value, default and meaning of each property of an object and of nested objects."""
    for key, child in rule["properties"].items():
        if not prefix and key == "name":
            continue  # the name of the entry
        default = f"`{str(child['default']).lower()}`" if child.get("default") not in (None, {}, "") else ""
        needed = "required" if key in rule.get("required", ()) else default
        yield f"`{prefix}{key}`", kind_of(child, schema), needed, child["description"]
        if inner := object_of(child, schema):
            yield from rows(inner, schema, f"{prefix}{key}.")


def table(header: Sequence[str], body: Iterable[Sequence[str]]) -> str:
    """Return a Markdown table."""
    lines = [header, ["---"] * len(header), *body]
    return "".join("| " + " | ".join(cell.replace("|", r"\|") for cell in line) + " |\n" for line in lines)


def filled(text: str) -> str:
    """Return a paragraph with a line end before each line would be too long."""
    return textwrap.fill(text, 120, break_long_words=False, break_on_hyphens=False) + "\n"


def page() -> str:
    """Return the text of docs/configuration.md."""
    parts = [INTRODUCTION]
    for file, (model, about) in SECTIONS.items():
        schema = model.model_json_schema()
        body = table(("key", "value", "default", "meaning"), rows(schema, schema))
        parts.append(f"\n## {file}\n\n{filled(about)}\n{body}")
    arguments = ", ".join(f"`{name}`" for name in RecipeArguments.model_fields)
    return "".join(parts) + KINDS + ARGUMENTS + filled(arguments)


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
