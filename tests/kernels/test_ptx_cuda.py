"""The PTX that nvcc makes of the CUDA kernels for sm_80, run by the interpreter: right, in bounds, without hazards."""

from __future__ import annotations

import pytest
import torch

from pcsr_fast.ops import fit_mixture, pair_losses, triplet_loss
from pcsr_fast.ops.cuda.search import hardest_gradient, search
from pcsr_fast.reference.ranks import TIES
from tests.kernels.cuda.problems import ARITHMETICS, DTYPES, make_sides, make_triplets, score_bound
from tests.kernels.cuda.test_mixture import assert_same_fit, losses
from tests.kernels.cuda.test_ranks import gallery
from tests.kernels.ptx.cuda_module import interpreting
from tests.kernels.ptx.machine import Machine
from tests.kernels.ptx.problems import long_rows
from tests.ops.searches import Sides, check_choices, check_ranks
from tests.ops.tools import BACKWARD, FORWARD, assert_same_bits
from tests.ops.triplets import check_against_float64
from tests.tools.ptx.compile import find_nvcc

pytestmark = pytest.mark.skipif(find_nvcc() is None, reason="nvcc is not installed: there is no PTX")
CPU = torch.device("cpu")
ORDERS = ("forward", "reversed", 7)
kernels = pytest.mark.kernels


def check_search(problem: Sides, precision: str, order: str | int = "together", most: int = 2) -> list[torch.Tensor]:
    machine = Machine(order)
    with interpreting(machine, most):
        found = problem.search("cuda", precision=precision)
    machine.check()
    check_choices(problem, found, score_bound(problem))
    return list(found)


def test_search() -> None:
    """Two tiles of one block, ragged in all three sizes."""
    check_search(make_sides(CPU, 130, 70, 70, torch.bfloat16), "auto", most=1)


@kernels
@pytest.mark.parametrize(("dtype", "precision"), ARITHMETICS)
@pytest.mark.parametrize(("rows", "columns", "width"), [(1, 1, 1), (130, 257, 33), (63, 127, 140)])
def test_search_of_every_arithmetic(rows, columns, width, dtype, precision) -> None:
    check_search(make_sides(CPU, rows, columns, width, dtype), precision, most=3)


@kernels
@pytest.mark.parametrize(("dtype", "precision"), ARITHMETICS)
def test_search_around_the_pipeline(dtype, precision) -> None:
    """Aligned rows of five stages with memory between them: copies of part of 16 bytes."""
    ids = torch.arange(130) // 2, torch.arange(70) // 2
    check_search(Sides(long_rows(130, dtype), long_rows(70, dtype, 1), ids, False), precision, most=1)


@kernels
@pytest.mark.parametrize(("dtype", "precision"), ARITHMETICS)
def test_search_in_every_order_of_warps(dtype, precision) -> None:
    problem = make_sides(CPU, 130, 40, 70, dtype)
    first = check_search(problem, precision)
    for order in ORDERS:
        for ours, theirs in zip(check_search(problem, precision, order), first, strict=True):
            assert_same_bits(ours, theirs)


@kernels
@pytest.mark.parametrize("shift", ["row", "col", "matrix"])
def test_search_with_margins(shift) -> None:
    x, y = (make_sides(CPU, 40, 40, 33, torch.float32, seed=seed).x for seed in (0, 1))
    margin = torch.rand((40, 40) if shift == "matrix" else (40,), generator=torch.Generator().manual_seed(0))
    machine = Machine()
    with interpreting(machine):
        found, own = search(x, y, None, "exact", margin, shift)
    machine.check()
    scores = x.double() @ y.double().T
    torch.testing.assert_close(own.double(), scores.diagonal(), rtol=1e-5, atol=1e-5)
    moved = scores + (margin[:, None] if shift == "row" else margin)
    expected = moved.masked_fill(torch.eye(40, dtype=torch.bool), -torch.inf)
    torch.testing.assert_close(found.row_values.double(), expected.amax(1), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(found.column_values.double(), expected.amax(0), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    "dtype", [torch.bfloat16, pytest.param(torch.float32, marks=kernels), pytest.param(torch.float16, marks=kernels)]
)
def test_gradient_of_the_search(dtype) -> None:
    """A hub that most chose, weights of zero."""
    count, generator = 20, torch.Generator().manual_seed(0)
    x, y = (torch.randn(count, 140, generator=generator).to(dtype) for _ in range(2))
    row, column = (torch.rand(count, generator=generator) for _ in range(2))
    row[::3] = column[1::4] = 0.0
    hub, spread = torch.full((count,), 7), torch.randint(0, count, (count,), generator=generator)
    machine = Machine(7)
    with interpreting(machine):
        dx, dy = hardest_gradient(row, column, x, y, hub, spread)
    machine.check()
    x, y, row, column = x.double(), y.double(), row.double()[:, None], column.double()[:, None]
    true_dx = (row * (y[7] - y) - column * y).index_add(0, spread, column * y)
    true_dy = column * (x[spread] - x) - row * x
    true_dy[7] += (row * x).sum(0)
    for ours, truth in ((dx, true_dx), (dy, true_dy)):
        torch.testing.assert_close(ours.double(), truth, rtol=BACKWARD[dtype], atol=10 * BACKWARD[dtype])


@kernels
@pytest.mark.parametrize("mode", ["scalar", "anchor", "row", "col", "matrix"])
@pytest.mark.parametrize("dtype", DTYPES)
def test_sums_of_hinges(dtype, mode) -> None:
    machine = Machine()
    with interpreting(machine, most=3):
        check_against_float64(make_triplets(CPU, 130 if mode == "anchor" else 40, 33, dtype, mode, "sum"))
    machine.check()


@kernels
@pytest.mark.parametrize("negatives", ["hardest", "mean"])
def test_orders_of_warps_change_no_bit_of_a_loss(negatives) -> None:
    problem, results = make_triplets(CPU, 40, 33, torch.bfloat16, "row", negatives), []
    for order in ("together", *ORDERS):
        machine = Machine(order)
        with interpreting(machine):
            results.append(triplet_loss(problem.x, problem.y, **problem.options, reduction="none", backend="cuda"))
        machine.check()
    for other in results[1:]:
        assert_same_bits(other, results[0])


@kernels
def test_losses_of_pairs() -> None:
    x, y = make_sides(CPU, 70, 70, 33, torch.float32)[:2]
    machine = Machine()
    with interpreting(machine):
        ours = pair_losses(x, y, batch_size=40, backend="cuda")
    machine.check()
    truth = pair_losses(x.double(), y.double(), batch_size=40, backend="reference")
    torch.testing.assert_close(ours.losses.double(), truth.losses, rtol=FORWARD[torch.float32], atol=1e-4)


@kernels
@pytest.mark.parametrize("ties", TIES)
@pytest.mark.parametrize(("dtype", "precision"), ARITHMETICS)
def test_ranks(dtype, precision, ties) -> None:
    for kind, texts in (("unit", 130), ("integers", 40)):
        problem, machine = gallery(CPU, 63, texts, 33, dtype, kind, ties), Machine()
        with interpreting(machine):
            check_ranks(problem, problem.ranks("cuda", precision=precision))
        machine.check()


@pytest.mark.parametrize("kind", ["gaussian", pytest.param("beta", marks=kernels)])
@pytest.mark.parametrize("dtype", [torch.float32, pytest.param(torch.float64, marks=kernels)])
def test_mixtures(dtype, kind) -> None:
    """More values than threads; so many parts that the last is ragged."""
    values, machine = losses(CPU, 300 if kind == "gaussian" else 200, dtype), Machine("reversed")
    theirs = fit_mixture(values, kind, max_iter=3, backend="reference")
    with interpreting(machine):
        assert_same_fit(fit_mixture(values, kind, max_iter=3, backend="cuda"), theirs)
    machine.check()


@kernels
def test_mixture_of_several_parts() -> None:
    values, machine = losses(CPU, 9001), Machine()
    theirs = fit_mixture(values, max_iter=2, backend="reference")
    with interpreting(machine):
        assert_same_fit(fit_mixture(values, max_iter=2, backend="cuda"), theirs)
    machine.check()
