"""Write the errors of one run as an HTML page: each sentence with gold and predicted entities highlighted."""

from __future__ import annotations

import argparse
import html

from entitune.cli import run
from entitune.files import read_jsonl
from entitune.html_pages import highlight, hues_of, write_page

STYLE = (
    "article {border-top: 1px solid #999; padding: .6rem 0} article p {margin: .2rem 0}"
    " .side {font-weight: bold; margin-right: .4em}"
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--examples", required=True, help="errors/{split}/examples.jsonl of a run")
    parser.add_argument("--title", required=True, help="the page's title")
    parser.add_argument("--output", required=True, help="HTML")
    args = parser.parse_args()

    examples = list(read_jsonl(args.examples))
    labels = sorted({one["label"] for example in examples for one in (*example["gold"], *example["pred"])})
    hues = hues_of(labels)
    articles = [
        f"<article><p>{example['rank']}. <strong>{html.escape(example['category'].replace('_', ' '))}</strong>: gold "
        f"{html.escape(example['gold_label'])}, predicted {html.escape(example['pred_label'])} "
        f"({example['errors_of_this_kind']} of this kind; sentence {html.escape(example['id'])})</p>"
        + "".join(
            f'<p><span class="side">{name}</span> '
            f"{highlight(example['text'], example[side], hues, example['error'][side])}</p>"
            for side, name in (("gold", "标注 gold"), ("pred", "预测 predicted"))
        )
        + "</article>"
        for example in examples
    ]
    write_page(args.title, "\n".join(articles) or "<p>No errors.</p>", args.output, STYLE)


if __name__ == "__main__":
    run(main)
