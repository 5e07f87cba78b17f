"""Write the errors of one run as an HTML page: each sentence with gold and predicted entities highlighted."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from markupsafe import Markup

from entitune.cli import run
from entitune.evaluation.error_analysis import Example
from entitune.html_pages import highlight, hues_of, render, write_page
from entitune.records import read_records

STYLE = (
    "article {border-top: 1px solid #999; padding: .6rem 0} article p {margin: .2rem 0}"
    " .sides {display: grid; grid-template-columns: max-content 1fr; gap: .2rem .6em} .side {font-weight: bold}"
)

ERRORS = """\
{% for example in examples %}
<article><p>{{ example.rank }}. <strong>{{ example.category | replace("_", " ") }}</strong>: \
gold {{ example.gold_label }}, predicted {{ example.pred_label }} \
({{ example.errors_of_this_kind }} of this kind; sentence {{ example.id }})</p>
<div class="sides"><span class="side">标注 gold</span> \
<span>{{ highlight(example.text, example.gold, hues, example.error.gold) }}</span>
<span class="side">预测 predicted</span> \
<span>{{ highlight(example.text, example.pred, hues, example.error.pred) }}</span></div></article>
{% else %}
<p>No errors.</p>
{% endfor %}
"""


def errors_page(examples: Sequence[Example]) -> Markup:
    """Return the body of the page."""
    labels = {one.label for example in examples for one in example.gold}
    labels |= {one.label for example in examples for one in example.pred}
    return render(ERRORS, examples=examples, highlight=highlight, hues=hues_of(sorted(labels)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--examples", required=True, help="errors/{split}/examples.jsonl of a run")
    parser.add_argument("--title", required=True, help="the page's title")
    parser.add_argument("--output", required=True, help="HTML")
    args = parser.parse_args()

    write_page(args.title, errors_page(list(read_records(args.examples, Example))), args.output, STYLE)


if __name__ == "__main__":
    run(main)
