"""Count the lines of Python that a call executes, instead of measuring time."""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import FrameType
from typing import Any


def steps(call: Callable[[], Any]) -> int:
    """Return the number of executed lines, counted in every round of a loop or comprehension; C code does not count."""
    count = 0

    def trace(frame: FrameType, event: str, argument: Any) -> Callable[..., Any]:
        nonlocal count
        count += event == "line"
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        call()
    finally:
        sys.settrace(before)
    return count


def grows_linearly(work: Callable[[int], Callable[[], Any]], size: int) -> bool:
    """Whether twice the size needs at most 2.3 times the steps. `work(size)` returns the call to count."""
    return steps(work(2 * size)) <= 2.3 * steps(work(size))
