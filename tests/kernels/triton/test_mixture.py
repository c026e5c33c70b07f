"""Fits and posteriors against the reference, whose arithmetic is float64 as ours is but for Gaussians of float32."""

from __future__ import annotations

import math

import pytest
import torch
import triton
import triton.language as tl
from torch import Tensor

from pcsr_fast import ops
from pcsr_fast.kernels.triton import mixture
from pcsr_fast.kernels.triton.mixture_terms import log_gamma
from pcsr_fast.ops.triton.arguments import DTYPES
from pcsr_fast.reference.two_means import MAX_LLOYD_STEPS, starting_assignment
from tests.bad_mixtures import BAD_FITS
from tests.ops.mixtures import HARD, assert_same_fit, check_float32, drawn
from tests.tools.triton_sanitizer import sanitized

pytestmark = pytest.mark.filterwarnings("ignore::pcsr_fast.ops.MixtureWarning")
EXACT = {"tol": 1e-6, "max_iter": 12, "reg_covar": 1e-6}


def check(values: Tensor, kind: str = "gaussian", tolerance: float = 1e-9, **options: object) -> None:
    """The fit and the posterior of both ways to ask for it."""
    narrow = kind == "gaussian" and values.dtype != torch.float64
    tolerance = max(tolerance, 1e-6) if narrow else tolerance
    ours, truth = (ops.fit_mixture(values, kind, backend=name, **options) for name in ("triton", "reference"))
    assert_same_fit(ours, truth, tolerance)
    for monotone in ("off", "clip"):
        torch.testing.assert_close(
            ours.posterior(monotone=monotone), truth.posterior(monotone=monotone), rtol=1e-6, atol=max(1e-9, tolerance)
        )


@pytest.mark.parametrize("dtype", [*DTYPES, torch.float64], ids=str)
def test_gaussian_fits_follow_the_reference(dtype) -> None:
    for count, options in ((2, {}), (700, EXACT), *([(9001, {})] if dtype == torch.float32 else [])):
        check(drawn(count, count, "bimodal", dtype), **options)


@pytest.mark.parametrize("name", [*HARD[:3], *(pytest.param(name, marks=pytest.mark.kernels) for name in HARD[3:])])
def test_float32_fits_of_hard_cases(name: str) -> None:
    check_float32(name, 0, 400, 5)


@pytest.mark.kernels
def test_float32_fits_of_many_iterations() -> None:
    check_float32("overlapping", 0, 300, 40)


@pytest.mark.kernels
@pytest.mark.parametrize("shape", ["uniform", "tail", "grid", "outlier"])
def test_starts_follow_the_reference(shape: str) -> None:
    values = drawn(3, 600, shape)
    for init in ("quantile", "kmeans", torch.tensor([0.1, 0.8]), values > values.median()):
        check(values, init=init)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("shape", ["bimodal", "uniform", "grid"])
def test_beta_fits_follow_the_reference(shape: str, dtype) -> None:
    check(drawn(5, 700, shape, dtype), "beta", 1e-6, max_iter=6)


@triton.jit
def log_gamma_kernel(z, out, N, BLOCK: tl.constexpr):
    places = tl.arange(0, BLOCK)
    values = tl.load(z + places, mask=places < N, other=1.0)
    tl.store(out + places, log_gamma(values), mask=places < N)


def test_log_gamma() -> None:
    z = torch.cat([torch.logspace(-9, 8, 400, dtype=torch.float64), torch.linspace(0.5, 3, 100, dtype=torch.float64)])
    out = torch.empty_like(z)
    log_gamma_kernel[(1,)](z, out, z.numel(), BLOCK=512)
    torch.testing.assert_close(out, torch.lgamma(z), rtol=4e-15, atol=1e-14)


def test_lloyds_iteration_leaves_the_last_centres() -> None:
    for seed, count in ((1, 2), (2, 65), (3, 500)):
        x = drawn(seed, count, "tail").sort().values
        centres = torch.stack([x[0], x[-1]])
        mixture.two_means(x, x.cumsum(0), MAX_LLOYD_STEPS, centres)
        assert torch.equal(x - centres[0] > centres[1] - x, starting_assignment(x, x[[0, -1]]))


def test_queued_steps_do_nothing_after_the_stop_rule() -> None:
    """Ten iterations more leave the state of a converged fit as it is, to the bit."""
    values = drawn(4, 2000)
    few, many = (ops.fit_mixture(values, max_iter=steps, backend="triton") for steps in (10, 20))
    assert few.converged
    assert few.n_iter == many.n_iter < 10
    assert torch.equal(few.means, many.means)
    assert few.log_likelihood == many.log_likelihood


@pytest.mark.kernels
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_parts_are_joined_in_order(dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    """Results repeat to the bit; other parts change rounding alone."""
    values, found = drawn(6, 40_000, dtype=dtype), []
    name, few = ("FLOAT32_PARTS", 1) if dtype == torch.float32 else ("MOST_BLOCKS", 5)
    for most in (getattr(mixture, name), few, few):
        monkeypatch.setattr(mixture, name, most)
        found.append(ops.fit_mixture(values, backend="triton"))
    assert torch.equal(found[1].means, found[2].means)
    assert_same_fit(found[1], found[0], 1e-6 if dtype == torch.float32 else 1e-10)


def test_nan_gives_nan_and_far_values_are_decided() -> None:
    values = torch.tensor([math.nan, -1e4, 1e4, 0.2, math.nan], dtype=torch.float64)
    for kind in ("gaussian", "beta"):
        fits = [ops.fit_mixture(drawn(0, 300), kind, backend=name) for name in ("triton", "reference")]
        torch.testing.assert_close(*(fit.posterior(values) for fit in fits), equal_nan=True, rtol=1e-6, atol=1e-9)
        assert fits[0].posterior(torch.empty(0, 3)).shape == (0, 3)


def test_strides_and_shapes() -> None:
    values = drawn(0, 600).reshape(20, 30).T[:, ::2]
    check(values.requires_grad_())
    assert ops.fit_mixture(values, backend="triton").posterior().shape == (30, 10)


BAD = [
    (torch.tensor([0.0, torch.nan, 1.0]), {}, "1 NaN or infinite, first at index 1"),
    (torch.full((70,), 1.0), {}, "all 70 equal 1, expected at least two different"),
    *BAD_FITS,
]


@pytest.mark.parametrize(("values", "options", "message"), BAD, ids=[case[2] for case in BAD])
def test_bad_input_is_named(values, options, message) -> None:
    with pytest.raises(ValueError, match=message):
        ops.fit_mixture(values, backend="triton", **options)


@pytest.mark.parametrize("kind", ["gaussian", "beta"])
def test_memory_is_respected(kind: str) -> None:
    values = drawn(2, 4700, dtype=torch.float32)
    with sanitized() as faults:
        ops.fit_mixture(values, kind, max_iter=3, backend="triton").posterior()
    assert not faults
