"""The PTX that Triton makes of its kernels for sm_80, run by the interpreter: right, in bounds, without hazards."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from pcsr_fast.kernels.triton.launch import Plan
from pcsr_fast.kernels.triton.launch_table import TABLE
from pcsr_fast.kernels.triton.mixture_float32 import float32_sums_kernel
from pcsr_fast.kernels.triton.scatter import hardest_gradients
from pcsr_fast.ops import Mixture, fit_mixture
from pcsr_fast.reference.contrastive_terms import KINDS
from pcsr_fast.reference.gaussian import log_gaussian_density
from tests.kernels.cuda.problems import make_sides, make_triplets, score_bound
from tests.kernels.ptx.machine import Machine
from tests.kernels.ptx.problems import CHUNKED, SMALL, TALL, THREE_PASSES
from tests.kernels.ptx.triton_device import interpreting
from tests.ops.contrasts import check_against_float64 as check_contrasts
from tests.ops.contrasts import make_contrasts
from tests.ops.mixtures import drawn
from tests.ops.searches import check_choices
from tests.ops.tools import BACKWARD, assert_same_bits
from tests.ops.triplets import check_against_float64 as check_triplets

CPU = torch.device("cpu")
DTYPES = (torch.float32, torch.bfloat16, torch.float16)
ORDERS = ("forward", "reversed", 7)
FITS = (("gaussian", torch.float64), ("beta", torch.float32), ("beta", torch.float64))
kernels = pytest.mark.kernels


def checked(check: Callable[[], object], plan: Plan, order: str | int = "together") -> Machine:
    machine = Machine(order)
    with interpreting(machine, plan):
        check()
    machine.check()
    return machine


def check_search(
    rows: int, columns: int, width: int, dtype: torch.dtype, kind: str = "unit"
) -> tuple[torch.Tensor, ...]:
    problem = make_sides(CPU, rows, columns, width, dtype, kind)
    found = problem.search("triton")
    check_choices(problem, found, score_bound(problem))
    return found


@pytest.mark.parametrize(("width", "copied"), [(70, False), (80, True)])
def test_search(width, copied) -> None:
    """Several tiles a program, ragged; rows of a multiple of 16 numbers are copied asynchronously."""
    machine = checked(lambda: check_search(70, 40, width, torch.bfloat16), SMALL)
    assert machine.reports[0].executed("mma.sync") > 0
    assert (machine.reports[0].executed("cp.async") > 0) == copied


@kernels
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("plan", [SMALL, THREE_PASSES, CHUNKED], ids=["fused", "tf32x3", "chunked"])
def test_search_of_every_schedule(plan, dtype) -> None:
    for shape in ((1, 1, 1), (70, 40, 80), (33, 65, 33)):
        checked(lambda shape=shape: check_search(*shape, dtype), plan)


@kernels
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_search_in_tall_tiles(dtype) -> None:
    """Whole numbers tie often, also between the rows of a column that one thread holds."""
    for shape, kind in (((270, 40, 48), "unit"), ((270, 70, 3), "integers")):
        checked(lambda shape=shape, kind=kind: check_search(*shape, dtype, kind), TALL)


@kernels
@pytest.mark.parametrize(("name", "dtype"), [("float32", DTYPES[0]), ("tf32x3", DTYPES[0]), ("bfloat16", DTYPES[1])])
def test_search_as_the_table_launches_it(name, dtype) -> None:
    checked(lambda: check_search(70, 140, 80, dtype), TABLE[80, "search"][name])


@kernels
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_search_in_every_order_of_warps(dtype) -> None:
    found: list[tuple[torch.Tensor, ...]] = []
    for order in ("together", *ORDERS):
        checked(lambda: found.append(check_search(40, 70, 48, dtype)), SMALL, order)
    for other in found[1:]:
        for ours, theirs in zip(other, found[0], strict=True):
            assert_same_bits(ours, theirs)


@kernels
@pytest.mark.parametrize("mode", ["scalar", "row", "col", "matrix"])
@pytest.mark.parametrize("negatives", ["hardest", "sum"])
def test_triplets(negatives, mode) -> None:
    """Searches and sums with margins of every shape, slopes and the scatter."""
    for plan in (SMALL, CHUNKED):
        checked(lambda: check_triplets(make_triplets(CPU, 40, 33, torch.float32, mode, negatives)), plan)


@kernels
@pytest.mark.parametrize("dtype", DTYPES[1:], ids=str)
@pytest.mark.parametrize("negatives", ["hardest", "mean"])
def test_triplets_of_halves(dtype, negatives) -> None:
    for order in ("together", 7):
        checked(lambda: check_triplets(make_triplets(CPU, 40, 48, dtype, "anchor", negatives)), SMALL, order)


@pytest.mark.parametrize("count", [300, pytest.param(4700, marks=kernels)])
def test_float32_sums_of_a_mixture(count) -> None:
    """One part: values left over, and a whole batch before them."""
    values, state = drawn(1, count, dtype=torch.float32), torch.zeros(17, dtype=torch.float64)
    state[:6] = torch.tensor([0.3, 0.6, 0.02, 0.01, 0.4, 0.6])
    means, variances, weights = state[:6].view(3, 2)
    sums = torch.full((7, 1), torch.nan, dtype=torch.float64)
    launch = values, state, sums, count, 8192, 1
    checked(lambda: float32_sums_kernel[(1,)](*launch, ROWS=128, num_warps=4), SMALL)
    joint = weights.log()[:, None] + log_gaussian_density(values.double(), means, variances)
    r, away = torch.softmax(joint, 0), values.double() - means[:, None]
    truth = [(r * away**power).sum(1) for power in range(3)]
    expected = torch.cat([*truth, joint.logsumexp(0).sum()[None]])
    torch.testing.assert_close(sums[:, 0], expected, rtol=1e-6, atol=1e-7 * count)


@pytest.mark.parametrize(
    ("kind", "dtype"), [("gaussian", DTYPES[0]), *(pytest.param(*one, marks=kernels) for one in FITS)]
)
def test_fits_of_mixtures(kind, dtype) -> None:
    """The start, sums and steps until the end, posteriors: every kernel of a mixture."""
    values = drawn(1, 300, dtype=dtype)
    truth = fit_mixture(values.double(), kind, max_iter=3, tol=1e-6, backend="reference")
    found: list[Mixture] = []
    checked(lambda: found.append(fit_mixture(values, kind, max_iter=3, tol=1e-6)), SMALL)
    close = {"rtol": 1e-5, "atol": 1e-6} if dtype == torch.float32 else {"rtol": 1e-9, "atol": 1e-9}
    torch.testing.assert_close(found[0].means, truth.means, **close)
    torch.testing.assert_close(found[0].variances, truth.variances, **close)
    posteriors: list[torch.Tensor] = []
    checked(lambda: posteriors.append(found[0].posterior()), SMALL)
    torch.testing.assert_close(posteriors[0], truth.posterior(), rtol=0, atol=100 * close["atol"])


@kernels
@pytest.mark.parametrize("kind", KINDS)
def test_contrasts(kind) -> None:
    """Forward by softmaxes, backward by slopes."""
    checked(lambda: check_contrasts(make_contrasts(7, 40, 33, torch.float32, kind)), SMALL)
    checked(lambda: check_contrasts(make_contrasts(7, 40, 48, torch.bfloat16, kind)), CHUNKED, "reversed")


@pytest.mark.parametrize("width", [5, 140])
@pytest.mark.parametrize("dtype", [DTYPES[1], *(pytest.param(one, marks=kernels) for one in DTYPES[::2])])
def test_gradient_of_the_search(dtype, width) -> None:
    """Also of rows so short that several lanes hold the same sum, which they must have rounded alike."""
    count, generator = 20, torch.Generator().manual_seed(0)
    x, y = (torch.randn(count, width, generator=generator).to(dtype) for _ in range(2))
    row, column = (torch.rand(count, generator=generator) for _ in range(2))
    hub, spread = torch.full((count,), 7), torch.randint(0, count, (count,), generator=generator)
    found: list[torch.Tensor] = []
    checked(lambda: found.extend(hardest_gradients(row, column, x, y, hub.int(), spread.int())), SMALL, 7)
    x, y, row, column = x.double(), y.double(), row.double()[:, None], column.double()[:, None]
    true_dx = (row * (y[7] - y) - column * y).index_add(0, spread, column * y)
    true_dy = column * (x[spread] - x) - row * x
    true_dy[7] += (row * x).sum(0)
    for ours, truth in zip(found, (true_dx, true_dy), strict=True):
        torch.testing.assert_close(ours.double(), truth, rtol=BACKWARD[dtype], atol=10 * BACKWARD[dtype])
