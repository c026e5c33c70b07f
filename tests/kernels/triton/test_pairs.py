"""Per-sample losses of a whole set against float64: blocks, orders, chunks, groups."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from pcsr_fast import ops
from pcsr_fast.kernels.triton.launch import Plan
from pcsr_fast.ops.triton.arguments import DTYPES
from tests.kernels.triton.plans import SCHEDULES
from tests.ops.tools import FORWARD, make_pairs


@pytest.mark.parametrize("plan", SCHEDULES.values(), ids=SCHEDULES)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("batch_size", [None, 40])
def test_losses_follow_float64(use_plan: Callable[[Plan], None], plan: Plan, dtype, batch_size) -> None:
    use_plan(plan)
    made = make_pairs(2, 100, 33, dtype, grouping="pairs")
    order = None if batch_size is None else torch.randperm(100)
    options = {"groups": made.groups, "batch_size": batch_size, "order": order}
    found = ops.pair_losses(made.x, made.y, **options, chunk=30)
    truth = ops.pair_losses(made.x.double(), made.y.double(), **options, backend="reference")
    assert found.losses.dtype == torch.float32
    torch.testing.assert_close(found.losses.double(), truth.losses, rtol=0, atol=FORWARD[dtype])
    torch.testing.assert_close(torch.stack(found.statistics), torch.stack(truth.statistics), rtol=1e-3, atol=1e-5)
