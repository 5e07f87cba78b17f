"""The template, style and script of the demo page, and its words in Chinese and English."""

from __future__ import annotations

import base64
import hashlib

EXAMPLES = (
    "昨天下午，作家林穗禾在北京图书馆谈起了她的新书《雾岭书简》。",
    "腾讯公司宣布，游戏《星渊远征》将于下月在东京发布。",
    "江临市水务局局长邵启棠提醒居民，周五零点到六点停水检修。",
    "周末我们去颐和园划船，晚上在家看了一部老电影《城南旧事》。",
    "下雨天适合待在家里，喝一杯热茶。",
)

WORDS: dict[str, dict[str, str]] = {
    "zh": {
        "language": "中文",
        "title": "EntiTune 实体识别",
        "text": "文本",
        "hint": "一行按一个句子识别；多行文本逐句识别。",
        "run": "运行",
        "base": "基座模型",
        "extract": "识别",
        "keys": "Ctrl+Enter（Mac：⌘+Enter）",
        "working": "正在识别……",
        "examples": "示例",
        "labels": "标签",
        "nothing": "没有找到实体。",
        "missing": "句中找不到：",
        "overlapping": "与其他实体重叠：",
        "label": "标签",
        "entity": "实体",
        "start": "起点",
        "end": "终点",
        "offsets": "位置以字符计，从 0 开始；终点不含在内。",
        "confidence": "置信度",
        "not_found": "句中找不到",
        "seconds": "用时",
        "json": "JSON 格式的结果",
        "copy": "复制 JSON",
        "copied": "已复制",
        "raw": "模型的原始回答",
        "ok": "回答格式正确",
        "repaired": "回答格式有误，修复后读取",
        "unparseable": "回答无法读取，因此没有实体",
        "truncated": "回答过长，被截断：其中完整的实体已保留",
        "too_long": "文本过长，模型一次读不完。请缩短，或者分成几行：每一行单独识别。",
        "refused": "服务器拒绝了这段文本：",
        "away": "模型服务器没有响应。请查看运行 serve_runs.py 的终端，然后重试。",
        "busy": "服务器正忙，请稍后重试。",
        "broken": "服务器出错了。请查看 serve_runs.py 的日志，然后重试。",
        "too_large": "文本太大：最多 64 KB。",
        "own_machine": "此页面只供本机的浏览器使用。",
    },
    "en": {
        "language": "English",
        "title": "EntiTune entity extraction",
        "text": "Text",
        "hint": "One line is one sentence. Several lines are split into sentences.",
        "run": "Run",
        "base": "base model",
        "extract": "Extract",
        "keys": "Ctrl+Enter (Mac: ⌘+Enter)",
        "working": "Extracting…",
        "examples": "Examples",
        "labels": "Labels",
        "nothing": "No entities found.",
        "missing": "Not found in the sentence:",
        "overlapping": "Overlapping another entity:",
        "label": "label",
        "entity": "entity",
        "start": "start",
        "end": "end",
        "offsets": "Offsets count characters from 0; the end is not included.",
        "confidence": "confidence",
        "not_found": "not found in the sentence",
        "seconds": "time",
        "json": "Result as JSON",
        "copy": "Copy JSON",
        "copied": "Copied",
        "raw": "The model's raw answer",
        "ok": "the answer has the correct format",
        "repaired": "the answer had to be repaired before it could be read",
        "unparseable": "the answer could not be read, so there are no entities",
        "truncated": "the answer was too long and was cut off; its complete entities are kept",
        "too_long": "The text is too long for the model. Shorten it, or divide it into several lines.",
        "refused": "The server refused this text:",
        "away": "The model server does not respond. Check the terminal of serve_runs.py and try again.",
        "busy": "The server is busy. Try again in a moment.",
        "broken": "The server failed. Check the log of serve_runs.py and try again.",
        "too_large": "The text is too large. The limit is 64 KB.",
        "own_machine": "This page can only be used in a browser on the same machine.",
    },
}

STYLE = """
:root {color-scheme: light dark; --text: #1b1b1f; --soft: #5a5a66; --line: #c9c9d2; --back: #fff; --panel: #f5f5f8;
  --accent: #2452c8; --on-accent: #fff; --error: #a11212; --mark-text: #111; --mark: 80% 85%}
@media (prefers-color-scheme: dark) {:root {--text: #ececf1; --soft: #a9a9b8; --line: #45454f; --back: #17171b;
  --panel: #222228; --accent: #8fb0ff; --on-accent: #10131c; --error: #ff9a92; --mark-text: #fff; --mark: 45% 30%}}
body {max-width: 52rem; margin: 0 auto; padding: 1rem; color: var(--text); background: var(--back)}
h1 {font-size: 1.3rem; margin: 0} h2 {font-size: 1rem; margin: 1.2rem 0 .3rem}
header {display: flex; flex-wrap: wrap; gap: .5rem 1rem; align-items: center; justify-content: space-between}
label, .soft {color: var(--soft)} .soft {font-size: .87rem; margin: .3rem 0}
textarea, select, button, input {font: inherit; color: inherit; background: var(--panel);
  border: 1px solid var(--line); border-radius: .4rem; padding: .35rem .7rem}
textarea {box-sizing: border-box; width: 100%; display: block; margin: .3rem 0; font-size: 1.1rem; resize: vertical}
button, input {cursor: pointer} button:disabled {opacity: .6}
button.main {background: var(--accent); color: var(--on-accent); border-color: var(--accent); padding: .35rem 1.4rem}
.row {display: flex; flex-wrap: wrap; gap: .5rem .8rem; align-items: center}
.examples button {text-align: left; font-size: .95rem}
.language input {padding: .1rem .5rem; font-size: .87rem} .language input[aria-current] {border-color: var(--accent)}
.error {color: var(--error); font-weight: 600}
#sentence {font-size: 1.25rem; line-height: 2.1; border: 1px solid var(--line); border-radius: .4rem;
  padding: .3rem .8rem; margin: 1rem 0 .5rem; overflow-wrap: anywhere}
#sentence p {margin: .2rem 0} #sentence .text {white-space: pre-wrap}
#sentence .aside {font-size: 1rem; border-top: 1px dashed var(--line)}
mark {color: var(--mark-text); background: hsl(var(--hue) var(--mark)); padding: .1em .2em}
mark small {color: inherit; opacity: .85; white-space: nowrap} mark small::before {content: "\\2060"}
mark .nothing {opacity: .6} .legend mark.none {opacity: .45}
td, th {border-color: var(--line)} td.number {text-align: right; font-variant-numeric: tabular-nums}
pre {background: var(--panel); border: 1px solid var(--line); border-radius: .4rem; padding: .6rem; margin: .4rem 0;
  overflow-wrap: anywhere; max-height: 24rem; overflow-y: auto}
details {margin: .6rem 0} summary {cursor: pointer}
"""

SCRIPT = """
const form = document.getElementById("ask"), text = document.getElementById("text");
const go = document.getElementById("go");
text.addEventListener("keydown", event => {
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) { event.preventDefault(); form.requestSubmit(go); }
});
document.addEventListener("submit", event => {
  if (event.submitter && event.submitter.name === "lang") return;
  go.textContent = go.dataset.working;
  setTimeout(() => document.querySelectorAll("button").forEach(button => { button.disabled = true; }));
});
window.addEventListener("pageshow", event => { if (event.persisted) location.reload(); });
const copy = document.getElementById("copy");
if (copy) copy.addEventListener("click", async () => {
  const json = document.getElementById("json");
  try { await navigator.clipboard.writeText(json.textContent); }
  catch { getSelection().selectAllChildren(json); document.execCommand("copy"); }
  copy.textContent = copy.dataset.done;
});
"""
POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'; "
    f"script-src 'sha256-{base64.b64encode(hashlib.sha256(SCRIPT.encode()).digest()).decode()}'"
)
"""Allows the script and style of the page, and nothing from other servers."""

PAGE = """\
<!DOCTYPE html>
<html lang="{{ 'zh-CN' if language == 'zh' else 'en' }}"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{{ words.title }}</title><style>{{ style }}</style></head>
<body>
<header><h1>{{ words.title }}</h1>
<div class="language row">{% for code, name in languages %}
<input type="submit" name="lang" value="{{ name }}" form="ask" formnovalidate lang="{{ code }}"\
{% if code == language %} aria-current="true"{% endif %}>
{% endfor %}</div></header>
<main>
<form id="ask" method="post" action="/">
<input type="hidden" name="language" value="{{ language }}">
<p class="row" style="justify-content: space-between; margin-bottom: 0"><label for="text">{{ words.text }}</label>
<span class="soft">{{ words.hint }}</span></p>
<textarea id="text" name="text" rows="4" required{% if not result %} autofocus{% endif %} lang="zh-CN">
{{ text }}</textarea>
<div class="row"><label>{{ words.run }} <select name="run">{% for run in runs %}
<option{% if run.name == chosen.name %} selected{% endif %}>{{ run.name }}</option>
{% endfor %}</select></label>
<span class="soft">{{ words.base }}: {{ chosen.model }}</span>
<button id="go" class="main" data-working="{{ words.working }}">{{ words.extract }}</button>
<span class="soft">{{ words['keys'] }}</span></div>
</form>
{% if error %}
<p class="error" role="alert">{{ error }}</p>
{% endif %}
{{ result }}
<section class="examples"><h2>{{ words.examples }}</h2><div class="row">{% for example in examples %}
<form method="post" action="/"><input type="hidden" name="language" value="{{ language }}">
<input type="hidden" name="run" value="{{ chosen.name }}">
<button name="text" value="{{ example }}" lang="zh-CN">{{ example }}</button></form>
{% endfor %}</div></section>
</main>
<script>{{ script }}</script>
</body></html>
"""

RESULT = """\
<div id="sentence" lang="zh-CN"><p class="text">{{ sentence }}</p>
{% for title, marks in asides %}
<p class="aside">{{ title }} {{ marks }}</p>
{% endfor %}
</div>
{% for warning in warnings %}
<p class="error" role="alert">{{ warning }}</p>
{% endfor %}
{% if statuses %}
<p class="soft" id="about">{{ words.run }} {{ run.name }} · {{ words.base }} {{ run.model }} · \
{{ words.seconds }} {{ '%.2f' % seconds }} s · {{ statuses }}</p>
<p class="legend row" aria-label="{{ words.labels }}">{% for label, hue, count in legend %}
<mark style="--hue: {{ hue }}"{% if not count %} class="none"{% endif %}>{{ label }} {{ count }}</mark>
{% endfor %}</p>
{% if mentions %}
<div class="wide"><table><tr><th>{{ words.label }}<th>{{ words.entity }}<th>{{ words.start }}<th>{{ words.end }}\
{% if with_confidence %}<th>{{ words.confidence }}{% endif %}</tr>
{% for mention in mentions %}
<tr><td>{{ mention.label }}<td>{{ mention.text }}\
{% if mention.start is none %}<td colspan="2" class="soft">{{ words.not_found }}\
{% else %}<td class="number">{{ mention.start }}<td class="number">{{ mention.end }}{% endif %}\
{% if with_confidence %}<td class="number">\
{% if mention.confidence is defined %}{{ '%.1f' % (100 * mention.confidence) }} %{% endif %}{% endif %}</tr>
{% endfor %}
</table></div>
<p class="soft">{{ words.offsets }}</p>
{% else %}
<p id="nothing">{{ words.nothing }}</p>
{% endif %}
<button type="button" id="copy" data-done="{{ words.copied }}">{{ words['copy'] }}</button>
<details><summary>{{ words.json }}</summary><pre id="json">{{ json }}</pre></details>
<details><summary>{{ words.raw }}</summary>{% for raw in raws %}<pre>{{ raw }}</pre>{% endfor %}</details>
{% endif %}
"""
