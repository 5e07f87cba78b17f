"""Answer formats: how an answer names the mentions of a sentence.

    json        [{"label": "name", "text": "温格"}, {"label": "organization", "text": "曼联"}]
    brackets    [温格|name]的球队战胜[曼联|organization]
    occurrence  [{"label": "name", "text": "温格", "occurrence": 1}, ...]

Each format has a function in three modules: `writing` (the answer that a model learns), `constraints` (the answers that
structured decoding allows) and `reading` (the mentions in an answer). The modules are separate, so that a change of the
reader does not make a training or a prediction stale.
"""

from __future__ import annotations

from typing import Literal, TypeAlias, get_args

AnswerFormat: TypeAlias = Literal["json", "brackets", "occurrence"]
"""The name of a format: the key `answer` of an entry in conf/prompts.yaml."""
ANSWER_FORMATS: tuple[AnswerFormat, ...] = get_args(AnswerFormat)
