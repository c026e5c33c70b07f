"""K1, the search: every arithmetic against float64, in every order of threads, on awkward inputs (KERNELS 4)."""

from __future__ import annotations

import pytest
import torch

from pcsr_fast.ops import hardest_negatives
from pcsr_fast.ops.cuda.search import search
from tests.kernels.cuda.problems import ARITHMETICS, DTYPES, ORDERS, SIZES, WIDTHS, make_sides, score_bound
from tests.ops.searches import Sides, check_choices
from tests.ops.tools import LAYOUTS, assert_same_bits, guarded_memory, reversed_ids


@pytest.mark.parametrize(("dtype", "precision"), ARITHMETICS)
@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize(("rows", "columns"), list(zip(SIZES, (*SIZES[1:], 1), strict=True)))
def test_value_and_choice(device, rows, columns, width, dtype, precision):
    problem = make_sides(device, rows, columns, width, dtype)
    check_choices(problem, problem.search("cuda", precision=precision), score_bound(problem))


@pytest.mark.parametrize(("dtype", "precision"), ARITHMETICS)
@pytest.mark.parametrize("kind", ["integers", "duplicates", "scaled", "zeros"])
def test_ties_take_the_lowest_index(device, kind, dtype, precision):
    problem = make_sides(device, 130, 63, 9, dtype, kind)
    check_choices(problem, problem.search("cuda", precision=precision), score_bound(problem))


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_layout_changes_no_bit(device, layout, dtype):
    problem = make_sides(device, 63, 130, 40, dtype)
    other = Sides(layout(problem.x), layout(problem.y), tuple(map(reversed_ids, problem.groups)), False)
    for ours, theirs in zip(problem.search("cuda"), other.search("cuda"), strict=True):
        assert_same_bits(ours, theirs)


@pytest.mark.parametrize(("dtype", "precision"), ARITHMETICS)
def test_order_of_threads_and_blocks_changes_no_bit(emulated, dtype, precision, monkeypatch):
    problem = make_sides(torch.device("cpu"), 257, 130, 70, dtype)
    found = []
    for order in ORDERS:
        monkeypatch.setenv("PCSR_EMULATION_ORDER", order)
        found.append(problem.search("cuda", precision=precision))
    for other in found[1:]:
        for ours, theirs in zip(found[0], other, strict=True):
            assert_same_bits(ours, theirs)


@pytest.mark.parametrize("dtype", DTYPES)
def test_nothing_outside_the_outputs_is_written(emulated, dtype):
    problem = make_sides(torch.device("cpu"), 127, 129, 33, dtype)
    expected = problem.search("cuda")
    with guarded_memory() as blocks:
        guarded = problem.search("cuda")
    assert blocks
    for ours, theirs in zip(guarded, expected, strict=True):
        assert_same_bits(ours, theirs)


@pytest.mark.parametrize(("dtype", "precision"), ARITHMETICS)
def test_a_score_has_the_same_bits_wherever_it_lies(device, dtype, precision):
    problem = make_sides(device, 130, 130, 70, dtype)
    one = problem.y[3:4]
    ids = (torch.zeros(130, dtype=torch.int64), torch.ones(1, dtype=torch.int64))
    alone = search(problem.x, one, ids, precision).found.row_values
    assert_same_bits(search(problem.x, one.expand(130, -1), None, precision).own, alone)
    backwards = search(problem.x.flip(0), one, ids, precision).found.row_values
    assert_same_bits(backwards.flip(0), alone)


@pytest.mark.parametrize("dtype", DTYPES)
def test_nan_wins_its_row_and_its_column_as_in_torch(device, dtype):
    problem = make_sides(device, 63, 70, 16, dtype)
    problem.x[5, 3], problem.y[7, 0], problem.y[9, 1] = torch.nan, torch.nan, torch.nan
    ours = problem.search("cuda")
    theirs = hardest_negatives(problem.x, problem.y, problem.groups, backend="reference")
    assert torch.equal(ours.row_values.isnan(), theirs.row_values.isnan())
    assert torch.equal(ours.column_values.isnan(), theirs.column_values.isnan())
    assert torch.equal(ours.row_indices, theirs.row_indices)
    assert torch.equal(ours.column_indices, theirs.column_indices)


def test_no_negative_and_scores_of_minus_infinity(device):
    x, y = torch.eye(3), torch.eye(3)
    one = hardest_negatives(x, y, torch.zeros(3, dtype=torch.int64))
    assert one.row_indices.tolist() == one.column_indices.tolist() == [-1] * 3
    assert (one.row_values == -torch.inf).all()
    y[1] = -torch.inf
    found = hardest_negatives(torch.ones(3, 3), y, precision="exact")
    assert found.column_indices.tolist() == [1, -1, 0]


def test_rows_far_apart_in_memory(device):
    # A row stride beyond 2^31 bytes needs 64-bit addresses; only the pages that are touched exist.
    stride = (1 << 29) + 8
    storage = torch.empty(stride * 2 + 16)
    y = storage.as_strided((3, 4), (stride, 1))
    y.copy_(torch.tensor([[1.0, 0, 0, 0], [0, 2.0, 0, 0], [0, 0, 3.0, 0]]))
    found = hardest_negatives(torch.ones(3, 4), y, precision="exact")
    assert found.row_indices.tolist() == [2, 2, 1]
    assert found.row_values.tolist() == [3.0, 3.0, 2.0]
