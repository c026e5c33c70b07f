"""K3: fits and posteriors against the reference, whose arithmetic is float64 as ours is but for Gaussians of float32."""

from __future__ import annotations

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch.utils._python_dispatch import TorchDispatchMode

from pcsr_fast import native_cuda
from pcsr_fast.ops import device_mixture, fit_mixture
from pcsr_fast.ops.cuda import mixture as cuda
from pcsr_fast.reference.mixture import MixtureWarning
from tests.kernels.cuda.problems import ORDERS
from tests.ops.mixtures import HARD, check_float32
from tests.ops.tools import assert_same_bits, guarded_memory

CLOSE, FLOAT32 = {"rtol": 1e-9, "atol": 1e-12}, {"rtol": 1e-6, "atol": 1e-6}
STARTS = ("quantile", "kmeans", torch.tensor([0.1, 0.9]), "assignment")


def losses(device, count: int, dtype: torch.dtype = torch.float32, seed: int = 0) -> torch.Tensor:
    """Two heaps inside (0, 1)."""
    generator = torch.Generator().manual_seed(seed)
    draw = torch.randn(count, generator=generator, dtype=torch.float64, device="cpu")
    low = torch.rand(count, generator=generator, device="cpu") < 0.6
    return torch.where(low, 0.2 + 0.05 * draw, 0.7 + 0.1 * draw).clamp(0.001, 0.999).to(device, dtype)


def assert_same_fit(ours, theirs) -> None:
    narrow = ours.kind == "gaussian" and ours.values.dtype != torch.float64
    close = FLOAT32 if narrow else CLOSE
    assert (ours.n_iter, ours.converged) == (theirs.n_iter, theirs.converged)
    for name in ("means", "variances", "weights", "a", "b"):
        if getattr(theirs, name) is not None:
            torch.testing.assert_close(getattr(ours, name), getattr(theirs, name), **close)
    assert ours.log_likelihood == pytest.approx(theirs.log_likelihood, rel=close["rtol"])
    assert ours.bic_gap == pytest.approx(theirs.bic_gap, rel=1e-6, abs=2e-6 * ours.values.numel() if narrow else 1e-6)
    for monotone in ("off", "clip"):
        torch.testing.assert_close(ours.posterior(monotone=monotone), theirs.posterior(monotone=monotone), **close)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("start", STARTS, ids=["quantile", "kmeans", "means", "assignment"])
@pytest.mark.parametrize("count", [40, 1000, 9001])
def test_gaussian(device, count, start, dtype):
    values = losses(device, count, dtype)
    tol = 1e-9 if dtype == torch.float64 else 1e-6  # what float32 resolves
    init = values > 0.4 if isinstance(start, str) and start == "assignment" else start
    for options in ({"max_iter": 10, "tol": 1e-2}, {"max_iter": 50, "tol": tol, "reg_covar": 1e-6}):
        ours, theirs = (fit_mixture(values, init=init, backend=name, **options) for name in ("cuda", "reference"))
        assert_same_fit(ours, theirs)


@pytest.mark.filterwarnings("ignore::pcsr_fast.ops.MixtureWarning")
class TestFloat32:
    @pytest.mark.parametrize("iterations", [10, 100])
    @pytest.mark.parametrize("name", HARD)
    def test_hard_cases(self, device, name, iterations):
        check_float32(name, 0, 700, iterations)

    @settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(st.sampled_from(HARD), st.integers(0, 2**31), st.integers(12, 600))
    def test_a_pass_from_any_start(self, emulated, name, seed, count):
        """Of few values, some cases have a component whose variance is that of values it has almost no part in."""
        check_float32(name, seed, count, 1, slack=10)

    def test_runs_and_addresses(self, device, monkeypatch):
        """One part of three batches in two runs, and what is left; neighbours that no single load can bring."""
        values = losses(device, 14_001)
        for part in (values[1:], values[:-1]):
            fits = [fit_mixture(part, backend=name) for name in ("cuda", "reference")]
            assert_same_fit(*fits)
            monkeypatch.setattr(cuda, "FLOAT32_PARTS", 1)
            assert_same_fit(fit_mixture(part, backend="cuda"), fits[1])

    @pytest.mark.parametrize("scale", [1e-12, 1e15])
    def test_spreads_beyond_float32_are_fitted_in_float64(self, device, scale):
        values = scale * losses(device, 500)
        ours, theirs = (fit_mixture(values, reg_covar=0.0, backend=name) for name in ("cuda", "reference"))
        torch.testing.assert_close(ours.means, theirs.means, rtol=1e-9, atol=0)
        torch.testing.assert_close(ours.variances, theirs.variances, rtol=1e-9, atol=0)

    def test_equal_components_stay(self, device):
        """Log-odds that are 0 everywhere."""
        values = losses(device, 600)
        init = torch.arange(600, device=values.device) % 2 == 0
        values[1::2] = values[::2]
        ours, theirs = (fit_mixture(values, init=init, backend=name) for name in ("cuda", "reference"))
        torch.testing.assert_close(ours.weights, torch.full_like(ours.weights, 0.5))
        assert_same_fit(ours, theirs)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(("count", "iterations"), [(200, 3), (1000, 20), (9001, 3)])
def test_beta(device, count, iterations, dtype):
    values = losses(device, count, dtype)
    ours, theirs = (fit_mixture(values, "beta", max_iter=iterations, backend=name) for name in ("cuda", "reference"))
    assert_same_fit(ours, theirs)


def test_one_component_is_warned_of(device):
    values = torch.randn(500, generator=torch.Generator().manual_seed(0), device="cpu").to(device)
    with pytest.warns(MixtureWarning):
        ours = fit_mixture(values, reg_covar=0.1, backend="cuda")
    with pytest.warns(MixtureWarning):
        assert_same_fit(ours, fit_mixture(values, reg_covar=0.1, backend="reference"))


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ([0.1, float("nan"), 0.3], "1 NaN or infinite, first at index 1"),
        ([0.1, float("inf"), 0.3, float("inf")], "2 NaN or infinite, first at index 1"),
        ([0.5, 0.5, 0.5], "all 3 equal 0.5"),
        ([0.5], "got 1, expected at least 2"),
    ],
)
def test_bad_values(device, values, said):
    with pytest.raises(ValueError, match=said):
        fit_mixture(torch.tensor(values), backend="cuda")


def test_beta_refuses_values_outside_its_range(device):
    with pytest.raises(ValueError, match="expected \\[0, 1\\] for a beta mixture"):
        fit_mixture(torch.tensor([-0.5, 0.2, 0.7]), "beta", backend="cuda")


def test_a_component_on_equal_values_needs_a_floor(device):
    with pytest.raises(ValueError, match="reg_covar: a component has variance"):
        fit_mixture(torch.tensor([0.0, 0.0, 1.0, 1.0]), reg_covar=0.0, backend="cuda")


@pytest.mark.parametrize("kind", ["gaussian", "beta"])
def test_what_is_no_number_has_no_posterior(device, kind):
    mixture = fit_mixture(losses(device, 1000), kind, backend="cuda")
    posterior = mixture.posterior(torch.tensor([0.1, float("nan"), 0.9]))
    assert posterior.isnan().tolist() == [False, True, False]


def test_both_sides_count_the_numbers_of_a_state_alike(device):
    assert native_cuda.load().mixture_numbers == device_mixture.NUMBERS


class _Waits(TorchDispatchMode):
    """Notes what makes the host wait for the device: a number read, a value copied from the host."""

    def __init__(self, events: list[str]) -> None:
        super().__init__()
        self.events = events

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        if function in (torch.ops.aten._local_scalar_dense.default, torch.ops.aten.equal.default):
            self.events.append("wait")
        return function(*args, **(kwargs or {}))


@pytest.mark.parametrize("kind", ["gaussian", "beta"])
def test_the_host_waits_once_when_all_is_done(emulated, kind, monkeypatch):
    values, events = losses(torch.device("cpu"), 500), []
    call = cuda.call
    monkeypatch.setattr(cuda, "call", lambda name, *rest: (events.append(name), call(name, *rest)))
    with _Waits(events):
        cuda.fit_mixture(values, kind, init="quantile", max_iter=7, tol=1e-9, reg_covar=1e-6, bins=None)
    passes = [place for place, event in enumerate(events) if event == "mixture_pass"]
    assert len(passes) == 8
    assert "wait" not in events[: passes[-1]]


@pytest.mark.parametrize("kind", ["gaussian", "beta"])
def test_order_of_threads_and_blocks_and_borders(emulated, kind, monkeypatch):
    values = losses(torch.device("cpu"), 9001)
    expected = fit_mixture(values, kind, backend="cuda")
    posterior = expected.posterior()
    for order in ORDERS[1:]:
        monkeypatch.setenv("PCSR_EMULATION_ORDER", order)
        with guarded_memory() as blocks:
            again = fit_mixture(values, kind, backend="cuda")
            guarded = again.posterior()
        assert blocks
        assert_same_bits(again.means, expected.means)
        assert_same_bits(guarded, posterior)
