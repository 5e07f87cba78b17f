"""Write the errors of one run as an HTML page: each sentence with gold and predicted entities highlighted."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any

from markupsafe import Markup

from entitune.cli import run
from entitune.files import read_jsonl
from entitune.html_pages import highlight, hues_of, render, write_page
from entitune.records import Mention

STYLE = (
    "article {border-top: 1px solid #999; padding: .6rem 0} article p {margin: .2rem 0}"
    " .side {font-weight: bold; margin-right: .4em}"
)

ERRORS = """\
{% for example in examples %}
<article><p>{{ example.rank }}. <strong>{{ example.category | replace("_", " ") }}</strong>: \
gold {{ example.gold_label }}, predicted {{ example.pred_label }} \
({{ example.errors_of_this_kind }} of this kind; sentence {{ example.id }})</p>
<p><span class="side">标注 gold</span> {{ highlighted(example, "gold") }}</p>
<p><span class="side">预测 predicted</span> {{ highlighted(example, "pred") }}</p></article>
{% else %}
<p>No errors.</p>
{% endfor %}
"""


def errors_page(examples: Sequence[dict[str, Any]]) -> Markup:
    """Return the page's body. An example is a line of examples.jsonl, as docs/contracts.md describes it."""
    labels = sorted({one["label"] for example in examples for one in (*example["gold"], *example["pred"])})
    hues = hues_of(labels)

    def highlighted(example: dict[str, Any], side: str) -> Markup:
        error = example["error"][side]
        mentions = [Mention.from_dict(one) for one in example[side]]
        return highlight(example["text"], mentions, hues, Mention.from_dict(error) if error else None)

    return render(ERRORS, examples=examples, highlighted=highlighted)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--examples", required=True, help="errors/{split}/examples.jsonl of a run")
    parser.add_argument("--title", required=True, help="the page's title")
    parser.add_argument("--output", required=True, help="HTML")
    args = parser.parse_args()

    write_page(args.title, errors_page(list(read_jsonl(args.examples))), args.output, STYLE)


if __name__ == "__main__":
    run(main)
