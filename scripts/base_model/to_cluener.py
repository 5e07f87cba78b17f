"""Write marked sentences, [surface|label], as CLUENER's JSON lines: from standard input to standard output."""

import json
import sys

from written import read_sentence


def main() -> None:
    """Convert each line. Both offsets are inclusive, as in CLUENER."""
    for line in sys.stdin:
        text, spans = read_sentence(line.rstrip("\n")).placed()
        labels: dict[str, dict[str, list[list[int]]]] = {}
        for label, start, end in spans:
            labels.setdefault(label, {}).setdefault(text[start:end], []).append([start, end - 1])
        print(json.dumps({"text": text, "label": labels}, ensure_ascii=False))


if __name__ == "__main__":
    main()
