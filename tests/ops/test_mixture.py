"""Mixtures on the native core against the reference and scikit-learn."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
import warnings

import numpy as np
import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from sklearn.exceptions import ConvergenceWarning
from sklearn.mixture import GaussianMixture
from torch import Tensor

from pcsr_fast import native, ops
from pcsr_fast.ops.cpu import mixture as cpu
from pcsr_fast.ops.mixture import fit_op, posterior_op
from pcsr_fast.reference.two_means import starting_assignment
from tests.bad_mixtures import BAD_FITS
from tests.ops.mixtures import PARAMETERS, assert_same_fit, drawn

pytestmark = pytest.mark.filterwarnings("ignore::pcsr_fast.ops.MixtureWarning")
SEEDS = st.integers(0, 2**31 - 1)
DTYPES = st.sampled_from((torch.float64, torch.float32, torch.bfloat16, torch.float16))


def cut_of(x: Tensor, start: str, low: float = 0.0, high: float = 0.0) -> Tensor:
    """The start's assignment of the native core."""
    raw = cpu.Points(x, None, x.numel()).raw()
    return x > native.load().mixture_two_means(raw, 0, cpu.STARTS[start], low, high)[0]


def between(x: Tensor, assignment: Tensor) -> float:
    """What the best two means make largest."""
    low, high = x[~assignment], x[assignment]
    return float(len(low) * len(high) * (high.mean() - low.mean()) ** 2)


class TestAgainstTheReference:
    @given(SEEDS, st.integers(2, 600), DTYPES, st.booleans(), st.integers(1, 12), st.sampled_from((1e-2, 1e-6)))
    def test_gaussian_from_the_same_assignment(self, seed, count, dtype, wide, max_iter, tol):
        values = drawn(seed, count, "uniform" if wide else "bimodal", dtype)
        assignment = values > values.median()
        assume(bool(assignment.any()))
        options = {"init": assignment, "max_iter": max_iter, "tol": tol}
        ours, truth = (ops.fit_mixture(values, backend=name, **options) for name in ("cpu", "reference"))
        assert_same_fit(ours, truth)
        for monotone in ("off", "clip"):
            close = {"rtol": 1e-8, "atol": 1e-10}
            torch.testing.assert_close(ours.posterior(monotone=monotone), truth.posterior(monotone=monotone), **close)

    @given(SEEDS, st.integers(2, 1500), st.sampled_from(("bimodal", "uniform", "tail")), st.integers(0, 2))
    def test_gaussian_from_its_own_starts(self, seed, count, shape, start):
        values = drawn(seed, count, shape)
        init = ("quantile", "kmeans", torch.tensor([0.1, 0.8]))[start]
        assert_same_fit(*(ops.fit_mixture(values, init=init, backend=name) for name in ("cpu", "reference")))

    @given(SEEDS, st.integers(10, 600), st.sampled_from(("bimodal", "uniform", "grid")), DTYPES, st.integers(1, 10))
    def test_beta(self, seed, count, shape, dtype, max_iter):
        values = drawn(seed, count, shape, dtype)
        ours, truth = (
            ops.fit_mixture(values, "beta", max_iter=max_iter, backend=name) for name in ("cpu", "reference")
        )
        assert_same_fit(ours, truth, 1e-6)
        for monotone in ("off", "clip"):
            torch.testing.assert_close(ours.posterior(monotone=monotone), truth.posterior(monotone=monotone))

    @given(SEEDS, st.integers(2, 300))
    def test_posterior_of_other_values(self, seed, count):
        mixture = ops.fit_mixture(drawn(seed, 300), backend="cpu")
        truth = ops.fit_mixture(drawn(seed, 300), backend="reference")
        values = torch.linspace(-50, 50, count, dtype=torch.float64)
        torch.testing.assert_close(mixture.posterior(values), truth.posterior(values), rtol=1e-6, atol=1e-10)

    def test_nan_gives_nan_and_far_values_are_decided(self):
        values = torch.tensor([math.nan, -1e4, 1e4, 0.2, math.nan], dtype=torch.float64)
        for kind in ("gaussian", "beta"):
            posterior = ops.fit_mixture(drawn(0, 300), kind, backend="cpu").posterior(values)
            assert posterior.isnan().tolist() == [True, False, False, False, True]
        assert ops.fit_mixture(drawn(0, 300), backend="cpu").posterior(torch.empty(0, 3)).shape == (0, 3)

    def test_strides_shapes_and_gradients(self):
        values = drawn(0, 600).reshape(20, 30).T
        mixture = ops.fit_mixture(values[:, ::2].requires_grad_(), backend="cpu")
        truth = ops.fit_mixture(values[:, ::2], backend="reference")
        assert_same_fit(mixture, truth)
        assert mixture.posterior().shape == (30, 10)
        assert not mixture.posterior().requires_grad
        torch.testing.assert_close(mixture.posterior(), truth.posterior())


class TestStarts:
    @given(SEEDS, st.integers(2, 3000), st.sampled_from(("bimodal", "uniform", "tail", "grid")), st.booleans())
    def test_best_two_means(self, seed, count, shape, narrow):
        x = drawn(seed, count, shape, torch.float32 if narrow else torch.float64)
        ours, truth = cut_of(x, "kmeans"), starting_assignment(x.double(), "kmeans")
        assert torch.equal(ours, truth) or between(x.double(), ours) == pytest.approx(between(x.double(), truth), 1e-12)

    @given(SEEDS, st.integers(2, 3000), st.sampled_from(("bimodal", "uniform", "tail", "grid")), st.booleans())
    def test_lloyd_from_the_quartiles(self, seed, count, shape, narrow):
        x = drawn(seed, count, shape, torch.float32 if narrow else torch.float64)
        assert torch.equal(cut_of(x, "quantile"), starting_assignment(x.double(), "quantile"))

    @pytest.mark.parametrize("shape", ["bimodal", "uniform", "tail", "outlier", "grid"])
    @pytest.mark.parametrize("offset", [0.0, 1e4])
    def test_of_many_values(self, shape, offset):
        x = drawn(7, 100_003, shape) + offset
        for start in ("quantile", "kmeans"):
            assert torch.equal(cut_of(x, start), starting_assignment(x, start)), start
        means = torch.tensor([x.min(), x.max()])
        expected = starting_assignment(x, means)
        assert torch.equal(cut_of(x, "means", float(x.min()), float(x.max())), expected)

    def test_neighbouring_floats_are_two_values(self):
        x = torch.tensor([1.0, math.nextafter(1.0, 2.0)] * 100, dtype=torch.float64)
        for start in ("quantile", "kmeans"):
            assert cut_of(x, start).tolist() == [False, True] * 100

    @pytest.mark.parametrize("count", [100, 100_000])
    def test_far_from_zero(self, count):
        x = 1e15 + torch.arange(count).double()
        for start in ("quantile", "kmeans"):
            assert cut_of(x, start).sum() == count // 2


class TestProperties:
    @given(SEEDS, st.integers(5, 400), st.sampled_from(("gaussian", "beta")), st.sampled_from((0, 4096)))
    def test_order_does_not_matter(self, seed, count, kind, bins):
        values = drawn(seed, count)
        order = torch.randperm(count, generator=torch.Generator().manual_seed(seed))
        here, there = (ops.fit_mixture(x, kind, bins=bins, backend="cpu") for x in (values, values[order]))
        assert_same_fit(there, here, 1e-6)
        torch.testing.assert_close(there.posterior(), here.posterior()[order], rtol=1e-6, atol=1e-8)

    @given(SEEDS, st.integers(5, 400), st.integers(-20, 20), st.sampled_from(("quantile", "kmeans")))
    def test_a_power_of_two_scales_to_the_bit(self, seed, count, power, init):
        values, factor = drawn(seed, count), 2.0**power
        near = ops.fit_mixture(values, init=init, reg_covar=2.0**-10, backend="cpu")
        far = ops.fit_mixture(values * factor, init=init, reg_covar=2.0**-10 * factor**2, backend="cpu")
        torch.testing.assert_close(far.means, near.means * factor, rtol=1e-12, atol=0)
        torch.testing.assert_close(far.variances, near.variances * factor**2, rtol=1e-11, atol=0)
        torch.testing.assert_close(far.posterior(), near.posterior(), rtol=1e-9, atol=1e-12)

    @given(SEEDS, st.integers(5, 300), st.integers(-20, 20))
    def test_an_offset_moves_the_means_alone(self, seed, count, steps):
        values = drawn(seed, count)
        assignment = values > values.median()
        near = ops.fit_mixture(values, init=assignment, backend="cpu")
        far = ops.fit_mixture(values + 1024.0 * steps, init=assignment, backend="cpu")
        torch.testing.assert_close(far.means - 1024.0 * steps, near.means, rtol=0, atol=1e-8)
        torch.testing.assert_close(far.variances, near.variances, rtol=1e-6, atol=0)

    @given(SEEDS, st.integers(5, 300), st.integers(2, 4), st.sampled_from(("gaussian", "beta")))
    def test_copies_change_nothing(self, seed, count, copies, kind):
        values = drawn(seed, count)
        options = {"init": "kmeans"} if kind == "gaussian" else {}
        once, often = (ops.fit_mixture(x, kind, backend="cpu", **options) for x in (values, values.repeat(copies)))
        for name in PARAMETERS[: 3 if kind == "gaussian" else 5]:
            torch.testing.assert_close(getattr(often, name), getattr(once, name), rtol=1e-6, atol=1e-9)

    @pytest.mark.parametrize("kind", ["gaussian", "beta"])
    @pytest.mark.parametrize("bins", [0, 4096])
    @pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
    def test_threads_change_no_bit(self, kind, bins, dtype):
        values = drawn(3, (1 << 18) + 77, dtype=dtype)
        results = []
        for threads in (1, 2, 1):
            torch.set_num_threads(threads)
            mixture = ops.fit_mixture(values, kind, bins=bins, backend="cpu")
            results.append((mixture.means, mixture.variances, mixture.weights, mixture.posterior()))
        torch.set_num_threads(1)
        for other in results[1:]:
            assert all(torch.equal(got, first) for got, first in zip(other, results[0], strict=True))


class TestHistogram:
    @pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
    @pytest.mark.parametrize(("kind", "init"), [("gaussian", "quantile"), ("gaussian", "kmeans"), ("beta", "quantile")])
    @pytest.mark.parametrize("shape", ["bimodal", "uniform", "grid"])
    def test_is_close_to_the_exact_fit(self, kind, init, shape, dtype):
        values = drawn(5, 50_000, shape, dtype)
        exact, binned = (ops.fit_mixture(values, kind, init=init, bins=bins, backend="cpu") for bins in (0, 1 << 14))
        for name in PARAMETERS[:3]:
            torch.testing.assert_close(getattr(binned, name), getattr(exact, name), rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(binned.posterior(), exact.posterior(), rtol=0, atol=1e-4)
        assert (binned.n_iter, binned.converged) == (exact.n_iter, exact.converged)
        assert binned.log_likelihood == pytest.approx(exact.log_likelihood, abs=1e-5)

    def test_too_coarse_for_the_components_is_the_exact_fit(self):
        values = torch.cat([drawn(1, 5000), torch.tensor([1e4]).double()])
        exact, binned = (ops.fit_mixture(values, bins=bins, max_iter=20, backend="cpu") for bins in (0, 1024))
        assert torch.equal(binned.posterior(), exact.posterior())

    def test_takes_over_above_ten_million_values(self, monkeypatch):
        values = drawn(2, 5000)
        binned, exact = ops.fit_mixture(values, bins=1 << 14), ops.fit_mixture(values)
        assert not torch.equal(binned.means, exact.means)
        monkeypatch.setattr(cpu, "MOST_EXACT", 4999)
        assert torch.equal(ops.fit_mixture(values).means, binned.means)
        assert torch.equal(ops.fit_mixture(values, bins=0).means, exact.means)

    def test_an_assignment_starts_it(self):
        values = drawn(2, 5000)
        assignment = values > 0.4
        exact, binned = (ops.fit_mixture(values, init=assignment, bins=bins, backend="cpu") for bins in (0, 1 << 14))
        torch.testing.assert_close(binned.means, exact.means, rtol=1e-6, atol=1e-7)

    @pytest.mark.parametrize("bins", [-1, 1, 1 << 25])
    def test_bad_bins(self, bins):
        with pytest.raises(ValueError, match=f"fit_mixture: bins: got {bins}, expected 0, 2 to"):
            ops.fit_mixture(drawn(0, 50), bins=bins)


@given(SEEDS, st.integers(5, 300), st.booleans())
def test_posteriors_of_scikit_learn_from_the_same_start(seed, count, narrow):
    values = drawn(seed, count, dtype=torch.float32 if narrow else torch.float64)
    assignment = torch.from_numpy(np.random.default_rng(seed).random(count) < 0.5)
    assume(0 < int(assignment.sum()) < count)

    class Started(GaussianMixture):
        def _initialize_parameters(self, X, random_state, xp=None):
            self._initialize(X, np.eye(2)[assignment.long().numpy()])

    X = values.double().numpy()[:, None]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        theirs = Started(2, max_iter=10, tol=1e-2, reg_covar=5e-4).fit(X)
    ours = ops.fit_mixture(values, init=assignment, backend="cpu")
    expected = torch.from_numpy(theirs.predict_proba(X)[:, theirs.means_[:, 0].argmin()])
    torch.testing.assert_close(ours.posterior(), expected, rtol=1e-10, atol=1e-10)
    assert (ours.n_iter, ours.converged) == (theirs.n_iter_, theirs.converged_)


BAD = [
    (torch.empty(0), {}, "got 0, expected at least 2"),
    (torch.ones(1), {}, "got 1, expected at least 2"),
    (torch.ones(70), {}, "all 70 equal 1, expected at least two different"),
    (torch.tensor([0.0, torch.nan, 1.0]), {}, "1 NaN or infinite, first at index 1"),
    (torch.tensor([0.0] * 33 + [torch.inf, -torch.inf]), {}, "2 NaN or infinite, first at index 33"),
    *BAD_FITS,
]


@pytest.mark.parametrize("backend", ["cpu", "reference"])
@pytest.mark.parametrize(("values", "options", "message"), BAD, ids=[case[2] for case in BAD])
def test_bad_input_is_named_alike(values, options, message, backend):
    with pytest.raises(ValueError, match=message) as caught:
        ops.fit_mixture(values, backend=backend, **options)
    assert "\n" not in str(caught.value)


def test_init_of_another_type():
    with pytest.raises(TypeError, match="fit_mixture: init: got list, expected a name"):
        ops.fit_mixture(drawn(0, 50), init=[0.1, 0.9])


@pytest.mark.filterwarnings("error")
def test_warns_once_when_one_component_is_enough():
    values = torch.from_numpy(np.random.default_rng(0).beta(20, 20, 2000))
    for backend in ("cpu", "reference"):
        with pytest.warns(ops.MixtureWarning, match="one component explains these 2000 values") as caught:
            ops.fit_mixture(values, backend=backend)
        assert len(caught) == 1
        assert caught[0].filename == __file__


SCRIPT = """
import json, sys, numpy, torch
from pcsr_fast import native, ops
fits = []
for kind, init, dtype, bins in json.loads(sys.argv[1]):
    values = torch.from_numpy(numpy.load(sys.argv[2])).to(getattr(torch, dtype))
    mixture = ops.fit_mixture(values, kind, init=init, bins=bins, backend="cpu")
    fits.append([*mixture.means.tolist(), *mixture.variances.tolist(), *mixture.posterior()[:301].tolist()])
print(json.dumps([native.isa(), fits]))
"""
CASES = [
    ("gaussian", "quantile", "float64", 0),
    ("gaussian", "kmeans", "float32", 0),
    ("beta", "quantile", "float32", 0),
    ("beta", "quantile", "float64", 0),
    ("gaussian", "quantile", "float32", 16384),
]


# Mixtures have a kernel for each of these; a machine need not have them all.
ISAS = [isa for isa in ("scalar", "avx2", "avx512") if isa in native.load().supported_isas()]


@pytest.mark.parametrize("isa", ISAS)
def test_every_instruction_set(isa, tmp_path):
    drawn_values = drawn(11, 70001)
    np.save(tmp_path / "values.npy", drawn_values.numpy())
    command = [sys.executable, "-c", SCRIPT, json.dumps(CASES), str(tmp_path / "values.npy")]
    environment = {**os.environ, "PCSR_FAST_ISA": isa, "OMP_NUM_THREADS": "1"}
    out = subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout
    used, fits = json.loads(out)
    assert used == isa
    for (kind, init, dtype, bins), fit in zip(CASES, fits, strict=True):
        values = drawn_values.to(getattr(torch, dtype))
        truth = ops.fit_mixture(values, kind, init=init, backend="reference")
        expected = [*truth.means.tolist(), *truth.variances.tolist(), *truth.posterior()[:301].tolist()]
        np.testing.assert_allclose(fit, expected, rtol=1e-5 if bins else 1e-9, atol=1e-5 if bins else 1e-10)


class TestCustomOps:
    @pytest.mark.parametrize("backend", ["cpu", "reference"])
    @pytest.mark.parametrize("kind", ["gaussian", "beta"])
    def test_opcheck(self, backend, kind):
        values = drawn(0, 100, dtype=torch.float32)
        init = torch.tensor([0.1, 0.9]) if kind == "gaussian" else None
        arguments = (values, kind, "quantile", init, 10, 1e-2, 5e-4, None, backend)
        torch.library.opcheck(fit_op, arguments)
        parameters, _ = fit_op(*arguments)
        torch.library.opcheck(posterior_op, (values, kind, parameters, -math.inf, math.inf, backend))

    def test_both_compile_without_a_graph_break(self):
        def clean(values: Tensor) -> Tensor:
            parameters, outcome = fit_op(values, "gaussian", "quantile", None, 10, 1e-2, 5e-4, None, "auto")
            return posterior_op(values, "gaussian", parameters, -math.inf, math.inf, "auto") * outcome[0]

        values = drawn(0, 100)
        compiled = torch.compile(clean, fullgraph=True, backend="aot_eager")
        mixture = ops.fit_mixture(values)
        torch.testing.assert_close(compiled(values), mixture.posterior() * mixture.n_iter)
