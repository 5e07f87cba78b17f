"""Check chat requests before they reach the server.

For every request that constrains its answer, vLLM compiles a grammar in the engine's thread. A regular expression of
thirty characters can block all other answers for minutes. So only listed keys are allowed, and the only allowed
constraint is the run's own.

A text that contains a control token of the model (<|im_end|>) would end its turn and begin another one. Chat templates
cannot prevent that, so such requests are refused.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from entitune.prompting.answer_formats import AnswerFormat
from entitune.prompting.answer_formats.constraints import constraint_of

WHY = "the engine would compile any other, and could not answer other requests while it does"

_CONTENT = ("messages", "model")
_DRAWING = (
    *("temperature", "top_p", "top_k", "min_p", "seed", "logit_bias"),
    *("frequency_penalty", "presence_penalty", "repetition_penalty"),
)
_LENGTH = (
    *("max_tokens", "max_completion_tokens", "min_tokens", "ignore_eos"),
    *("stop", "stop_token_ids", "include_stop_str_in_output"),
)
_OUTPUT = (
    *("n", "stream", "stream_options", "logprobs", "top_logprobs"),
    *("skip_special_tokens", "spaces_between_special_tokens"),
)
_IGNORED = (
    *("user", "metadata", "store", "service_tier"),
    *("safety_identifier", "prompt_cache_key", "parallel_tool_calls"),
)
ALLOWED = frozenset((*_CONTENT, *_DRAWING, *_LENGTH, *_OUTPUT, *_IGNORED))
"""Keys whose values vLLM checks or ignores, and that add no cost to the answer."""
CHECKED = frozenset(("response_format", "structured_outputs", "chat_template_kwargs"))
"""Keys that `objection` checks."""
MAX_CONSTRAINED = 16 * 1024
"""The most characters of a text with a constrained answer: the grammar of the answer may grow with the text."""


@dataclass(frozen=True)
class ServedRun:
    """The form of a run's requests and answers."""

    answer_format: AnswerFormat
    labels: Sequence[str]
    user: str
    """The user's turn before the sentence."""


def objection(body: bytes, runs: Mapping[str, ServedRun], control_tokens: Collection[str] = ()) -> str | None:
    """Return why a request is refused, or None.

    Args:
        body: the request as sent.
        runs: the runs that are served, by name.
        control_tokens: the control tokens of the model.
    """
    try:
        request = json.loads(body)
    except (ValueError, RecursionError) as error:
        return f"the request is not JSON ({error})"
    if not isinstance(request, dict):
        return "the request is not a JSON object"
    given = {key: value for key, value in request.items() if value is not None}
    if unknown := sorted(given.keys() - ALLOWED - CHECKED):
        return f"not allowed here: {', '.join(unknown)}; allowed are {', '.join(sorted(ALLOWED | CHECKED))}"
    if not _is_switches(given.get("chat_template_kwargs", {})):
        return "the values of chat_template_kwargs must be true or false"
    model = given.get("model")
    run = runs.get(model) if isinstance(model, str) else None
    if "structured_outputs" in given and not _is_own_constraint(given, run):
        return (
            "structured_outputs may only be the constraint of the run that `model` names, for the sentence of the "
            f"request; {WHY}"
        )
    if not _is_own_format(given.get("response_format", {"type": "text"}), run):
        if run and run.answer_format != "json":
            return (
                f'response_format may only be {{"type": "text"}}: the answers of {model} have the format '
                f"{run.answer_format}, which is no JSON; structured_outputs may be the run's own constraint"
            )
        return (
            'response_format may only be {"type": "text"} or the JSON schema of answers of the run that `model` names; '
            f"{WHY}"
        )
    texts = list(_strings(given.get("messages")))
    if held := [token for token in control_tokens if any(token in text for text in texts)]:
        return f"a text holds {', '.join(held)}, a control token of this model that cannot be sent as text"
    return None


def schema_of(labels: Sequence[str]) -> dict[str, Any]:
    """Return the JSON schema of answers in the format `json`, for clients that cannot send `structured_outputs`."""
    mention = {
        "type": "object",
        "properties": {"label": {"enum": list(labels)}, "text": {"type": "string"}},
        "required": ["label", "text"],
        "additionalProperties": False,
    }
    return {"type": "array", "items": mention}


def _is_own_constraint(given: Mapping[str, Any], run: ServedRun | None) -> bool:
    """Return whether a request constrains its answer as the client of the run does."""
    messages = given.get("messages")
    last = messages[-1] if isinstance(messages, list) and messages else None
    text = last.get("content") if isinstance(last, dict) else None
    if run is None or not isinstance(text, str) or len(text) > MAX_CONSTRAINED:
        return False
    sentence = text.removeprefix(f"{run.user}\n")
    return bool(given["structured_outputs"] == constraint_of(run.answer_format, run.labels, sentence).to_vllm())


def _is_own_format(response_format: Any, run: ServedRun | None) -> bool:
    """Return whether a response format is text, or the JSON schema of the run's answers."""
    if response_format == {"type": "text"}:
        return True
    if not isinstance(response_format, dict) or response_format.keys() != {"type", "json_schema"}:
        return False
    described = response_format["json_schema"]
    return (
        run is not None
        and run.answer_format == "json"
        and response_format["type"] == "json_schema"
        and isinstance(described, dict)
        and described.keys() <= {"name", "description", "strict", "schema"}
        and bool(described.get("schema") == schema_of(run.labels))
    )


def _is_switches(value: Any) -> bool:
    """Return whether a value is an object of booleans, such as {"enable_thinking": false}."""
    return isinstance(value, dict) and all(isinstance(one, bool) for one in value.values())


def _strings(value: Any) -> Iterator[str]:
    """Yield every text within a JSON value."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, list | dict):
        for one in value.values() if isinstance(value, dict) else value:
            yield from _strings(one)
