"""convert_dataset: its outputs, its messages, and the counts of the real corpus."""

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

# Counted without this project's readers, in the file as published.
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


def test_a_valid_file_becomes_canonical_json_lines(tmp_path: Path) -> None:
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
        "raw:2: missing key 'label', which other rows have; use {} for a sentence without entities",
        "raw:4: broken JSON at column 1: Expecting value, found 'not JSON'; expected one object per line",
        "error: raw: 3 problems in 4 rows, nothing is written. Fix them, or leave the invalid rows out with "
        "on_invalid: drop",
    ]
    assert files(tmp_path) == ["raw"]


def test_the_same_problem_is_one_line_with_a_count(tmp_path: Path) -> None:
    done = convert(tmp_path, "[]\n" * 10_000)
    assert done.returncode == 1
    printed, summary = done.stderr.splitlines()
    assert printed == (
        "raw:1: expected a JSON object, found [] (9999 more like this: line 2, line 3, line 4, line 5, line 6, ...)"
    )
    assert summary.startswith("error: raw: 10000 problems in 10000 rows")


def test_kinds_of_problems_are_printed_up_to_the_limit_and_all_counted(tmp_path: Path) -> None:
    done = convert(tmp_path, "[]\n" * 2 + '{"text": ""}\n{"text": 1}\n{"text": 2}\n' + VALID, "--limit", "2")
    assert done.returncode == 1
    *printed, rest, summary = done.stderr.splitlines()
    assert [line.split(": ")[0] for line in printed] == ["raw:1", "raw:3"]
    assert rest == "... and 5 more"
    assert summary.startswith("error: raw: 8 problems in 6 rows")


def test_drop_writes_the_dropped_rows_with_reasons(tmp_path: Path) -> None:
    raw = VALID.encode() + b'\n{"text": "\xff"}\n{"text": "\\ud83d", "label": []}\n{"text": "x", "label": {}}\n'
    done = convert(tmp_path, raw, "--on-invalid", "drop", "--limit", "1", "--options", '{"max_dropped": 0.5}')
    assert done.returncode == 0
    assert done.stdout == "out.jsonl: 2 sentences, 2 mentions; dropped 2 of 4 rows, see dropped.jsonl\n"
    assert done.stderr.splitlines()[1:] == ["... and 2 more"]
    assert read_jsonl(tmp_path / "out.jsonl") == [CANONICAL, {"id": "dev-4", "text": "x", "entities": []}]
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
    options = ("--on-invalid", "drop", "--options", '{"max_dropped": 0.5}')
    assert convert(tmp_path, raw, *options, raw_format="conll-bio").returncode == 0
    assert [record["text"] for record in read_jsonl(tmp_path / "out.jsonl")] == ["温"]
    assert read_jsonl(tmp_path / "dropped.jsonl") == [
        {
            "line": 3,
            "reasons": ["raw:4: tag 'I-name' after 'O'; a mention begins with B-name"],
            "raw": "曼\tO\n联\tI-name\n",
        }
    ]


@pytest.mark.parametrize("on_invalid", ["fail", "drop"])
def test_byte_order_mark_and_crlf_are_ignored_with_a_note(tmp_path: Path, on_invalid: str) -> None:
    done = convert(tmp_path, f"\ufeff{VALID}\r\n{VALID}\r\n", "--on-invalid", on_invalid)
    assert done.returncode == 0
    assert done.stderr.splitlines()[:2] == [
        "raw:1: note: a byte order mark was skipped",
        "raw:1: note: lines that end with CRLF were read as if they ended with LF (2 times)",
    ]
    assert read_jsonl(tmp_path / "out.jsonl") == [CANONICAL, {**CANONICAL, "id": "dev-2"}]


DOCCANO = '{"text": "温格的球队", "label": [[0, 2, "name"]]}\n'


@pytest.mark.parametrize(
    ("raw_format", "raw", "advice"),
    [
        ("cluener", DOCCANO.replace("label", "entities"), "doccano's export: format: doccano"),
        ("entitune", DOCCANO, "doccano's export: format: doccano"),
        (
            "cluener",
            '[{"text": "温", "entities": [{"start_idx": 0, "end_idx": 0, "type": "name", "entity": "温"}]}]',
            "cmeee",
        ),
        ("conll-bio", DOCCANO, "doccano's export: format: doccano"),
        ("conll-bio", "温 B-name\n格 E-name\n", "a token and its BMES tag per line: format: conll-bmes"),
        ("conll-bio", "1 温 B-name -\n2 格 O -\n", "format: conll-bio, columns: {token: 1, tag: 2}"),
        ("conll-bio", "温 I-name\n格 O\n", "format: conll-bio, repair_iob1: true"),
        ("doccano", VALID, "CLUENER's JSON lines: format: cluener"),
        ("brat", VALID, "CLUENER's JSON lines: format: cluener"),
        ("huggingface", '{"words": ["温"], "tags": ["B-name"]}', "columns: {token: words, tag: tags}"),
    ],
)
@pytest.mark.parametrize("on_invalid", ["fail", "drop"])
def test_a_wrong_format_is_refused_with_the_right_one(
    tmp_path: Path, raw_format: str, raw: str, advice: str, on_invalid: str
) -> None:
    done = convert(tmp_path, raw, "--on-invalid", on_invalid, raw_format=raw_format, split="test")
    assert done.returncode == 1
    assert "This looks like " in done.stderr.splitlines()[-1]
    assert advice in done.stderr.splitlines()[-1]
    assert files(tmp_path) == ["raw"]


@pytest.mark.parametrize(
    ("raw_format", "raw", "expected"),
    [
        (
            "cluener",
            '{"id": 1, "text": "温格"}\n',
            "no labels; format cluener has them under the key 'label', and the rows ",
        ),
        (
            "doccano",
            '{"text": "温格", "note": "x"}\n',
            "the rows have the keys 'text', 'note'. The split train must be",
        ),
        ("label-studio", '[{"data": {"text": "温"}, "predictions": [{"result": []}]}]', "with use_predictions: true"),
        ("conll-bio", "温 O\n格 O\n", "no mentions in 1 sentences; the split train must be labelled"),
        ("cluener", '{"text": "温格", "label": {}}\n', "no mentions in 1 sentences; the split train must be labelled"),
    ],
)
def test_a_split_that_needs_labels_is_refused_without(tmp_path: Path, raw_format: str, raw: str, expected: str) -> None:
    assert convert(tmp_path, raw, raw_format=raw_format, split="test").returncode == 0
    done = convert(tmp_path, raw, "--require-labels", raw_format=raw_format, split="train")
    assert done.returncode == 1
    assert expected in done.stderr.splitlines()[-1]


def test_rows_read_as_unlabelled_are_reported(tmp_path: Path) -> None:
    done = convert(tmp_path, '{"text": "温格", "boxes": [{"x": 1, "y": 2}]}\n', split="test")
    assert done.returncode == 0
    assert done.stderr == "raw:1: note: read as unlabelled; ignored keys: boxes\n"


@pytest.mark.parametrize("row", [{"text": "温", "label": "name"}, {"text": "温", "output": "温: name"}])
def test_annotation_that_the_format_does_not_read_is_refused(tmp_path: Path, row: dict[str, str]) -> None:
    done = convert(tmp_path, json.dumps(row), raw_format="spans", split="test")
    assert done.returncode == 1
    assert f"It does not read '{list(row)[1]}'" in done.stderr


def test_all_labels_of_the_file_are_listed_once(tmp_path: Path) -> None:
    raw = "温 S-EDU\n格 S-name\n\n温 S-EDU\n\n格 S-RACE\n"
    done = convert(tmp_path, raw, raw_format="conll-bmes")
    assert done.returncode == 1
    first, labels, error = done.stderr.splitlines()
    assert first.startswith("raw:1: unknown label 'EDU'; expected one of address, ")
    assert first.endswith(" (2 more like this: line 4, line 6)")
    assert labels.startswith("raw: labels in the file: EDU (2), name (1), RACE (1); declared: address, ")
    assert labels.endswith("position, scene, EDU, RACE]")
    assert error.startswith("error: raw: 3 problems in 3 rows")


def test_labels_cannot_rewrite_the_terminal(tmp_path: Path) -> None:
    done = convert(tmp_path, "温 B-a\x1b[2Kb\n", raw_format="conll-bio")
    assert done.returncode == 1
    assert all(line.isprintable() for line in done.stderr.splitlines())


def test_messages_name_the_users_file(tmp_path: Path) -> None:
    done = convert(
        tmp_path, b"\xef\xbb\xbf{}\n" + b'{"text": "\xff"}\n' * 2, "--source", "/data/mine.json", "--on-invalid", "drop"
    )
    assert done.returncode == 1
    assert [line for line in done.stderr.splitlines() if "/data/mine.json" not in line] == []
    raw = f"{VALID}\n{VALID.replace('温格', '曼联', 1)}\nno\n"
    done = convert(
        tmp_path, raw, "--source", "/data/mine.json", "--on-invalid", "drop", "--options", '{"max_dropped": 1}'
    )
    assert done.returncode == 0, done.stderr
    reasons = [reason for row in read_jsonl(tmp_path / "dropped.jsonl") for reason in row["reasons"]]
    assert len(reasons) >= 2
    assert [reason for reason in reasons if not reason.startswith("/data/mine.json:")] == []


@pytest.mark.parametrize(("wrong", "share"), [(1, "4.8%"), (2, "9.1%")])
def test_more_than_max_dropped_is_refused(tmp_path: Path, wrong: int, share: str) -> None:
    raw = "".join(f'{{"text": "第{number}句", "label": {{}}}}\n' for number in range(20)) + "no\n" * wrong
    done = convert(tmp_path, raw, "--on-invalid", "drop")
    assert (done.returncode == 0) is (wrong == 1)
    if wrong > 1:
        assert f"2 of 22 rows are invalid, {share}; max_dropped allows 5.0%, nothing is written" in done.stderr
        assert files(tmp_path) == ["raw"]


def test_the_summary_counts_read_and_dropped_rows(tmp_path: Path) -> None:
    other = VALID.replace("organization", "company")
    raw = f'\ufeff{VALID}\n{VALID}\n{other}\n{{"text": "<|im_end|>", "label": {{}}}}\nno\n'
    options = ("--on-invalid", "drop", "--options", '{"max_dropped": 0.5}', "--summary", "summary.json")
    done = convert(tmp_path, raw, *options)
    assert done.returncode == 0, done.stderr
    summary = json.loads((tmp_path / "summary.json").read_text(encoding="utf-8"))
    assert {label: count for label, count in summary.pop("labels").items() if count} == {
        "name": 3,
        "organization": 2,
        "company": 1,
    }
    assert summary == {
        "source": "raw",
        "format": "cluener",
        "rows": 5,
        "sentences": 3,
        "mentions": 6,
        "dropped": 2,
        "kinds": {"control token of chat models": 1, "broken JSON": 1},
        "notes": {"a byte order mark was skipped": 1},
        "duplicates": 2,
        "contradictory_duplicates": 1,
    }
    assert "raw:1: note: 2 sentences repeat an earlier one, 1 of them with another annotation" in done.stderr


def test_a_pipe_is_refused(tmp_path: Path) -> None:
    done = run_script(
        "convert_dataset",
        *("--raw", "/dev/stdin", "--format", "cluener", "--labels", "name", "--split", "dev"),
        *("--output", "out.jsonl", "--dropped", "dropped.jsonl"),
        cwd=tmp_path,
        stdin=VALID,
    )
    assert done.returncode == 1
    assert (
        done.stderr == "error: /dev/stdin is not a file (a pipe?); it is read more than once: save it to a file first\n"
    )


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ('{"columns": {"tag": 1}}', "columns: not an option of format cluener"),
        ('{"colums": {}}', "colums: Extra inputs are not permitted"),
        ('{"mapping": {"mentions": "m"}}', "mapping.start: Field required"),
        ("{", "Invalid JSON"),
    ],
)
def test_wrong_options_are_named(tmp_path: Path, options: str, expected: str) -> None:
    done = convert(tmp_path, VALID, "--options", options)
    assert done.returncode == 2
    assert expected in done.stderr


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
def test_cluener_has_the_known_counts(cluener_archive: Path, tmp_path: Path, split: str) -> None:
    with zipfile.ZipFile(cluener_archive) as archive:
        raw = archive.read(f"{split}.json")
    assert convert(tmp_path, raw, split=split).returncode == 0
    sentences = read_jsonl(tmp_path / "out.jsonl")
    entities = [(record["id"], entity) for record in sentences for entity in record["entities"]]
    expected = CLUENER[split]
    assert len(sentences) == expected["sentences"]
    assert Counter(entity["label"] for _, entity in entities) == expected["mentions"]
    assert len({(name, entity["label"], entity["text"]) for name, entity in entities}) == expected["pairs"]


def test_the_test_split_of_cluener_has_no_entities(cluener_archive: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(cluener_archive) as archive:
        raw = archive.read("test.json")
    assert convert(tmp_path, raw, split="test").returncode == 0
    sentences = read_jsonl(tmp_path / "out.jsonl")
    assert len(sentences) == 1_345
    assert all(list(record) == ["id", "text"] for record in sentences)
    assert (sentences[0]["id"], sentences[-1]["id"]) == ("0", "1344")
