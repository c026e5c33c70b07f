"""Retrieval ranks: within the band of rounding of float64, exact where scores are; ties, NaN, memory."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from pcsr_fast.kernels.triton.launch import Plan
from pcsr_fast.ops.triton.arguments import DTYPES
from pcsr_fast.reference.ranks import TIES
from tests.kernels.triton.plans import CHUNKED, FUSED, SCHEDULES, THREE_PASSES, WIDE
from tests.ops.searches import Gallery, assert_equal_ranks, check_ranks, make_gallery
from tests.ops.tools import inside
from tests.tools.triton_sanitizer import sanitized

# Images, captions, width: one, below, at and beyond the edges of tiles and chunks, several tiles a program.
SHAPES = ((1, 1, 1), (2, 63, 33), (63, 2, 70), pytest.param((100, 257, 33), marks=pytest.mark.kernels), (130, 127, 64))


@pytest.mark.parametrize("plan", SCHEDULES.values(), ids=SCHEDULES)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_ranks_follow_float64(use_plan: Callable[[Plan], None], shape, plan) -> None:
    use_plan(plan)
    for dtype in DTYPES if shape[0] < 100 else DTYPES[:1]:
        for kind, ties in (("unit", "pessimistic"), *(("integers", ties) for ties in TIES)):
            problem = make_gallery(*shape, dtype, kind, ties)
            assert problem.backends() == ["triton"]
            check_ranks(problem, problem.ranks("triton"))


@pytest.mark.parametrize("plan", [WIDE, THREE_PASSES], ids=["wide", "tf32x3"])
def test_other_tiles_and_precisions(use_plan: Callable[[Plan], None], plan: Plan) -> None:
    use_plan(plan)
    problem = make_gallery(100, 150, 40, torch.float32, "unit", "stable")
    check_ranks(problem, problem.ranks("triton"))


@pytest.mark.parametrize("plan", SCHEDULES.values(), ids=SCHEDULES)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_equal_embeddings_are_equal_scores(use_plan: Callable[[Plan], None], plan: Plan, dtype) -> None:
    """A model that scores everything alike: last, first, or by index."""
    use_plan(plan)
    x, y = (torch.randn(1, 37).to(dtype).expand(100, 37) for _ in range(2))
    places = torch.arange(100)
    for ties, expected in (("pessimistic", [99] * 100), ("optimistic", [0] * 100), ("stable", places.tolist())):
        ranks = Gallery(x, y, places, ties, False).ranks("triton")
        assert ranks.i2t.tolist() == ranks.t2i.tolist() == expected


@pytest.mark.parametrize("plan", SCHEDULES.values(), ids=SCHEDULES)
@pytest.mark.parametrize("ties", TIES)
def test_nan_and_infinite_scores(use_plan: Callable[[Plan], None], plan: Plan, ties: str) -> None:
    use_plan(plan)
    problem = make_gallery(63, 100, 16, torch.float32, "integers", ties)
    problem.x[:, 0], problem.y[:, 0] = 0.0, 1.0
    problem.x[3, 1], problem.y[5, 1], problem.x[7, 0], problem.x[60, 0] = torch.nan, torch.nan, torch.inf, -torch.inf
    assert_equal_ranks(problem.ranks("triton"), problem.ranks("reference"))


@pytest.mark.parametrize("plan", SCHEDULES.values(), ids=SCHEDULES)
def test_memory_is_respected(use_plan: Callable[[Plan], None], plan: Plan) -> None:
    use_plan(plan)
    problem = make_gallery(70, 130, 33, torch.float32, "unit", "stable")
    guarded = problem._replace(x=inside(problem.x), y=inside(problem.y))
    with sanitized() as faults:
        ranks = guarded.ranks("triton")
    assert not faults
    assert_equal_ranks(ranks, problem.ranks("triton"))


def test_schedules_agree_where_scores_are_exact(use_plan: Callable[[Plan], None]) -> None:
    problem, found = make_gallery(127, 63, 20, torch.float16, "integers", "stable"), []
    for plan in (FUSED, CHUNKED):
        use_plan(plan)
        found.append(problem.ranks("triton"))
    assert_equal_ranks(*found)
