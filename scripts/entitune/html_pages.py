"""Small HTML pages that need nothing beside them, and sentences with their entities highlighted."""

from __future__ import annotations

import html
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from entitune.files import atomic_write

FONTS = "Noto Sans CJK SC, Noto Sans SC, PingFang SC, Microsoft YaHei, WenQuanYi Micro Hei, sans-serif"
"""Text stays text, in the reader's own fonts: the first of these that is there. All but the last are Chinese."""

STYLE = (
    f"body {{font: 15px/1.6 {FONTS}; margin: 1rem; color: #111; background: #fff}}"
    " table {border-collapse: collapse} td, th {border: 1px solid #999; padding: .2rem .5rem; text-align: left;"
    " vertical-align: top} .wide {overflow-x: auto} pre {white-space: pre-wrap; font-size: 12px}"
    " mark {padding: 0 .2em; border-radius: .2em; color: #000; background: hsl(var(--hue) 80% 85%)}"
    " mark.wrong {outline: 2px solid #000} mark small {color: #333; margin-left: .2em; font-size: 70%}"
)


def page(title: str, body: str, style: str = "") -> str:
    """An HTML page."""
    return (
        '<!DOCTYPE html>\n<html lang="zh-CN"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{html.escape(title)}</title><style>{STYLE} {style}</style></head>\n"
        f"<body><h1>{html.escape(title)}</h1>\n{body}\n</body></html>\n"
    )


def write_page(title: str, body: str, path: str | Path, style: str = "") -> None:
    """Write an HTML page, whole or not at all."""
    with atomic_write(path) as stream:
        stream.write(page(title, body, style))


def hues_of(labels: Sequence[str]) -> dict[str, int]:
    """A colour for each label, as far from each other as they can be: degrees of the colour circle."""
    return {label: 360 * number // len(labels) for number, label in enumerate(labels)}


def mark(entity: dict[str, Any], hues: dict[str, int], wrong: bool = False) -> str:
    """An entity as coloured text with its label behind it, so that the colour is not needed."""
    label = entity["label"]
    return (
        f'<mark style="--hue: {hues[label]}"{" class=wrong" if wrong else ""}>'
        f"{html.escape(entity['text'])}<small>{html.escape(label)}</small></mark>"
    )


def highlight(
    text: str, entities: list[dict[str, Any]], hues: dict[str, int], error: dict[str, Any] | None = None
) -> str:
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
