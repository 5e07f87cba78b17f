"""Write the scores of each run by label, as means over its seeds: an HTML page, and LaTeX tables for a paper."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from entitune.cli import run
from entitune.evaluation.seeds import SeedMean, over_seeds, read_scores, show_mean
from entitune.files import atomic_write
from entitune.html_pages import render, write_page
from entitune.tsv import MICRO, NOT_LABELS

PAGE = """\
{% for table in tables %}
<h2>{{ table.title }}</h2>
<div class="wide"><table>
<tr>{% for column in columns %}<th>{{ column }}</th>{% endfor %}</tr>
{% for row in table.rows %}
<tr{% if row[0] in averages %} class="average"{% endif %}>{% for cell in row %}<td>{{ cell }}</td>{% endfor %}</tr>
{% endfor %}
</table></div>
{% endfor %}
"""
STYLE = "td + td {text-align: right} .average td {background: #f4f4f4}"
COLUMNS = ("label", "P", "R", "F1", "95 % interval of F1", "gold")

LATEX_HEAD = """\
% Needs \\usepackage{booktabs}. Names with Chinese characters need the package ctex and XeLaTeX or LuaLaTeX.
% Mean and sample standard deviation over the seeds of a run. Intervals: 95 %, bootstrap over sentences; with several
% seeds, from the lowest to the highest bound of the seeds' intervals.
"""
LATEX = {
    **{character: f"\\{character}" for character in "&%$#_{}"},
    **{"\\": "\\textbackslash{}", "~": "\\textasciitilde{}", "^": "\\textasciicircum{}", "±": "$\\pm$"},
    **{"<": "\\textless{}", ">": "\\textgreater{}"},
}
"""Character with a special meaning in LaTeX -> how to write it."""


@dataclass(frozen=True)
class Table:
    """A table. The first cell of a row is the name of a label or run."""

    title: str
    columns: Sequence[str]
    rows: list[list[str]]

    def latex(self) -> str:
        """Return the table in LaTeX, with a rule between the labels and the averages."""
        rows = []
        for number, row in enumerate(self.rows):
            if number and row[0] in NOT_LABELS and self.rows[number - 1][0] not in NOT_LABELS:
                rows.append("\\midrule")
            rows.append(latex_row(row))
        return "\n".join(
            [
                *("\\begin{table}", "\\centering", f"\\caption{{{latex_text(self.title)}}}"),
                f"\\begin{{tabular}}{{l{'r' * (len(self.columns) - 1)}}}",
                *("\\toprule", latex_row(self.columns), "\\midrule", *rows, "\\bottomrule"),
                *("\\end{tabular}", "\\end{table}", ""),
            ]
        )


def latex_text(text: str) -> str:
    """Escape the characters that have a special meaning in LaTeX."""
    return "".join(LATEX.get(character, character) for character in text)


def latex_row(cells: Iterable[str]) -> str:
    """Return a row of a LaTeX table."""
    return " & ".join(map(latex_text, cells)) + " \\\\"


def measures(mean: SeedMean) -> list[str]:
    """Return the cells of precision, recall and F1."""
    pairs = ((mean.precision, mean.precision_sd), (mean.recall, mean.recall_sd), (mean.f1, mean.f1_sd))
    return [show_mean(*pair) for pair in pairs]


def label_tables(means: Iterable[SeedMean]) -> list[Table]:
    """Return a table by label for each run, dataset, split and scoring."""
    tables: dict[str, Table] = {}
    for mean in means:
        where = f"{mean.run} on {mean.dataset} {mean.split}, {mean.scoring}"
        seeds = f", mean of {mean.seeds} seeds" if mean.seeds > 1 else ""
        table = tables.setdefault(where, Table(where + seeds, COLUMNS, []))
        interval = f"{mean.f1_low:.4f} to {mean.f1_high:.4f}"
        table.rows.append([mean.label, *measures(mean), interval, str(mean.support)])
    return list(tables.values())


def run_tables(means: Iterable[SeedMean]) -> list[Table]:
    """Return a table of micro precision, recall and F1 of all runs for each dataset, split and scoring."""
    tables: dict[str, Table] = {}
    for mean in means:
        if mean.label == MICRO:
            title = f"Micro scores on {mean.dataset} {mean.split}, {mean.scoring}"
            table = tables.setdefault(title, Table(title, ("run", "P", "R", "F1", "seeds"), []))
            table.rows.append([mean.run, *measures(mean), str(mean.seeds)])
    return list(tables.values())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--metrics", required=True, help="results/metrics.tsv")
    parser.add_argument("--output", required=True, help="HTML")
    parser.add_argument("--latex", help="LaTeX: tables of the runs, and the same tables by label")
    args = parser.parse_args()

    means = over_seeds(read_scores(args.metrics))
    tables = label_tables(means)
    write_page("Scores by label", render(PAGE, tables=tables, columns=COLUMNS, averages=NOT_LABELS), args.output, STYLE)
    if args.latex:
        with atomic_write(args.latex) as stream:
            stream.write("\n".join([LATEX_HEAD, *(table.latex() for table in (*run_tables(means), *tables))]))


if __name__ == "__main__":
    run(main)
