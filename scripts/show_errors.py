"""Write the errors of one run as an HTML page: each sentence with gold and predicted entities highlighted."""

from __future__ import annotations

import argparse
import html
from typing import Any

from entitune.charts import write_page
from entitune.cli import run
from entitune.files import read_jsonl

STYLE = (
    "mark {padding: 0 .2em; border-radius: .2em; color: #000; background: hsl(var(--hue) 80% 85%)}"
    " mark.wrong {outline: 2px solid #000} mark small {color: #333; margin-left: .2em; font-size: 70%}"
    " article {border-top: 1px solid #999; padding: .6rem 0} article p {margin: .2rem 0}"
    " .side {font-weight: bold; margin-right: .4em}"
)


def mark(entity: dict[str, Any], hues: dict[str, int], wrong: bool) -> str:
    """An entity as coloured text with its label behind it, so that the colour is not needed."""
    label = entity["label"]
    return (
        f'<mark style="--hue: {hues[label]}"{" class=wrong" if wrong else ""}>'
        f"{html.escape(entity['text'])}<small>{html.escape(label)}</small></mark>"
    )


def highlight(text: str, entities: list[dict[str, Any]], error: dict[str, Any] | None, hues: dict[str, int]) -> str:
    """A sentence with its entities marked; those without a place of their own in the line follow it."""
    parts, after, position = [], [], 0
    placed = sorted((one for one in entities if one["start"] is not None), key=lambda one: (one["start"], -one["end"]))
    for entity in placed:
        if entity["start"] < position:
            after.append(entity)
            continue
        parts += [html.escape(text[position : entity["start"]]), mark(entity, hues, entity == error)]
        position = entity["end"]
    parts.append(html.escape(text[position:]))
    after += [one for one in entities if one["start"] is None]
    extra = " ".join(mark(entity, hues, entity == error) for entity in after)
    return "".join(parts) + (f" + {extra}" if extra else "")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--examples", required=True, help="errors/{split}/examples.jsonl of a run")
    parser.add_argument("--title", required=True, help="the page's title")
    parser.add_argument("--output", required=True, help="HTML")
    args = parser.parse_args()

    examples = list(read_jsonl(args.examples))
    labels = sorted({one["label"] for example in examples for one in (*example["gold"], *example["pred"])})
    hues = {label: 360 * number // len(labels) for number, label in enumerate(labels)}
    articles = [
        f"<article><p>{example['rank']}. <strong>{html.escape(example['category'].replace('_', ' '))}</strong>: gold "
        f"{html.escape(example['gold_label'])}, predicted {html.escape(example['pred_label'])} "
        f"({example['errors_of_this_kind']} of this kind; sentence {html.escape(example['id'])})</p>"
        + "".join(
            f'<p><span class="side">{name}</span> '
            f"{highlight(example['text'], example[side], example['error'][side], hues)}</p>"
            for side, name in (("gold", "标注 gold"), ("pred", "预测 predicted"))
        )
        + "</article>"
        for example in examples
    ]
    write_page(args.title, "\n".join(articles) or "<p>No errors.</p>", args.output, STYLE)


if __name__ == "__main__":
    run(main)
