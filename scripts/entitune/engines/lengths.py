"""Check that prompts and answers fit the limits of the decode settings."""

from __future__ import annotations

from collections.abc import Sequence

from entitune.cli import InputError
from entitune.records import Tokens


def check_lengths(rows: Sequence[Tokens], max_tokens: int, max_model_len: int, source: str) -> int:
    """Check that every prompt leaves room for an answer. Otherwise vLLM would refuse the prompt or cut the answer.

    Args:
        rows: The rows of an encoded split.
        max_tokens: The longest answer, in tokens.
        max_model_len: The longest prompt and answer together, in tokens.
        source: The file of the rows, for messages.

    Returns:
        The number of gold answers that are longer than `max_tokens`, which a model cannot give.

    Raises:
        InputError: A prompt leaves no room.
    """
    long = [row for row in rows if len(row.prompt_ids) + max_tokens > max_model_len]
    if long:
        longest = max(len(row.prompt_ids) for row in long)
        raise InputError(
            f"{source}: {len(long)} prompts (the first: {long[0].id}) leave no room for max_tokens {max_tokens} "
            f"within max_model_len {max_model_len}; split long sentences with windows: true in the dataset's entry "
            f"of conf/datasets.yaml, set max_model_len to at least {longest + max_tokens} in the run's entry of "
            "conf/decode.yaml, or remove these sentences from the corpus (EntiTune drops no sentence that is scored)"
        )
    cut = [row.id for row in rows if (row.answer_tokens or 0) > max_tokens]
    if cut:
        print(
            f"warning: {source}: {len(cut)} gold answers (the first: {cut[0]}) are longer than max_tokens", flush=True
        )
    return len(cut)
