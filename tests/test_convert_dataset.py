"""convert_dataset: what is written, what is reported, and the counts of the real corpus."""

from __future__ import annotations

import json
import zipfile
from collections import Counter
from pathlib import Path

import pytest
from helpers import Result, read_jsonl, run_script
from predictions import LABELS

VALID = '{"text": "温格的球队战胜曼联", "label": {"name": {"温格": [[0, 1]]}, "organization": {"曼联": [[7, 8]]}}}'
CANONICAL = {
    "id": "dev-1",
    "text": "温格的球队战胜曼联",
    "entities": [
        {"label": "name", "text": "温格", "start": 0, "end": 2},
        {"label": "organization", "text": "曼联", "start": 7, "end": 9},
    ],
}

# Counted apart from this project's readers, in the file as its authors published it.
CLUENER = {
    "train": {
        "sentences": 10_748,
        "pairs": 23_338,
        "mentions": {
            "address": 2891,
            "book": 1139,
            "company": 2980,
            "game": 2376,
            "government": 1835,
            "movie": 1123,
            "name": 3755,
            "organization": 3210,
            "position": 3141,
            "scene": 1521,
        },
    },
    "dev": {
        "sentences": 1_343,
        "pairs": 2_982,
        "mentions": {
            "address": 373,
            "book": 154,
            "company": 378,
            "game": 295,
            "government": 247,
            "movie": 151,
            "name": 465,
            "organization": 367,
            "position": 433,
            "scene": 209,
        },
    },
}


def convert(
    folder: Path, raw: str | bytes | None, *more: str, raw_format: str = "cluener", split: str = "dev"
) -> Result:
    """Run the script in `folder` on a file `raw` with this content."""
    if raw is not None:
        (folder / "raw").write_bytes(raw if isinstance(raw, bytes) else raw.encode())
    given = ["--raw", "raw", "--format", raw_format, "--labels", ",".join(LABELS), "--split", split]
    given += ["--output", "out.jsonl", "--dropped", "dropped.jsonl", *more]
    done = run_script("convert_dataset", *given, cwd=folder)
    assert "Traceback" not in done.stderr
    return done


def files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_canonical_file(tmp_path: Path) -> None:
    done = convert(tmp_path, VALID + "\n")
    assert done.returncode == 0
    assert done.stdout == "out.jsonl: 1 sentences, 2 mentions\n"
    assert done.stderr == ""
    assert (tmp_path / "out.jsonl").read_bytes() == json.dumps(CANONICAL, ensure_ascii=False).encode() + b"\n"
    assert (tmp_path / "dropped.jsonl").read_bytes() == b""
    assert files(tmp_path) == ["dropped.jsonl", "out.jsonl", "raw"]


def test_conll_gives_the_same_entities(tmp_path: Path) -> None:
    tags = ["B-name", "E-name", *["O"] * 5, "B-organization", "E-organization"]
    raw = "".join(f"{character} {tag}\n" for character, tag in zip(CANONICAL["text"], tags, strict=True))
    assert convert(tmp_path, raw, raw_format="conll-bmes").returncode == 0
    assert read_jsonl(tmp_path / "out.jsonl") == [CANONICAL]


def test_unlabelled_split_has_no_entities(tmp_path: Path) -> None:
    done = convert(tmp_path, '{"id": 0, "text": "温格"}\n', split="test")
    assert done.stdout == "out.jsonl: 1 sentences, unlabelled\n"
    assert read_jsonl(tmp_path / "out.jsonl") == [{"id": "0", "text": "温格"}]


def test_fail_reports_every_problem_and_writes_nothing(tmp_path: Path) -> None:
    done = convert(tmp_path, f'{VALID}\n{{"text": ""}}\n{VALID}\nnot JSON\n')
    assert done.returncode == 1
    assert done.stderr.splitlines() == [
        "raw:2: empty text; expected a sentence",
        "raw:2: missing key 'label', which other rows have; expected {} where a sentence has no entities",
        "raw:4: broken JSON at column 1: Expecting value, found 'not JSON'; expected one object a line",
        "error: raw: 3 problems in 4 rows, nothing is written. Mend them, or leave the invalid rows out with "
        "on_invalid: drop",
    ]
    assert files(tmp_path) == ["raw"]


def test_problems_are_printed_up_to_the_limit_and_all_counted(tmp_path: Path) -> None:
    done = convert(tmp_path, "[]\n" * 7, "--limit", "5")
    assert done.returncode == 1
    *printed, rest, summary = done.stderr.splitlines()
    assert [line.split(": ")[0] for line in printed] == ["raw:1", "raw:2", "raw:3", "raw:4", "raw:5"]
    assert rest == "... and 2 more"
    assert summary.startswith("error: raw: 7 problems in 7 rows")


def test_drop_writes_what_it_drops_with_the_reasons(tmp_path: Path) -> None:
    raw = VALID.encode() + b'\n{"text": "\xff"}\n{"text": "\\ud83d", "label": []}\n' + VALID.encode() + b"\n"
    done = convert(tmp_path, raw, "--on-invalid", "drop", "--limit", "1")
    assert done.returncode == 0
    assert done.stdout == "out.jsonl: 2 sentences, 4 mentions; dropped 2 of 4 rows, see dropped.jsonl\n"
    assert done.stderr.splitlines()[1:] == ["... and 2 more"]
    assert read_jsonl(tmp_path / "out.jsonl") == [CANONICAL, {**CANONICAL, "id": "dev-4"}]
    first, second = read_jsonl(tmp_path / "dropped.jsonl")
    assert first == {
        "line": 2,
        "reasons": ["raw:2: not UTF-8: byte 0xff at byte 11 of the line; expected UTF-8"],
        "raw": '{"text": "\\xff"}\n',
    }
    assert second["line"] == 3
    assert len(second["reasons"]) == 2
    assert second["raw"] == '{"text": "\\ud83d", "label": []}\n'


def test_drop_of_a_conll_sentence_names_the_line_inside_it(tmp_path: Path) -> None:
    raw = "温\tB-name\n\n曼\tO\n联\tI-name\n"
    assert convert(tmp_path, raw, "--on-invalid", "drop", raw_format="conll-bio").returncode == 0
    assert [record["text"] for record in read_jsonl(tmp_path / "out.jsonl")] == ["温"]
    assert read_jsonl(tmp_path / "dropped.jsonl") == [
        {
            "line": 3,
            "reasons": ["raw:4: tag 'I-name' after 'O'; a mention begins with B-name"],
            "raw": "曼\tO\n联\tI-name\n",
        }
    ]


def test_byte_order_mark_and_crlf_fail_but_cost_no_row(tmp_path: Path) -> None:
    raw = f"\ufeff{VALID}\r\n"
    done = convert(tmp_path, raw)
    assert done.returncode == 1
    assert done.stderr.splitlines()[:2] == [
        "raw:1: the file begins with a byte order mark; expected UTF-8 without one",
        "raw:1: 1 lines end with CRLF, the first of them here; expected LF (sed -i 's/\\r$//' FILE)",
    ]
    assert files(tmp_path) == ["raw"]
    done = convert(tmp_path, raw, "--on-invalid", "drop")
    assert done.returncode == 0
    assert len(done.stderr.splitlines()) == 2
    assert read_jsonl(tmp_path / "out.jsonl") == [CANONICAL]


@pytest.mark.parametrize("raw", ["", "\n\n", "\ufeff"])
@pytest.mark.parametrize("on_invalid", ["fail", "drop"])
@pytest.mark.parametrize("raw_format", ["cluener", "conll-bio"])
def test_a_split_without_a_row_fails(tmp_path: Path, raw: str, on_invalid: str, raw_format: str) -> None:
    done = convert(tmp_path, raw, "--on-invalid", on_invalid, raw_format=raw_format)
    assert done.returncode == 1
    assert "error: raw:1: no rows; expected at least one" in done.stderr
    assert files(tmp_path) == ["raw"]


def test_a_split_without_a_valid_row_fails(tmp_path: Path) -> None:
    done = convert(tmp_path, "[]\n", "--on-invalid", "drop")
    assert done.returncode == 1
    assert "error: raw: none of the 1 rows is valid, nothing is written" in done.stderr
    assert files(tmp_path) == ["raw"]


def test_missing_file_is_named(tmp_path: Path) -> None:
    done = convert(tmp_path, None)
    assert done.returncode == 1
    assert done.stderr == "error: [Errno 2] No such file or directory: 'raw'\n"
    assert files(tmp_path) == []


@pytest.mark.parametrize(
    "wrong",
    [("--labels", "name,,book"), ("--labels", "name,name"), ("--limit", "0"), ("--limit", "x"), ("--format", "csv")],
)
def test_wrong_arguments_are_named(tmp_path: Path, wrong: tuple[str, str]) -> None:
    done = convert(tmp_path, VALID, *wrong)
    assert done.returncode == 2
    assert f"argument {wrong[0]}" in done.stderr
    assert files(tmp_path) == ["raw"]


@pytest.mark.parametrize("split", CLUENER)
def test_counts_of_cluener(cluener_archive: Path, tmp_path: Path, split: str) -> None:
    with zipfile.ZipFile(cluener_archive) as archive:
        raw = archive.read(f"{split}.json")
    assert convert(tmp_path, raw, split=split).returncode == 0
    sentences = read_jsonl(tmp_path / "out.jsonl")
    entities = [(record["id"], entity) for record in sentences for entity in record["entities"]]
    expected = CLUENER[split]
    assert len(sentences) == expected["sentences"]
    assert Counter(entity["label"] for _, entity in entities) == expected["mentions"]
    assert len({(name, entity["label"], entity["text"]) for name, entity in entities}) == expected["pairs"]


def test_unlabelled_split_of_cluener(cluener_archive: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(cluener_archive) as archive:
        raw = archive.read("test.json")
    assert convert(tmp_path, raw, split="test").returncode == 0
    sentences = read_jsonl(tmp_path / "out.jsonl")
    assert len(sentences) == 1_345
    assert all(list(record) == ["id", "text"] for record in sentences)
    assert (sentences[0]["id"], sentences[-1]["id"]) == ("0", "1344")
