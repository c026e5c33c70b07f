"""Triplet losses and their gradients against float64: margins, groups, both schedules, kinks, determinism, memory."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from triton.runtime.interpreter import GridExecutor

from benchmarks.prediction.predictions import TRIPLET_LAUNCHES, TRIPLET_SORTS
from pcsr_fast import ops, reference
from pcsr_fast.kernels.triton import hinge, launch
from pcsr_fast.kernels.triton.launch import Plan, Sides
from pcsr_fast.kernels.triton.sweep import Shift
from pcsr_fast.ops.triton import search, triplet
from pcsr_fast.ops.triton.arguments import DTYPES
from pcsr_fast.reference.hinge import MARGIN_MODES
from tests.kernels.triton.plans import FUSED, SCHEDULES
from tests.ops.tools import group_ids
from tests.ops.triplet_costs import extra_bytes, launches_of_torch
from tests.ops.triplets import check_against_float64, make_triplets
from tests.tools.triton_sanitizer import sanitized

SMALL = FUSED._replace(block_m=32, block_n=32)  # several tiles at few rows: the scatter is a program a row


def cases() -> list[Any]:
    """Choice of negatives, margins and dtype; few of them outside the long run."""
    every = itertools.product(("hardest", "mean"), MARGIN_MODES, DTYPES)
    few = {("mean", "col", torch.float32), ("hardest", "anchor", torch.bfloat16), ("hardest", "matrix", torch.float32)}
    return [pytest.param(*case, marks=() if case in few else pytest.mark.kernels) for case in every]


@pytest.mark.parametrize(("negatives", "mode", "dtype"), cases())
def test_values_and_gradients_follow_float64(use_plan: Callable[[Plan], None], negatives, mode, dtype) -> None:
    schedules = list(SCHEDULES.values()) if negatives == "mean" else [SMALL]
    size = 90 if negatives == "mean" else 34
    for plan in schedules if dtype == torch.float32 else schedules[-1:]:
        use_plan(plan)
        problem = make_triplets(7, size, 40, dtype, mode, negatives)
        assert problem.backends() == ["triton"]
        check_against_float64(problem)


@pytest.mark.kernels
@pytest.mark.parametrize("size", [1, 2, 127, 130])
def test_sums_where_sizes_straddle_tiles(use_plan: Callable[[Plan], None], size: int) -> None:
    for plan in SCHEDULES.values():
        use_plan(plan)
        check_against_float64(make_triplets(size, size, 33, torch.float32, "anchor", "sum"))


@pytest.mark.parametrize("negatives", ["hardest", "sum"])
def test_one_group_has_no_loss(negatives: str) -> None:
    x, y = (torch.randn(9, 5, requires_grad=True) for _ in range(2))
    losses = ops.triplet_loss(x, y, negatives=negatives, groups=torch.zeros(9, dtype=torch.uint8), reduction="none")
    assert losses.tolist() == [0.0] * 9
    assert not any(gradient.any() for gradient in torch.autograd.grad(losses.sum(), (x, y)))


@pytest.mark.parametrize("negatives", ["hardest", "mean", "sum"])
def test_nan_reaches_the_loss(negatives: str) -> None:
    x, y = torch.randn(9, 5), torch.randn(9, 5)
    y[4, 2] = torch.nan
    assert ops.triplet_loss(x, y, negatives=negatives, reduction="none").isnan().all()


def test_a_hub_collects_every_gradient() -> None:
    """All images choose caption 0, more of them than are added at once."""
    x, y = torch.rand(20, 3) + 1, torch.zeros(20, 3)
    y[0] = 4.0
    y.requires_grad_()
    ops.triplet_loss(x, y, reduction="sum").backward()
    truth = y.detach().double().requires_grad_()
    reference.triplet_loss(x.double(), truth, reduction="sum").backward()
    torch.testing.assert_close(y.grad.double(), truth.grad, rtol=1e-6, atol=1e-5)


def test_ties_at_the_hinge_do_not_flip(use_plan: Callable[[Plan], None]) -> None:
    """Own scores are those of the tiles, so a copy of a pair under margin 0 has a hinge of 0 exactly."""
    use_plan(SMALL)
    row = torch.randn(1, 37)
    x = row.expand(40, 37)
    for negatives in ("hardest", "sum"):
        losses = ops.triplet_loss(x, x, margin=0.0, negatives=negatives, reduction="none")
        assert losses.tolist() == [0.0] * 40


def sums(x: Tensor, y: Tensor, plan: Plan) -> Tensor:
    margins = hinge.Margins(torch.full((x.shape[0],), 0.2), Shift())
    return torch.stack(hinge.hinge_sums(Sides(x, y, None, None), margins, plan))


@pytest.mark.kernels
def test_parts_repeat_to_the_bit_and_differ_by_rounding(monkeypatch: pytest.MonkeyPatch) -> None:
    x, y = torch.randn(100, 7), torch.randn(100, 7)
    whole = sums(x, y, FUSED)
    monkeypatch.setattr(launch, "multiprocessors", lambda device: 12)
    cut = sums(x, y, SMALL)
    assert torch.equal(cut, sums(x, y, SMALL))
    torch.testing.assert_close(cut, whole)


@pytest.mark.parametrize("plan", SCHEDULES.values(), ids=SCHEDULES)
@pytest.mark.parametrize("negatives", ["hardest", "mean"])
def test_memory_is_respected(use_plan: Callable[[Plan], None], plan: Plan, negatives: str) -> None:
    use_plan(plan if negatives == "mean" else SMALL._replace(schedule=plan.schedule, chunk=20))
    size = 70 if negatives == "mean" else 35
    generator = torch.Generator().manual_seed(1)
    inputs = [torch.randn(size, 40)[:, :33].requires_grad_() for _ in range(2)]
    margin = torch.rand(size, size).requires_grad_()
    options = {"margin": margin, "margin_mode": "matrix", "groups": group_ids("pairs", size, generator)}
    with sanitized() as faults:
        losses = ops.triplet_loss(*inputs, negatives=negatives, reduction="sum", **options)
        torch.autograd.grad(losses, (*inputs, margin))
    assert not faults


def test_launches_are_those_that_the_prediction_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    kernels: list[str] = []
    monkeypatch.setattr(GridExecutor, "__call__", lambda self, *_, **__: kernels.append(self.fn.__name__))
    torches = launches_of_torch(triplet.triplet, search.hardest_gradient, "triton")
    assert len(kernels) % 2 == 0  # twice, around and inside
    assert torches - TRIPLET_SORTS[0] + len(kernels) // 2 == TRIPLET_LAUNCHES["triton"]


def test_a_step_needs_little_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(GridExecutor, "__call__", lambda *_, **__: None)
    assert 2e6 < extra_bytes("triton") < 4e6
