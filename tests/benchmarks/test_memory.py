"""Extra memory of calls whose memory is known, and what becomes of calls that fail."""

from __future__ import annotations

import os

import pytest

from benchmarks.memory import _forked


def test_known_allocations_are_seen(result):
    """64 MiB held within a call count, 64 MiB returned do not, and nothing stays behind."""
    for case in result["cases"]:
        found = {row["name"]: row["memory"] for row in case["rows"] if row["reason"] is None}
        assert found["allocate"]["extra"] == pytest.approx(2**26, abs=2**21)
        assert found["return"]["extra"] < 2**21
        assert found["cpu"]["extra"] < 2**20
        assert found["allocate"]["retained"] < 2**22


def test_a_workspace_that_is_kept_is_seen():
    kept: list[bytearray] = []
    found = _forked(lambda: kept or kept.append(bytearray(b"x") * 2**25))
    assert found["extra"] < 2**20
    assert found["retained"] == pytest.approx(2**25, abs=2**21)


def test_failures_are_told():
    assert _forked(lambda: 1 / 0) == {"error": "ZeroDivisionError: division by zero"}
    assert _forked(lambda: os._exit(3)) == {"error": "exit status 3"}
