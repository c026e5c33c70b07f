"""A kept result of the tiny op, measured once."""

from __future__ import annotations

from typing import Any

import pytest

from benchmarks import record
from tests.benchmarks import tiny


@pytest.fixture(scope="session")
def result() -> dict[str, Any]:
    """What `run_op` returns for the tiny op, with peaks of a made-up machine."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(record, "load", lambda op: tiny)
        patch.setattr(record, "best_peaks", lambda dtype, device: (1e11, 1e10))
        return record.run_op("triplet", "tiny", 3)
