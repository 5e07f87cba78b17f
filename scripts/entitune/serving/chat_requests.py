"""What a chat request may ask of the server.

vLLM compiles a grammar for every request that constrains its answer, in the engine's own thread: a regular expression
of thirty characters can stop all other answers for minutes. So keys are allowed one by one, and the only constraint
that is allowed is the answer schema of the run.

A text that holds a control token of the model (<|im_end|>) would end its turn and begin another one, which no chat
template can prevent: such a request is refused.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping
from typing import Any

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
"""Keys whose values vLLM checks or ignores, and that cost no more than the answer itself."""
CHECKED = frozenset(("response_format", "chat_template_kwargs"))
"""Keys that `objection` checks."""


def objection(body: bytes, schemas: Mapping[str, Any], control_tokens: Collection[str] = ()) -> str | None:
    """Return why a request is refused, or None.

    Args:
        body: The request as sent.
        schemas: The JSON schema of the answer for each run that is served, by the name of the run.
        control_tokens: What marks up a chat of the model.
    """
    try:
        request = json.loads(body)
    except (ValueError, RecursionError) as error:
        return f"the request is not JSON ({error})"
    if not isinstance(request, dict):
        return "the request is not a JSON object"
    given = {key: value for key, value in request.items() if value is not None}
    if unknown := sorted(given.keys() - ALLOWED - CHECKED):
        return (
            f"not allowed here: {', '.join(unknown)}. Answers are constrained by the run's own JSON schema alone "
            f"(response_format); these keys are allowed: {', '.join(sorted(ALLOWED | CHECKED))}"
        )
    if not _is_switches(given.get("chat_template_kwargs", {})):
        return "chat_template_kwargs may only have true and false as values"
    model = given.get("model")
    schema = schemas.get(model) if isinstance(model, str) else None
    if not _is_plain(given.get("response_format", {"type": "text"}), schema):
        return (
            'response_format may only be {"type": "text"}, or {"type": "json_schema"} with the answer schema of the '
            "run that `model` names: the engine would have to compile any other, and nobody else would be answered "
            "while it does"
        )
    texts = list(_strings(given.get("messages")))
    if held := [token for token in control_tokens if any(token in text for text in texts)]:
        return f"a text holds {', '.join(held)}, which marks up the chats of this model and cannot be sent as text"
    return None


def _strings(value: Any) -> Iterator[str]:
    """Yield every text within a JSON value."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, list | dict):
        for one in value.values() if isinstance(value, dict) else value:
            yield from _strings(one)


def _is_switches(value: Any) -> bool:
    """Return whether a value is an object of booleans, such as {"enable_thinking": false}."""
    return isinstance(value, dict) and all(isinstance(one, bool) for one in value.values())


def _is_plain(response_format: Any, schema: Any) -> bool:
    """Return whether a response format is text, or exactly `schema`."""
    if response_format == {"type": "text"}:
        return True
    if not isinstance(response_format, dict) or response_format.keys() != {"type", "json_schema"}:
        return False
    described = response_format["json_schema"]
    return (
        schema is not None
        and response_format["type"] == "json_schema"
        and isinstance(described, dict)
        and described.keys() <= {"name", "description", "strict", "schema"}
        and described.get("schema") == schema
    )
