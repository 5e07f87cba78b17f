"""Work counted instead of time: how many lines of Python a call executes."""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import FrameType
from typing import Any


def steps(call: Callable[[], Any]) -> int:
    """The number of lines that a call executes, each round of a loop or comprehension anew; C code is not counted."""
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
    """Whether twice the size costs at most 2.3 times the steps. `work(size)` prepares what is counted."""
    return steps(work(2 * size)) <= 2.3 * steps(work(size))
