"""Kernels run by Triton's interpreter, which must be chosen before triton is first imported: TRITON_INTERPRET=1.

`tests/kernels/test_triton.py` runs each file here in such a process; elsewhere they are not collected.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch

if TYPE_CHECKING:
    from pcsr_fast.kernels.triton.launch import Plan

INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
collect_ignore_glob = [] if INTERPRETED else ["test_*.py"]


@pytest.fixture(autouse=True)
def poisoned_memory() -> Iterator[None]:
    """One seed; memory of torch.empty holds NaN and the largest integer."""
    torch.manual_seed(0)
    torch.use_deterministic_algorithms(True)
    torch.utils.deterministic.fill_uninitialized_memory = True
    yield
    torch.use_deterministic_algorithms(False)


@pytest.fixture(autouse=True)
def on_triton(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ops take the kernels and nothing else."""
    monkeypatch.setenv("PCSR_FAST_BACKEND", "triton")


def _reduced(ops: Any, values: tuple[Any, ...]) -> list[Any]:
    """What the interpreter does, slice by slice instead of element by element."""
    count = values[0].handle.data.shape[ops.axis]
    slices = [
        [ops.to_tensor(np.take(value.handle.data, place, ops.axis), value.dtype) for value in values]
        for place in range(count)
    ]
    return [functools.reduce(ops.combine_fn.fn, [piece for (piece,) in slices])]


@pytest.fixture(autouse=True)
def fast_reductions(monkeypatch: pytest.MonkeyPatch) -> None:
    """Our own functions of two numbers in tl.reduce take seconds a tile otherwise."""
    monkeypatch.setattr("triton.runtime.interpreter.ReduceOps.generic_reduce", _reduced)


@pytest.fixture
def use_plan(monkeypatch: pytest.MonkeyPatch) -> Callable[[Plan], None]:
    """Makes every op take this plan."""
    return lambda plan: monkeypatch.setattr("pcsr_fast.kernels.triton.launch_table.INTERPRETED", plan)
