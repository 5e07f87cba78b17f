"""Whether prompts and answers fit into what the engine is given."""

from __future__ import annotations

from collections.abc import Sequence

from entitune.cli import InputError
from entitune.records import Tokens


def check_lengths(rows: Sequence[Tokens], max_tokens: int, max_model_len: int, source: str) -> int:
    """Check that every prompt leaves room for an answer: vLLM would refuse or cut it.

    Args:
        rows: the rows of an encoded split.
        max_tokens: the longest answer, in tokens.
        max_model_len: the longest prompt and answer together, in tokens.
        source: the file of the rows, for the message.

    Returns:
        How many gold answers are longer than `max_tokens`: a model cannot give them.

    Raises:
        InputError: a prompt leaves no room.
    """
    long = [row for row in rows if len(row.prompt_ids) + max_tokens > max_model_len]
    if long:
        longest = max(len(row.prompt_ids) for row in long)
        raise InputError(
            f"{source}: {len(long)} prompts (the first: {long[0].id}) leave no room for max_tokens {max_tokens} "
            f"within max_model_len {max_model_len}; split long sentences with windows: true in the dataset's entry "
            f"of conf/datasets.yaml, set max_model_len to at least {longest + max_tokens} in the run's entry of "
            "conf/decode.yaml, or leave these sentences out of the corpus: a sentence that is scored is not dropped"
        )
    cut = [row.id for row in rows if (row.answer_tokens or 0) > max_tokens]
    if cut:
        print(
            f"warning: {source}: {len(cut)} gold answers (the first: {cut[0]}) are longer than max_tokens", flush=True
        )
    return len(cut)
