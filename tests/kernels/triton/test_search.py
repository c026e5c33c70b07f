"""Hardest negatives: chosen scores against float64, ties, NaN, strides, groups, determinism, memory."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from pcsr_fast.kernels.triton import launch, search
from pcsr_fast.kernels.triton.launch import Plan, Sides
from pcsr_fast.ops import hardest_negatives
from pcsr_fast.ops.triton.arguments import DTYPES
from tests.kernels.triton.plans import CHUNKED, FUSED, SCHEDULES, SEARCHES, TALL, THREE_PASSES, WIDE
from tests.ops.searches import Sides as Problem
from tests.ops.searches import check_choices
from tests.ops.tools import LAYOUTS, dot_bound, group_ids, rows_of
from tests.tools.triton_sanitizer import sanitized

# Rows, columns, width: one, below, at and beyond the edges of tiles, and several tiles a program.
SHAPES = ((1, 1, 1), (2, 1, 33), (63, 100, 70), (127, 64, 1), (130, 257, 33), (1, 130, 128))


def make(shape: tuple[int, int, int], dtype: torch.dtype, kind: str = "unit", grouping: str = "some") -> Problem:
    rows, columns, width = shape
    generator = torch.Generator().manual_seed(rows)
    x, y = (rows_of(kind, count, width, generator).to(dtype) for count in (rows, columns))
    ids = tuple(group_ids(grouping, count, generator) for count in (rows, columns))
    return Problem(x, y, (ids[0].long(), ids[1].long()), kind == "integers")


@pytest.mark.parametrize("plan", SCHEDULES.values(), ids=SCHEDULES)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_the_chosen_scores_are_the_largest(use_plan: Callable[[Plan], None], shape, plan) -> None:
    use_plan(plan)
    for dtype in DTYPES if shape[0] < 130 else DTYPES[:1]:
        problem = make(shape, dtype)
        check_choices(problem, problem.search("triton"), dot_bound(problem.x.float(), problem.y.float()))


@pytest.mark.parametrize("plan", [WIDE, TALL, THREE_PASSES], ids=["wide", "tall", "tf32x3"])
def test_other_tiles_and_precisions(use_plan: Callable[[Plan], None], plan: Plan) -> None:
    use_plan(plan)
    problem = make((270, 150, 40), torch.float32)
    check_choices(problem, problem.search("triton"), dot_bound(problem.x, problem.y))


@pytest.mark.parametrize("plan", SEARCHES.values(), ids=SEARCHES)
@pytest.mark.parametrize("kind", ["integers", "zeros"])
def test_ties_go_to_the_lowest_index(use_plan: Callable[[Plan], None], plan, kind) -> None:
    """Whole numbers tie often; so do the positive and negative zeros of a product with nothing."""
    use_plan(plan)
    problem = make((270, 130, 3), torch.float32, kind)
    if kind == "zeros":
        sign = torch.where(torch.arange(130) % 2 == 0, 1.0, -1.0)
        problem = problem._replace(x=torch.ones(270, 1), y=0.0 * sign[:, None], exact=True)
    check_choices(problem, problem.search("triton"), dot_bound(problem.x, problem.y))


@pytest.mark.parametrize("plan", SCHEDULES.values(), ids=SCHEDULES)
@pytest.mark.parametrize("grouping", ["none", "one", "pairs"])
def test_groups_are_no_negatives(use_plan: Callable[[Plan], None], plan, grouping) -> None:
    use_plan(plan)
    x, y = torch.randn(70, 5), torch.randn(70, 5)
    groups = group_ids(grouping, 70, torch.Generator().manual_seed(0))
    found = hardest_negatives(x, y, groups)
    expected = hardest_negatives(x.double(), y.double(), groups, backend="reference")
    for ours, truth in zip(found, expected, strict=True):
        torch.testing.assert_close(ours.double(), truth.double(), rtol=1e-5, atol=1e-6)
    if grouping == "one":
        assert (found.row_indices == -1).all()
        assert (found.column_values == -torch.inf).all()


@pytest.mark.parametrize("plan", SEARCHES.values(), ids=SEARCHES)
def test_nan_wins_and_infinities_are_ordered(use_plan: Callable[[Plan], None], plan) -> None:
    use_plan(plan)
    x, y = torch.ones(266, 1), torch.linspace(-1, 1, 266)[:, None].clone()
    y[3], y[7], y[64], y[200] = torch.inf, -torch.inf, torch.nan, torch.nan
    x[250] = torch.nan
    found = hardest_negatives(x, y)
    assert found.row_indices.tolist() == [64] * 64 + [200] + [64] * 185 + [0] + [64] * 15
    assert found.row_values.isnan().all()
    assert found.column_values.isfinite().nonzero().tolist() == [[250]]
    assert found.column_indices.tolist() == [250] * 64 + [0] + [250] * 135 + [0] + [250] * 49 + [0] + [250] * 15
    x[250], y[200] = 1, 0
    found = hardest_negatives(x, y)
    assert found.row_indices[64] == 3
    assert found.row_values[64] == torch.inf
    assert found.column_values[64].isnan()
    assert found.column_indices[64] == 0
    assert found.column_indices[7] == -1


@pytest.mark.parametrize("layout", LAYOUTS)
def test_strided_inputs_are_the_contiguous_ones(layout: Callable[[Tensor], Tensor]) -> None:
    problem = make((63, 40, 33), torch.float16)
    expected = problem.search("triton")
    laid = problem._replace(x=layout(problem.x), y=layout(problem.y)).search("triton")
    assert all(torch.equal(ours, other) for ours, other in zip(laid, expected, strict=True))


def test_one_row_seen_many_times() -> None:
    x = torch.ones(1, 40).expand(70, 40)
    assert hardest_negatives(x, x).row_indices.tolist() == [1] + [0] * 69


@pytest.mark.parametrize("plan", [FUSED, WIDE], ids=["square", "wide"])
def test_own_scores_are_the_tiles_to_the_bit(plan: Plan) -> None:
    x = torch.randn(130, 70)
    sides = Sides(x, x, torch.arange(130), torch.arange(130) + 1000)
    own, ((values, indices), _) = search.own_scores(sides, plan), search.hardest(sides, plan)
    assert torch.equal(indices, torch.arange(130))
    assert torch.equal(own, values)


def test_neither_programs_nor_their_order_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    problem = make((100, 150, 5), torch.float32, "duplicates")
    sides, results = Sides(problem.x, problem.y, *problem.groups), []
    for count, group in ((1, 1), (3, 2), (7, 5), (1000, 1)):
        monkeypatch.setattr(launch, "multiprocessors", lambda device, count=count: count)
        results.append(
            torch.stack([torch.stack(side) for side in search.hardest(sides, FUSED._replace(group=group))[:1]])
        )
    assert all(torch.equal(result, results[0]) for result in results)


@pytest.mark.parametrize("plan", [FUSED, CHUNKED], ids=["fused", "chunked"])
@pytest.mark.parametrize("shift", ["none", "row", "col", "matrix"])
def test_margins_are_added_before_the_search(plan: Plan, shift: str) -> None:
    x, y = torch.randn(70, 9), torch.randn(100, 9)
    ids = (torch.arange(70) // 3, torch.arange(100) // 3)
    margin = {"none": None, "row": torch.rand(70), "col": torch.rand(100), "matrix": torch.rand(70, 100)}[shift]
    added = {"none": 0.0, "row": margin[:, None] if shift == "row" else 0, "col": margin, "matrix": margin}[shift]
    truth = (x.double() @ y.double().T + added).masked_fill(ids[0][:, None] == ids[1], -torch.inf)
    own = torch.empty(70)
    rows, columns = search.hardest(Sides(x, y, *ids), plan, margin, shift, own)
    torch.testing.assert_close(rows[0], truth.amax(1).float())
    torch.testing.assert_close(columns[0], truth.amax(0).float())
    torch.testing.assert_close(own, (x * y[:70]).sum(1))
    found = search.hardest(Sides((x @ y.T).T.contiguous().T, None, *ids), plan, margin, shift)
    torch.testing.assert_close(found[0][0], truth.amax(1).float())
    torch.testing.assert_close(found[1][0], truth.amax(0).float())


@pytest.mark.parametrize("plan", SCHEDULES.values(), ids=SCHEDULES)
@pytest.mark.parametrize("shift", ["none", "matrix"])
def test_memory_is_respected(plan: Plan, shift: str) -> None:
    margin = torch.rand(65, 80)[:, :70] if shift == "matrix" else None
    x, y = torch.randn(65, 40)[:, :33], torch.randn(70, 33)
    sides = Sides(x, y, torch.arange(65), torch.arange(70))
    with sanitized() as faults:
        search.hardest(sides, plan, margin, shift, torch.empty(65))
    assert not faults
