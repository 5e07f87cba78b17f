"""The report: every figure for a small study with real sentences, and the complete page in a real browser."""

from __future__ import annotations

import json
import random
import re
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any

import pytest
from browser import in_browser, need_browser
from helpers import ROOT, must_run, read_jsonl, read_tsv, snakemake, write_jsonl
from predictions import LABELS
from run_manifests import run_manifest, stage

from entitune.evaluation.checkpoint_scores import COLUMNS
from entitune.html_pages import FONTS
from entitune.tsv import write_tsv

RUNS = (("甲", 1), ("甲", 2), ("乙", 1))


def answer(sentence: dict[str, Any], generator: random.Random) -> dict[str, Any]:
    """Draw a prediction of a sentence: entities are correct, have another label, are missing or invented."""
    pred = [one if generator.random() < 0.7 else {**one, "label": "动物"} for one in sentence["entities"]]
    pred = [one for one in pred if generator.random() < 0.9] + [{**pred[0], "text": "没有", "start": None, "end": None}]
    pred = [{**one, "confidence": round(generator.random(), 6)} for one in pred]
    return {"id": sentence["id"], "text": sentence["text"], "gold": sentence["entities"], "pred": pred, "status": "ok"}


def manifest(name: str, seed: int) -> dict[str, Any]:
    train = {"name": "demo", "gpus": 2, "arguments": {"lora_rank": 64}, "overrides": {}}
    config = {
        "run": name,
        "kind": "tuned" if seed == 1 else "base",
        "seed": seed,
        "dataset": {"name": "cluener"},
        "model": {"name": "tiny", "revision": "<1>"},
        "prompt": {"name": "short", "shots": 0},
        **({"train": train} if seed == 1 else {}),
        "decode": {"name": "cpu", "gpus": 0},
    }
    stages = {
        "train_adapter": stage(1800, 1500),
        "predict_shard.dev.1-of-2": stage(30, 700),
        "predict_shard.dev.2-of-2": stage(30, 900),
    }
    left_out = {"split": "train", "what": "rows", "count": 2, "of": 9, "kinds": {"broken JSON": seed}}
    return run_manifest(config=config, left_out=[left_out], stages=stages)


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The results that the figures are made from: three runs and seeds on forty sentences of the demo."""
    folder = tmp_path_factory.mktemp("study")
    raw = (ROOT / "data" / "demo" / "dev.json").read_text(encoding="utf-8").splitlines(keepends=True)
    (folder / "raw").write_text("".join(raw[:40]), encoding="utf-8")
    convert = ["--raw", folder / "raw", "--format", "cluener", "--labels", ",".join(LABELS), "--split", "dev"]
    must_run("convert_dataset", *convert, "--output", folder / "dev.jsonl", "--dropped", folder / "dropped.jsonl")
    sentences = [sentence for sentence in read_jsonl(folder / "dev.jsonl") if sentence["entities"]]
    generator, scores, compared = random.Random(1), [], []
    for name, seed in RUNS:
        own = folder / f"{name}-{seed}"
        own.mkdir()
        write_jsonl(own / "dev.jsonl", [answer(sentence, generator) for sentence in sentences])
        (own / "manifest.json").write_text(json.dumps(manifest(name, seed)), encoding="utf-8")
        log = [{"epoch": epoch / 2, "loss": 2 / epoch, "lr": 1e-4 / epoch, "eval_loss": 1.5} for epoch in range(1, 5)]
        write_jsonl(own / "log.jsonl", log)
        counts = {"support": 9, "predicted": 8, "correct": 7, "precision": 0.8, "recall": 0.7}
        checkpoints = [
            {"step": step, "sentences": 5, **counts, "f1": step / 1000, "f1_low": 0.1, "f1_high": 0.9, "chosen": chosen}
            for step, chosen in ((100, "no"), (200, "yes"))
        ]
        write_tsv(own / "checkpoints.tsv", COLUMNS, checkpoints)
        about = ["--run", name, "--seed", seed, "--dataset", "cluener", "--split", "dev"]
        outputs = ["--output", own / "dev.tsv", "--table", own / "dev.md"]
        must_run(
            "score_predictions", "--predictions", own / "dev.jsonl", "--labels", ",".join(LABELS), *about, *outputs
        )
        scores.append(own / "dev.tsv")
        compared += ["--predictions", name, seed, "cluener", "dev", own / "dev.jsonl"]
    must_run(
        "combine_metrics",
        "--scores",
        *scores,
        "--output",
        folder / "metrics.tsv",
        "--seeds-output",
        folder / "seeds.tsv",
    )
    must_run("compare_runs", *compared, "--labels", "cluener", ",".join(LABELS), "--output", folder / "comparison.tsv")
    errors = ["--train", folder / "dev.jsonl", "--labels", ",".join(LABELS), "--output-dir", folder / "errors"]
    must_run("analyse_errors", "--predictions", folder / "甲-1" / "dev.jsonl", *errors)
    splits = ["--split", "train", folder / "dev.jsonl", "--split", "dev", folder / "dev.jsonl"]
    splits += ["--labels", ",".join(LABELS)]
    must_run("audit_dataset", "--dataset", "cluener", *splits, "--output", folder / "audit.tsv")
    return folder


FIGURES = {
    "plot_scores": (
        ["--metrics", "metrics.tsv"],
        ["甲, seed 2", "甲, mean of 2 seeds", "乙, seed 1", "Qwen2.5-7B LoRA r8 (reference)"],
    ),
    "plot_differences": (["--comparison", "comparison.tsv"], ["甲 − 乙 (cluener, pairs)", "difference in micro F1"]),
    "plot_labels": (["--seeds", "seeds.tsv"], ["甲", "organization", "micro", "(other)"]),
    "plot_curves": (
        ["--log", "甲", "1", "甲-1/log.jsonl", "--log", "乙", "1", "乙-1/log.jsonl"],
        ["training loss", "evaluation loss", "learning rate", "乙"],
    ),
    "plot_checkpoints": (
        ["--scores", "甲", "1", "甲-1/checkpoints.tsv", "--scores", "乙", "1", "乙-1/checkpoints.tsv"],
        ["甲", "乙", "optimisation step", "micro F1 on held-out rows", "chosen", "not chosen"],
    ),
    "plot_confusion": (["--confusion", "errors/confusion.tsv", "--title", "甲, seed 1"], ["甲, seed 1", "(none)"]),
    "plot_audit": (["--audit", "audit.tsv"], ["Dataset cluener", "sentences in train, exact", "scene"]),
    "plot_stages": (["--manifests", "甲-1/manifest.json"], ["甲, train_adapter", "30.0 min", "1.0 min"]),
    "plot_error_categories": (
        ["--categories", "甲", "errors/categories.tsv", "--title", "Errors on dev"],
        ["Errors on dev", "甲", "wrong label", "hallucinated"],
    ),
    "plot_confidence": (
        ["--predictions", "甲", "dev", "甲-1/dev.jsonl", "--predictions", "甲", "dev", "甲-2/dev.jsonl"],
        ["甲, dev", "precision", "recall", "F1", "share that is right"],
    ),
    "plot_learning_curve": (
        ["--metrics", "metrics.tsv", "--point", "甲", "A", "100", "--point", "乙", "A", "2000"],
        ["cluener dev, spans", "training sentences", "A", "100", "2,000"],
    ),
}


@pytest.mark.parametrize("script", FIGURES)
def test_a_figure_is_vector_graphics_with_its_text(study: Path, script: str) -> None:
    arguments, expected = FIGURES[script]
    found = [study / one if (study / one).is_file() else one for one in arguments]
    must_run(script, *found, "--output", study / f"{script}.svg", "--pdf", study / f"{script}.pdf")
    texts = [text for text, _ in texts_of(study / f"{script}.svg")]
    assert [text for text in expected if text not in texts] == []
    assert (study / f"{script}.pdf").read_bytes().startswith(b"%PDF")


def texts_of(figure: Path) -> list[tuple[str, float]]:
    """Return the texts of a figure from top to bottom, with their vertical positions."""
    found = []

    def walk(node: ElementTree.Element, top: float) -> None:
        moved = re.match(r"translate\([^,]+,([^)]+)\)", node.get("transform", ""))
        top += float(moved[1]) if moved else 0
        if node.tag.endswith("}text") and node.text:
            found.append((node.text, top))
        for child in node:
            walk(child, top)

    walk(ElementTree.parse(figure).getroot(), 0)
    return sorted(found, key=lambda one: one[1])


def test_labels_come_before_averages_and_the_mean_after_its_seeds(study: Path) -> None:
    must_run("plot_labels", "--seeds", study / "seeds.tsv", "--output", study / "labels.svg")
    texts = [text for text, _ in texts_of(study / "labels.svg") if text in (*LABELS, "micro", "macro", "(other)")]
    assert texts == [*LABELS, "micro", "macro", "(other)"] * 2
    must_run("plot_scores", "--metrics", study / "metrics.tsv", "--output", study / "scores.svg")
    texts = [text for text, _ in texts_of(study / "scores.svg") if "seed" in text]
    assert texts == ["甲, seed 1", "甲, seed 2", "甲, mean of 2 seeds", "乙, seed 1"] * 2


def test_stages_are_in_the_order_of_a_run(study: Path, tmp_path: Path) -> None:
    seconds = {"predict_shard.dev.1-of-1": 14.0, "check": 0.2, "merge_adapter": 90.0, "train_adapter": 7300.0}
    about = manifest("甲", 1)
    about["stages"] = {name: stage(one) for name, one in seconds.items()}
    (tmp_path / "manifest.json").write_text(json.dumps(about), encoding="utf-8")
    must_run("plot_stages", "--manifests", tmp_path / "manifest.json", "--output", tmp_path / "stages.svg")
    texts = [text for text, _ in texts_of(tmp_path / "stages.svg")]
    named = [text.removeprefix("甲, ") for text in texts if text.startswith("甲")]
    assert named == ["train_adapter", "merge_adapter", "predict_shard", "check"] * 2
    shown = ["2.0 h", "1.5 min", "14 s", "0.2 s"]
    assert [text for text in texts if text in shown] == shown


def test_the_smallest_p_value_is_shown_as_a_bound(study: Path) -> None:
    must_run("plot_differences", "--comparison", study / "comparison.tsv", "--output", study / "differences.svg")
    texts = [text for text, _ in texts_of(study / "differences.svg") if ", p " in text]
    assert texts
    assert all(re.fullmatch(r"[+-]\d\.\d{4} \(.*\), p = [01]\.\d{4}", text) for text in texts)
    table = (study / "comparison.tsv").read_text(encoding="utf-8").splitlines()
    header, rows = table[0].split("\t"), [line.split("\t") for line in table[1:]]
    for row in rows:
        row[header.index("p_bootstrap")] = "0.000100"  # 1 / 10,001, as in the table
    (study / "floor.tsv").write_text("\n".join("\t".join(row) for row in (header, *rows)) + "\n", encoding="utf-8")
    must_run("plot_differences", "--comparison", study / "floor.tsv", "--output", study / "floor.svg")
    texts = [text for text, _ in texts_of(study / "floor.svg") if ", p " in text]
    assert texts
    assert all(text.endswith(", p ≤ 0.0001") for text in texts)


def test_tables_by_label_as_a_page_and_in_latex(study: Path) -> None:
    metrics = (study / "metrics.tsv").read_text(encoding="utf-8").replace("乙\t", "b_1 & 50%\t")
    (study / "named.tsv").write_text(metrics.replace("\tscene\t", "\t<b>\\x^\t"), encoding="utf-8")
    outputs = ["--output", study / "labels.html", "--latex", study / "labels.tex"]
    must_run("tabulate_labels", "--metrics", study / "named.tsv", *outputs)
    page = (study / "labels.html").read_text(encoding="utf-8")
    assert page.count("<h2>") == 4
    assert "<h2>甲 on cluener dev, pairs, mean of 2 seeds</h2>" in page
    assert "<td>&lt;b&gt;\\x^</td>" in page
    latex = (study / "labels.tex").read_text(encoding="utf-8")
    assert latex.count("\\begin{tabular}") == latex.count("\\end{tabular}") == 6
    assert "b\\_1 \\& 50\\% & " in latex
    assert "\\textless{}b\\textgreater{}\\textbackslash{}x\\textasciicircum{} & " in latex
    rows = read_tsv(study / "seeds.tsv")
    micro = next(row for row in rows if (row["run"], row["scoring"], row["label"]) == ("甲", "spans", "micro"))
    f1 = f"{float(micro['f1_mean']):.4f} $\\pm$ {float(micro['f1_sd']):.4f}"
    assert len(re.findall(rf"^(?:甲|micro) &.* & {re.escape(f1)} & ", latex, re.MULTILINE)) == 2


def test_runs_that_cannot_be_compared_give_an_empty_plot(study: Path) -> None:
    header = (study / "comparison.tsv").read_text(encoding="utf-8").splitlines()[0]
    (study / "none.tsv").write_text(header + "\n", encoding="utf-8")
    must_run("plot_differences", "--comparison", study / "none.tsv", "--output", study / "none.svg")
    assert "<svg" in (study / "none.svg").read_text(encoding="utf-8")


def test_the_run_table_has_settings_costs_and_provenance(study: Path) -> None:
    manifests = [study / f"{name}-{seed}" / "manifest.json" for name, seed in RUNS]
    must_run(
        "tabulate_runs", "--manifests", *manifests, "--metrics", study / "metrics.tsv", "--output", study / "runs.html"
    )
    page = (study / "runs.html").read_text(encoding="utf-8")
    assert page.count("<tr>") == 1 + len(RUNS)
    assert len(re.findall(r'<tr class="mean"><td>甲</td><td>mean of 2</td><td>\d\.\d{4} ± ', page)) == 1
    for expected in ("demo: lora_rank 64", "tiny at &lt;1&gt;", "01234567 and changes", "31.0 min", "<td>1.00</td>"):
        assert expected in page
    assert "<td>train: 2 of 9 rows left out: broken JSON (2)</td>" in page


def test_errors_are_highlighted_in_their_sentences(study: Path) -> None:
    examples = study / "errors" / "examples.jsonl"
    must_run("show_errors", "--examples", examples, "--title", "<甲>", "--output", study / "errors.html")
    page = (study / "errors.html").read_text(encoding="utf-8")
    assert "<h1>&lt;甲&gt;</h1>" in page
    assert page.count("<article>") == len(examples.read_text(encoding="utf-8").splitlines())
    assert "class=wrong>没有<small>" in page


# No font has U+10FFFE, so it is drawn as a box. A character that looks the same is a missing character.
BOXES = """<canvas id=c width=40 height=40></canvas><p id=boxes></p><script>
const context = document.getElementById("c").getContext("2d", {willReadFrequently: true});
context.font = "24px %s";
function look(text) {
  context.clearRect(0, 0, 40, 40); context.fillText(text, 4, 30);
  return context.getImageData(0, 0, 40, 40).data.join();
}
const box = look(String.fromCodePoint(0x10FFFE));
document.getElementById("boxes").textContent = "boxes: " + [...%s].filter(one => look(one) === box).join("") + ".";
</script>"""


@pytest.mark.engine
@pytest.mark.browser
def test_the_report_opens_in_a_browser(reported: Path, tmp_path: Path) -> None:
    need_browser()
    done = snakemake(reported, "report", "--report", str(tmp_path / "report.html"))
    assert done.returncode == 0, done.stdout
    document = in_browser(tmp_path / "report.html", tmp_path / "profile")
    for category in ("1 Runs", "2 Scores", "3 Training", "4 Errors", "5 Data", "6 Cost"):
        assert category in document
    assert "The most instructive errors" in (tmp_path / "report.html").read_text(encoding="utf-8")
    figures = [path for path in (reported / "results" / "report").rglob("*.*") if path.suffix in (".svg", ".html")]
    characters = sorted({one for path in figures for one in path.read_text(encoding="utf-8") if one > "\u2000"})
    assert "的" in characters
    (tmp_path / "boxes.html").write_text(
        f'<!DOCTYPE html><meta charset="utf-8">{BOXES % (FONTS, json.dumps("".join(characters)))}', encoding="utf-8"
    )
    assert "boxes: ." in in_browser(tmp_path / "boxes.html", tmp_path / "profile")
