"""Hardest negatives at chosen points: value, edges, determinism, torch.library; random ones are beside this."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from pcsr_fast.ops import hardest_negatives
from tests.ops.tools import (
    DTYPES,
    ODD_SIZES,
    STEADY,
    arguments,
    assert_same_bits,
    guarded_memory,
    make_pairs,
    runnable,
    threads,
)

BACKENDS = runnable("hardest_negatives", torch.zeros(2, 2), torch.zeros(2, 2), groups=None)
SCREENING = runnable("hardest_negatives", torch.zeros(2, 2), torch.zeros(2, 2), groups=None, precision="screened")


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(("size", "width"), [(127, 33), (40, 1537), (2, 4000)])
def test_the_chosen_score_is_the_largest_in_float64(dtype, backend, size, width):
    made = make_pairs(1, size, width, dtype)
    found = hardest_negatives(made.x, made.y, backend=backend)
    assert found.row_values.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
    scores = (made.x.double() @ made.y.double().T).fill_diagonal_(-torch.inf)
    chosen = scores.gather(1, found.row_indices[:, None])[:, 0]
    torch.testing.assert_close(chosen, scores.amax(1), rtol=1e-6, atol=1e-5)
    torch.testing.assert_close(found.row_values.double(), scores.amax(1), rtol=1e-6, atol=1e-5)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("size", ODD_SIZES)
def test_equal_rows_choose_the_lowest_index(backend, size):
    """All scores are equal, so that each row's negative is 0, and 1 for row 0."""
    found = hardest_negatives(torch.ones(size, 5), torch.ones(size, 5), backend=backend)
    assert found.row_indices.tolist() == found.column_indices.tolist() == [1] + [0] * (size - 1)
    assert found.row_values.tolist() == found.column_values.tolist() == [5.0] * size


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("size", [1, 16, 129])
def test_without_a_negative_nothing_is_chosen(backend, size):
    same = torch.zeros(size, dtype=torch.uint8)
    for groups in (same, (same, same), None if size == 1 else same):
        found = hardest_negatives(torch.randn(size, 3), torch.randn(size, 3), groups, backend=backend)
        assert found.row_indices.tolist() == found.column_indices.tolist() == [-1] * size
        assert found.row_values.tolist() == found.column_values.tolist() == [-torch.inf] * size


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(("rows", "columns"), [(1, 257), (257, 1), (129, 31), (3, 100)])
def test_sides_of_unlike_length(backend, rows, columns):
    """Whole numbers, so that every order of sums gives one answer: the float64 one, the first among equals."""
    x, y = make_pairs(1, rows, 6, torch.float32, "integers").x, make_pairs(2, columns, 6, torch.float32, "integers").x
    groups = torch.arange(rows) % 5, torch.arange(columns) % 5
    found = hardest_negatives(x, y, groups, backend=backend)
    truth = hardest_negatives(x.double(), y.double(), groups, backend="reference")
    for ours, expected in zip(found, truth, strict=True):
        assert torch.equal(ours.double(), expected.double())


@pytest.mark.parametrize("backend", BACKENDS)
def test_large_ids_are_told_apart(backend):
    """Ids that agree in their low 32 bits."""
    groups = torch.tensor([0, 2**32, -(2**32), 2**62])
    found = hardest_negatives(torch.eye(4), torch.ones(4, 4), groups, backend=backend)
    assert found.row_indices.tolist() == [1, 0, 0, 0]


@pytest.mark.parametrize("backend", SCREENING)
@pytest.mark.parametrize("crowd", [5, 30, 80, 200])
def test_screened_finds_the_best_of_a_crowd(backend, crowd):
    """Captions a last bit apart, of which a few images have to choose: more candidates than a screen can keep."""
    x, y = torch.randn(250, 63), torch.randn(400, 63)
    y[100 : 100 + crowd] = x[7] * (1 + 2.0**-23 * torch.randint(-3, 4, (crowd, 63)))
    y[300] = y[110] = y[100 + crowd - 1]
    groups = torch.arange(250), torch.arange(400) + 250
    exact, screened = (
        hardest_negatives(x, y, groups, backend=backend, precision=precision) for precision in ("exact", "screened")
    )
    for value, expected in zip(screened, exact, strict=True):
        assert_same_bits(value, expected)


@pytest.mark.parametrize("backend", SCREENING)
@pytest.mark.parametrize("bad", [torch.nan, torch.inf, 3e38])
def test_screened_is_exact_where_scores_overflow(backend, bad):
    """Values that no bound covers; NaN has no order, so only the choice among other rows is compared."""
    x, y = torch.randn(60, 33), torch.randn(60, 33)
    x[11, 5] = bad
    exact, screened = (hardest_negatives(x, y, backend=backend, precision=name) for name in ("exact", "screened"))
    others = torch.arange(60) != 11
    assert_same_bits(screened.row_values[others], exact.row_values[others])
    assert torch.equal(screened.row_indices[others], exact.row_indices[others])
    assert torch.equal(screened.column_indices, exact.column_indices)


@pytest.mark.parametrize("backend", BACKENDS)
def test_repeats_to_the_bit_on_any_number_of_threads(backend):
    made = make_pairs(3, 300, 64, torch.float32)
    results = []
    for count in (1, 1, 3) if backend in STEADY else (1, 1, 1):
        with threads(count):
            results.append(hardest_negatives(made.x, made.y, backend=backend))
    for other in results[1:]:
        for value, expected in zip(other, results[0], strict=True):
            assert_same_bits(value, expected)


@pytest.mark.parametrize("backend", BACKENDS)
def test_writes_stay_inside_its_own_memory(backend):
    made = make_pairs(3, 100, 33, torch.float32, grouping="pairs")
    with guarded_memory() as blocks:
        found = hardest_negatives(made.x, made.y, made.groups, backend=backend)
    assert blocks or backend == "reference"
    for value, expected in zip(found, hardest_negatives(made.x, made.y, made.groups, backend=backend), strict=True):
        assert_same_bits(value, expected)


def test_searches_carry_no_gradient():
    x = torch.randn(4, 3, requires_grad=True)
    assert not hardest_negatives(x, x).row_values.requires_grad


@pytest.mark.parametrize("backend", BACKENDS)
def test_opcheck(backend):
    inputs = {"x": torch.randn(5, 3), "y": torch.randn(7, 3), "groups_x": torch.arange(5), "groups_y": torch.arange(7)}
    op = torch.ops.pcsr_fast.hardest_negatives.default
    torch.library.opcheck(op, arguments(op, **inputs, backend=backend))


@pytest.mark.parametrize("backend", BACKENDS)
def test_compiles_without_a_break(backend):
    def search(x: Tensor, y: Tensor) -> tuple[Tensor, ...]:
        return tuple(hardest_negatives(x, y, backend=backend))

    x, y = torch.randn(7, 3), torch.randn(7, 3)
    compiled = torch.compile(search, fullgraph=True, backend="aot_eager")
    for ours, truth in zip(compiled(x, y), search(x, y), strict=True):
        assert torch.equal(ours, truth)
