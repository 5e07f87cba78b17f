"""Small self-contained HTML pages, and sentences with their entities highlighted.

Pages are Jinja templates with autoescape. A template is a string in the module that fills it in, not a file, so a
changed template counts as changed code and the rule runs again (`entitune.code_inputs`). Needs jinja2 (every
environment has it).
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from pathlib import Path

from jinja2 import Environment, StrictUndefined, Template
from markupsafe import Markup

from entitune.files import atomic_write
from entitune.records import Entity, Mention

FONTS = "Noto Sans CJK SC, Noto Sans SC, PingFang SC, Microsoft YaHei, WenQuanYi Micro Hei, sans-serif"
"""The browser uses the first of these fonts that it has. All but the last have Chinese characters."""

STYLE = (
    f"body {{font: 15px/1.6 {FONTS}; margin: 1rem; color: #111; background: #fff}}"
    " table {border-collapse: collapse} td, th {border: 1px solid #999; padding: .2rem .5rem; text-align: left;"
    " vertical-align: top} .wide {overflow-x: auto} pre {white-space: pre-wrap; font-size: 12px}"
    " mark {padding: 0 .2em; border-radius: .2em; color: #000; background: hsl(var(--hue) 80% 85%)}"
    " mark.wrong {outline: 2px solid #000} mark small {color: #333; margin-left: .2em; font-size: 70%}"
)

PAGE = """\
<!DOCTYPE html>
<html lang="zh-CN"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">\
<title>{{ title }}</title><style>{{ style }}</style></head>
<body><h1>{{ title }}</h1>
{{ body }}
</body></html>
"""

MARK = """\
<mark style="--hue: {{ hue }}"{% if wrong %} class=wrong{% endif %}>\
{{ entity.text }}<small>{{ entity.label }}</small></mark>"""

_TEMPLATES = Environment(
    autoescape=True, undefined=StrictUndefined, keep_trailing_newline=True, trim_blocks=True, lstrip_blocks=True
)


@functools.cache
def _compiled(template: str) -> Template:
    return _TEMPLATES.from_string(template)


def render(template: str, **values: object) -> Markup:
    """Fill in a Jinja template. Every value is escaped unless it is Markup.

    The result is Markup, so it can be a value of another template. Raises UndefinedError if `values` lacks a name.
    """
    return Markup(_compiled(template).render(values))


def page(title: str, body: Markup, style: str = "") -> str:
    """Return an HTML page. `style` is CSS that is added to the common style of all pages."""
    return render(PAGE, title=title, body=body, style=Markup(f"{STYLE} {style}"))


def write_page(title: str, body: Markup, path: str | Path, style: str = "") -> None:
    """Write an HTML page atomically. The other arguments are those of `page`."""
    with atomic_write(path) as stream:
        stream.write(page(title, body, style))


def hues_of(labels: Sequence[str]) -> dict[str, int]:
    """Return a hue for each label in degrees, as far apart as possible."""
    return {label: 360 * number // len(labels) for number, label in enumerate(labels)}


def mark(entity: Entity | Mention, hues: dict[str, int], wrong: bool = False) -> Markup:
    """Return an entity's text in its label's colour, followed by the label for readers who cannot see the colour.

    `wrong` draws a frame around it.
    """
    return render(MARK, entity=entity, hue=hues[entity.label], wrong=wrong)


def highlight(
    text: str,
    entities: Sequence[Entity | Mention],
    hues: dict[str, int],
    error: Entity | Mention | None = None,
) -> Markup:
    """Return a sentence with its entities marked and a frame around `error`.

    Entities that overlap an earlier one, and entities without offsets, follow after a plus sign.
    """
    parts: list[str] = []
    after: list[Entity | Mention] = []
    position = 0
    placed = [(one.start, one.end, one) for one in entities if one.start is not None and one.end is not None]
    for start, end, entity in sorted(placed, key=lambda one: (one[0], -one[1])):
        if start < position:
            after.append(entity)
            continue
        parts += [text[position:start], mark(entity, hues, entity == error)]
        position = end
    parts.append(text[position:])
    after += [one for one in entities if one.start is None]
    if after:
        parts += [" + ", Markup(" ").join(mark(entity, hues, entity == error) for entity in after)]
    return Markup("").join(parts)
