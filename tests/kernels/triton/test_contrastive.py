"""Contrastive losses of every kind and their gradients against float64: schedules, sizes, certainty, memory."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from pcsr_fast import ops
from pcsr_fast.kernels.triton import launch
from pcsr_fast.kernels.triton.launch import Plan
from pcsr_fast.ops.triton.arguments import DTYPES
from pcsr_fast.reference.contrastive_terms import KINDS
from tests.kernels.triton.plans import CHUNKED, FUSED, SCHEDULES
from tests.ops.contrasts import Contrasts, check_against_float64, make_contrasts
from tests.ops.tools import inside, make_pairs
from tests.tools.triton_sanitizer import sanitized

SMALL = FUSED._replace(block_m=32, block_n=32)


CASES = [
    pytest.param(kind, dtype, marks=() if kind in ("rce", "tal") and dtype == torch.bfloat16 else pytest.mark.kernels)
    for kind in KINDS
    for dtype in DTYPES
]


@pytest.mark.parametrize(("kind", "dtype"), CASES)
def test_values_and_gradients_follow_float64(use_plan: Callable[[Plan], None], kind, dtype) -> None:
    for plan in SCHEDULES.values() if dtype == torch.float32 else (CHUNKED,):
        use_plan(plan)
        problem = make_contrasts(7, 70, 40, dtype, kind)
        assert problem.backends() == ["triton"]
        check_against_float64(problem)


@pytest.mark.kernels
@pytest.mark.parametrize("size", [1, 2, 127])
def test_sizes_that_straddle_tiles(use_plan: Callable[[Plan], None], size: int) -> None:
    use_plan(CHUNKED)
    for kind in ("infonce", "ccl_gce", "tal"):
        check_against_float64(make_contrasts(size, size, 33, torch.float32, kind))


@pytest.mark.parametrize("kind", KINDS)
def test_certain_mistakes(kind: str) -> None:
    """One caption that scores far above every other, for all images: softmax weights of 1 and of 0."""
    x, y = torch.ones(65, 4), torch.zeros(65, 4)
    y[40], y[41] = 10.0, 9.75
    check_against_float64(Contrasts(x, y, kind, None))


@pytest.mark.parametrize("kind", KINDS)
def test_duplicates_share_the_largest_score(kind: str) -> None:
    made = make_pairs(1, 40, 6, torch.float32, "duplicates", "none")
    check_against_float64(Contrasts(made.x, made.y, kind, None))


@pytest.mark.parametrize("kind", KINDS)
def test_one_group_has_no_loss(kind: str) -> None:
    x, y = (torch.randn(5, 3, requires_grad=True) for _ in range(2))
    losses = ops.contrastive_loss(x, y, kind=kind, groups=torch.zeros(5, dtype=torch.int32), reduction="none")
    torch.testing.assert_close(losses, torch.zeros(5))
    for gradient in torch.autograd.grad(losses.sum(), (x, y)):
        torch.testing.assert_close(gradient, torch.zeros(5, 3))


@pytest.mark.parametrize("kind", KINDS)
def test_nan_reaches_the_loss(kind: str) -> None:
    x, y = torch.randn(9, 5), torch.randn(9, 5)
    y[4, 2] = torch.nan
    assert ops.contrastive_loss(x, y, kind=kind, reduction="none").isnan().all()


@pytest.mark.kernels
@pytest.mark.parametrize("kind", ["infonce", "ccl_log", "tal"])
def test_parts_repeat_to_the_bit_and_differ_by_rounding(
    use_plan: Callable[[Plan], None], monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    problem, losses = make_contrasts(3, 100, 9, torch.float32, kind), []
    for plan, count in ((FUSED, 1), (SMALL, 12), (SMALL, 12)):
        use_plan(plan)
        monkeypatch.setattr(launch, "multiprocessors", lambda device, count=count: count)
        losses.append(problem.losses("triton"))
    assert torch.equal(losses[1], losses[2])
    torch.testing.assert_close(losses[1], losses[0], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("kind", ["rce", "ccl_tan", "tal"])
@pytest.mark.parametrize("plan", SCHEDULES.values(), ids=SCHEDULES)
def test_memory_is_respected(use_plan: Callable[[Plan], None], plan: Plan, kind: str) -> None:
    use_plan(plan)
    problem = make_contrasts(5, 70, 33, torch.float32, kind)
    inputs = [inside(side).requires_grad_() for side in (problem.x, problem.y)]
    with sanitized() as faults:
        losses = ops.contrastive_loss(*inputs, kind=kind, groups=problem.groups)
        torch.autograd.grad(losses, inputs)
    assert not faults
