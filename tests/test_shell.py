"""The environment variables of shell commands in rules."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from entitune.processes import put_first


@pytest.mark.parametrize(
    ("before", "after"), [("/usr/bin:/bin", "/own/bin:/usr/bin:/bin"), ("", "/own/bin"), (None, "/own/bin")]
)
def test_the_folder_comes_first(monkeypatch: pytest.MonkeyPatch, before: str | None, after: str) -> None:
    monkeypatch.delenv("ENTITUNE_TEST", raising=False)
    if before is not None:
        monkeypatch.setenv("ENTITUNE_TEST", before)
    put_first("ENTITUNE_TEST", Path("/own/bin"))
    assert os.environ["ENTITUNE_TEST"] == after
