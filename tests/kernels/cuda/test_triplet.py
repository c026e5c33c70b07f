"""K1 and K2 as losses: values and gradients of every margin mode against float64, with an upstream that is not uniform."""

from __future__ import annotations

import pytest
import torch

from benchmarks.prediction.predictions import TRIPLET_LAUNCHES, TRIPLET_SORTS
from pcsr_fast.ops import pair_losses, triplet_loss
from pcsr_fast.ops.cuda import search, triplet
from pcsr_fast.ops.cuda.search import hardest_gradient
from pcsr_fast.reference.hinge import MARGIN_MODES
from tests.kernels.cuda.problems import DTYPES, ORDERS, SIZES, make_triplets
from tests.ops.tools import FORWARD, assert_as_good, assert_same_bits, guarded_memory
from tests.ops.triplet_costs import extra_bytes, launches_of_torch
from tests.ops.triplets import check_against_float64


@pytest.mark.parametrize("mode", MARGIN_MODES)
@pytest.mark.parametrize("negatives", ["hardest", "mean", "sum"])
@pytest.mark.parametrize("dtype", DTYPES)
def test_value_and_gradient(device, dtype, negatives, mode):
    for size, width in ((63, 33), (130, 70)):
        check_against_float64(make_triplets(device, size, width, dtype, mode, negatives))


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("kind", ["integers", "duplicates", "zeros"])
def test_sizes_and_ties(device, size, kind):
    check_against_float64(make_triplets(device, size, 9, torch.float32, "anchor", "hardest", kind))


@pytest.mark.parametrize("negatives", ["hardest", "mean"])
def test_order_of_threads_and_blocks_changes_no_bit(emulated, negatives, monkeypatch):
    problem = make_triplets(torch.device("cpu"), 257, 33, torch.bfloat16, "row", negatives)
    results = []
    for order in ORDERS:
        monkeypatch.setenv("PCSR_EMULATION_ORDER", order)
        x, y = problem.x.clone().requires_grad_(), problem.y.clone().requires_grad_()
        losses = triplet_loss(x, y, **problem.options, reduction="none", backend="cuda")
        upstream = torch.linspace(-1, 2, 257)
        # The mean has no CUDA backward of its own: its values alone are compared.
        gradients = torch.autograd.grad(losses @ upstream, (x, y)) if negatives == "hardest" else ()
        results.append((losses.detach(), *gradients))
    for other in results[1:]:
        for ours, theirs in zip(results[0], other, strict=True):
            assert_same_bits(ours, theirs)


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_hub_collects_the_gradients_of_all(device, dtype):
    count, generator = 300, torch.Generator().manual_seed(0)
    x, y = (torch.randn(count, 33, generator=generator, device="cpu").to(device, dtype) for _ in range(2))
    row, column = (torch.rand(count, generator=generator, device="cpu").to(device) for _ in range(2))
    hub = torch.full((count,), 7, dtype=torch.int64)
    dx, dy = hardest_gradient(row, column, x, y, hub, hub)
    x, y = x.double(), y.double()
    true_dx = row[:, None].double() * (y[7] - y) - column[:, None].double() * y
    true_dx[7] += (column[:, None].double() * y).sum(0)
    assert dx.dtype == dtype
    torch.testing.assert_close(dx.double(), true_dx, rtol=FORWARD[dtype], atol=FORWARD[dtype] * 100)
    true_dy = column[:, None].double() * (x[7] - x) - row[:, None].double() * x
    true_dy[7] += (row[:, None].double() * x).sum(0)
    torch.testing.assert_close(dy.double(), true_dy, rtol=FORWARD[dtype], atol=FORWARD[dtype] * 100)


@pytest.mark.parametrize("negatives", ["hardest", "sum"])
def test_nothing_outside_the_outputs_is_written(emulated, negatives):
    problem = make_triplets(torch.device("cpu"), 127, 33, torch.float32, "matrix", negatives)
    expected = triplet_loss(problem.x, problem.y, **problem.options, reduction="none", backend="cuda")
    with guarded_memory() as blocks:
        guarded = triplet_loss(problem.x, problem.y, **problem.options, reduction="none", backend="cuda")
    assert blocks
    assert_same_bits(guarded, expected)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("batch_size", [None, 40])
def test_losses_of_a_set(device, dtype, batch_size):
    problem = make_triplets(device, 130, 33, dtype, "scalar", "mean")
    options = {"batch_size": batch_size, "groups": problem.groups}
    options["order"] = None if batch_size is None else torch.arange(129, -1, -1)
    truth = pair_losses(problem.x.double(), problem.y.double(), **options, backend="reference")
    theirs = pair_losses(problem.x, problem.y, **options, backend="reference")
    ours = pair_losses(problem.x, problem.y, **options, backend="cuda")
    assert_as_good(ours.losses, theirs.losses, truth.losses, FORWARD[dtype])
    for mine, right in zip(ours.statistics, truth.statistics, strict=True):
        torch.testing.assert_close(mine, right, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("scale", [1e-12, 1.0, 1e12])
def test_sums_of_any_size_are_exact_to_rounding(device, scale):
    problem = make_triplets(device, 130, 33, torch.float32, "scalar", "sum")
    x, y, m = problem.x * scale, problem.y, problem.margin * scale
    options = {"margin": m, "margin_mode": "scalar", "negatives": "sum", "reduction": "none"}
    ours = triplet_loss(x, y, **options, backend="cuda")
    truth = triplet_loss(x.double(), y.double(), **options, backend="reference")
    torch.testing.assert_close(ours.double(), truth, rtol=1e-5, atol=1e-5 * scale)


def test_nan_makes_sums_nan(device):
    problem = make_triplets(device, 63, 33, torch.float32, "scalar", "mean")
    problem.x[3, 0] = torch.nan
    assert triplet_loss(problem.x, problem.y, negatives="mean", reduction="none", backend="cuda").isnan().all()


def test_launches_are_those_that_the_prediction_counts(emulated, monkeypatch):
    kernels: list[int] = []
    counts = {"hardest": 3, "side_gradient": 1}  # a search is unpacked for rows and for columns
    monkeypatch.setattr(search, "call", lambda name, *_: kernels.append(counts[name]))
    torches = launches_of_torch(triplet.triplet, search.hardest_gradient, "cuda")
    assert torches - TRIPLET_SORTS[0] + sum(kernels) // 2 == TRIPLET_LAUNCHES["cuda"]


def test_a_step_needs_little_memory(emulated, monkeypatch):
    monkeypatch.setattr(search, "call", lambda *_: None)
    assert 2e6 < extra_bytes("cuda") < 4e6
