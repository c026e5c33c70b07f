"""Mixtures against scikit-learn and scipy, their starts, their posterior and bad input."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy import stats
from sklearn.cluster import KMeans
from sklearn.exceptions import ConvergenceWarning
from sklearn.mixture import GaussianMixture
from torch import Tensor

from pcsr_fast.reference import MixtureWarning, fit_mixture, minmax
from pcsr_fast.reference.two_means import best_two_means, lloyd_two_means, starting_assignment
from tests.bad_mixtures import BAD_FITS

SEEDS = st.integers(0, 2**31 - 1)
pytestmark = pytest.mark.filterwarnings("ignore::pcsr_fast.reference.MixtureWarning")


def bimodal(seed: int, count: int, share: float = 0.6) -> Tensor:
    rng = np.random.default_rng(seed)
    low, high = rng.normal(0.2, 0.05, count), rng.normal(0.7, 0.12, count)
    return torch.from_numpy(np.where(rng.random(count) < share, low, high))


def sklearn_from(values: Tensor, assignment: Tensor, **options: float) -> GaussianMixture:
    """scikit-learn's mixture started from the same hard assignment."""

    class Started(GaussianMixture):
        def _initialize_parameters(self, X, random_state, xp=None):
            self._initialize(X, np.eye(2)[assignment.long().numpy()])

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return Started(2, **options).fit(values.numpy()[:, None])


def assert_same_mixture(ours, theirs: GaussianMixture, values: Tensor, tolerance: float = 1e-10) -> None:
    order = theirs.means_[:, 0].argsort()
    close = {"rtol": tolerance, "atol": tolerance}
    torch.testing.assert_close(ours.means, torch.from_numpy(theirs.means_[order, 0]), **close)
    torch.testing.assert_close(ours.variances, torch.from_numpy(theirs.covariances_[order, 0, 0]), **close)
    torch.testing.assert_close(ours.weights, torch.from_numpy(theirs.weights_[order]), **close)
    posterior = torch.from_numpy(theirs.predict_proba(values.numpy()[:, None])[:, order[0]])
    torch.testing.assert_close(ours.posterior(), posterior, **close)
    assert (ours.n_iter, ours.converged) == (theirs.n_iter_, theirs.converged_)
    assert ours.log_likelihood == pytest.approx(theirs.lower_bound_, abs=1e-10)


class TestGaussianAgainstSklearn:
    @given(SEEDS, st.integers(5, 300), st.sampled_from((1e-2, 1e-6)), st.integers(1, 15), st.sampled_from((5e-4, 1e-6)))
    def test_same_start_same_fit(self, seed, count, tol, max_iter, reg_covar):
        values = bimodal(seed, count)
        assignment = torch.from_numpy(np.random.default_rng(seed).random(count) < 0.5)
        assume(0 < int(assignment.sum()) < count)
        options = {"tol": tol, "max_iter": max_iter, "reg_covar": reg_covar}
        ours = fit_mixture(values, init=assignment, **options)
        assert_same_mixture(ours, sklearn_from(values, assignment, **options), values)

    @pytest.mark.parametrize("init", ["quantile", "kmeans"])
    def test_default_starts_agree_with_its_own_start(self, init):
        values = minmax(bimodal(1, 20000))
        theirs = GaussianMixture(2, max_iter=10, tol=1e-2, reg_covar=5e-4, random_state=0).fit(values.numpy()[:, None])
        ours = fit_mixture(values, init=init)
        clean = torch.from_numpy(theirs.predict_proba(values.numpy()[:, None])[:, theirs.means_.argmin()])
        assert (ours.posterior() - clean).abs().max() < 1e-3
        assert ((ours.posterior() > 0.5) != (clean > 0.5)).sum() == 0

    def test_float32_values_are_fitted_in_float64(self):
        values = bimodal(2, 500).float()
        ours = fit_mixture(values)
        assert_same_mixture(
            ours,
            sklearn_from(
                values.double(), starting_assignment(values.double(), "quantile"), max_iter=10, tol=1e-2, reg_covar=5e-4
            ),
            values.double(),
        )

    @given(SEEDS, st.integers(5, 60))
    def test_order_of_the_values_does_not_matter(self, seed, count):
        values = bimodal(seed, count)
        order = torch.randperm(count, generator=torch.Generator().manual_seed(seed))
        here, there = fit_mixture(values), fit_mixture(values[order])
        torch.testing.assert_close(there.means, here.means)
        torch.testing.assert_close(there.posterior(), here.posterior()[order])

    def test_a_large_offset_does_not_cancel_the_variance(self):
        values = bimodal(3, 1000)
        near, far = fit_mixture(values), fit_mixture(values + 1e6)
        torch.testing.assert_close(far.variances, near.variances, rtol=1e-4, atol=1e-9)


class TestStarts:
    @given(SEEDS, st.integers(2, 80))
    def test_lloyd_is_sklearns_kmeans_from_the_same_centres(self, seed, count):
        values = bimodal(seed, count)
        low, high = values.min(), values.max()
        start = np.array([[low.item()], [high.item()]])
        theirs = KMeans(2, init=start, n_init=1, tol=0.0, algorithm="lloyd").fit(values.numpy()[:, None])
        ours = lloyd_two_means(values, low, high)
        assert ours.tolist() == (theirs.labels_ == 1).tolist()

    @given(SEEDS, st.integers(2, 9))
    def test_best_two_means_beats_every_cut(self, seed, count):
        values = torch.rand(count, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)

        def error(assignment: Tensor) -> float:
            parts = (values[assignment], values[~assignment])
            return sum(float((part - part.mean()).square().sum()) for part in parts)

        cuts = [values > cut for cut in values.sort().values[:-1]]
        assert error(best_two_means(values)) <= min(error(cut) for cut in cuts) + 1e-12

    def test_best_two_means_keeps_equal_values_together(self):
        assignment = best_two_means(torch.tensor([0.0, 0.0, 0.0, 1.0, 1.0], dtype=torch.float64))
        assert assignment.tolist() == [False, False, False, True, True]

    def test_means_and_assignment_are_told_apart_by_type(self):
        values = torch.tensor([0.0, 1.0], dtype=torch.float64)
        assert starting_assignment(values, torch.tensor([1.0, 0.0])).tolist() == [False, True]
        assert starting_assignment(values, torch.tensor([1, 0])).tolist() == [True, False]

    def test_neighbouring_floats_are_still_two_values(self):
        low = torch.tensor(1.0, dtype=torch.float64)
        values = torch.stack([low, torch.nextafter(low, 2 * low)])
        for init in ("quantile", "kmeans"):
            assert starting_assignment(values, init).tolist() == [False, True]
        third = torch.nextafter(values[1], 2 * low)
        assert starting_assignment(torch.stack([values[1], third]), "quantile").tolist() == [False, True]

    def test_equal_quartiles_fall_back_to_the_extremes(self):
        values = torch.cat([torch.zeros(90), torch.linspace(0.8, 1, 10)]).double()
        mixture = fit_mixture(values)
        torch.testing.assert_close(mixture.means, torch.tensor([0.0, 0.9], dtype=torch.float64))


def scipy_beta_mixture(x: np.ndarray, iterations: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """METHODS 2.3's recurrence with scipy's density."""
    a, b, weight = np.array([1.0, 2.0]), np.array([2.0, 1.0]), np.array([0.5, 0.5])
    for _ in range(iterations):
        joint = np.stack([weight[k] * stats.beta.pdf(x, a[k], b[k]) for k in range(2)])
        r = np.maximum(joint / joint.sum(0), 1e-12)
        r /= r.sum(0)
        mean = (r * x).sum(1) / r.sum(1)
        s2 = (r * (x - mean[:, None]) ** 2).sum(1) / r.sum(1)
        a = mean * (mean * (1 - mean) / s2 - 1)
        b = a * (1 - mean) / mean
        weight = r.sum(1) / r.sum()
    return a, b, weight


class TestBeta:
    @given(SEEDS, st.integers(20, 300), st.integers(1, 12))
    def test_follows_the_recurrence(self, seed, count, iterations):
        rng = np.random.default_rng(seed)
        x = np.where(rng.random(count) < 0.6, rng.beta(2, 12, count), rng.beta(9, 4, count)).clip(1e-4, 1 - 1e-4)
        ours = fit_mixture(torch.from_numpy(x), "beta", max_iter=iterations)
        a, b, weight = scipy_beta_mixture(x, iterations)
        order = (a / (a + b)).argsort()
        torch.testing.assert_close(ours.a, torch.from_numpy(a[order]), rtol=1e-7, atol=1e-9)
        torch.testing.assert_close(ours.b, torch.from_numpy(b[order]), rtol=1e-7, atol=1e-9)
        joint = np.stack([weight[k] * stats.beta.pdf(x, a[k], b[k]) for k in order])
        torch.testing.assert_close(ours.posterior(), torch.from_numpy(joint[0] / joint.sum(0)), rtol=1e-6, atol=1e-9)
        torch.testing.assert_close(ours.means, torch.from_numpy((a / (a + b))[order]), rtol=1e-7, atol=1e-9)

    def test_recovers_planted_components(self):
        rng = np.random.default_rng(0)
        wrong = rng.random(20000) < 0.4
        x = np.where(wrong, rng.beta(10, 3, 20000), rng.beta(2, 10, 20000))
        mixture = fit_mixture(torch.from_numpy(x), "beta")
        assert ((mixture.posterior().numpy() < 0.5) == wrong).mean() > 0.97
        torch.testing.assert_close(mixture.weights, torch.tensor([0.6, 0.4]).double(), rtol=0, atol=0.05)

    def test_endpoints_and_repeated_values_stay_finite(self):
        values = torch.tensor([0.0] * 50 + [1.0] * 50)
        posterior = fit_mixture(values, "beta").posterior()
        assert torch.isfinite(posterior).all()
        assert (posterior[:50] > 0.5).all()
        assert (posterior[50:] < 0.5).all()


class TestPosterior:
    @given(SEEDS, st.sampled_from(("gaussian", "beta")), st.booleans())
    def test_clip_makes_it_fall(self, seed, kind, wide_below):
        values = minmax(bimodal(seed, 100))
        values = 1 - values if wide_below else values
        mixture = fit_mixture(values, kind, monotone="clip")
        grid = torch.linspace(0 if kind == "beta" else -3, 1 if kind == "beta" else 4, 801, dtype=torch.float64)
        posterior = mixture.posterior(grid)
        assert (posterior.diff() <= 1e-12).all()
        assert ((posterior >= 0) & (posterior <= 1)).all()

    def test_without_clip_the_wide_component_returns_on_the_left(self):
        mixture = fit_mixture(bimodal(0, 2000))
        assert mixture.posterior(torch.tensor([-3.0]))[0] < 0.5
        assert mixture.posterior(torch.tensor([-3.0]), monotone="clip")[0] > 0.99

    def test_shape_type_and_defaults(self):
        values = bimodal(0, 100).float().reshape(4, 25)
        mixture = fit_mixture(values)
        assert mixture.posterior().shape == (4, 25)
        assert mixture.posterior().dtype == torch.float64
        torch.testing.assert_close(mixture.posterior(values), mixture.posterior())

    def test_values_changed_since_the_fit_are_refused(self):
        values = bimodal(0, 100)
        mixture = fit_mixture(values)
        before = mixture.posterior()
        values.zero_()
        with pytest.raises(ValueError, match="the fitted ones have changed since"):
            mixture.posterior()
        torch.testing.assert_close(mixture.posterior(bimodal(0, 100)), before)

    def test_inference_tensors_can_be_fitted(self):
        with torch.inference_mode():
            mixture = fit_mixture(bimodal(0, 100).clone())
            assert mixture.posterior().shape == (100,)

    def test_far_values_are_decided_not_nan(self):
        posterior = fit_mixture(bimodal(0, 100)).posterior(torch.tensor([-1e4, 1e4]))
        assert torch.isfinite(posterior).all()


class TestSeparation:
    def test_ashmans_d(self):
        mixture = fit_mixture(bimodal(0, 5000))
        first, second = mixture.means.tolist()
        expected = 2**0.5 * (second - first) / float(mixture.variances.sum()) ** 0.5
        assert mixture.separation == pytest.approx(expected)
        assert mixture.separation > 2
        assert mixture.bic_gap > 0

    @pytest.mark.parametrize("kind", ["gaussian", "beta"])
    @pytest.mark.filterwarnings("error")
    def test_warns_when_one_component_is_enough(self, kind):
        values = torch.from_numpy(np.random.default_rng(0).beta(20, 20, 2000))
        with pytest.warns(MixtureWarning, match="one component explains these 2000 values"):
            fit_mixture(values, kind)

    @pytest.mark.filterwarnings("error")
    def test_is_silent_on_two(self):
        fit_mixture(bimodal(0, 500))


class TestMinmax:
    @given(SEEDS, st.integers(2, 30))
    def test_spans_the_unit_interval(self, seed, count):
        values = torch.randn(count, generator=torch.Generator().manual_seed(seed))
        scaled = minmax(values)
        assert (scaled.min(), scaled.max()) == (0, 1)
        assert torch.equal(scaled.argsort(), values.argsort())

    def test_constant_values_become_zeros(self):
        assert minmax(torch.full((3,), 5.0)).tolist() == [0.0, 0.0, 0.0]

    def test_none(self):
        with pytest.raises(ValueError, match="minmax: values: got none"):
            minmax(torch.empty(0))


BAD = [
    (torch.empty(0), {}, "got 0, expected at least 2"),
    (torch.ones(1), {}, "got 1, expected at least 2"),
    (torch.ones(5), {}, "all 5 equal 1, expected at least two different"),
    (torch.tensor([0.0, torch.nan, 1.0]), {}, "1 NaN or infinite, first at index 1"),
    (torch.tensor([0.0, 1.0, torch.inf]), {}, "1 NaN or infinite, first at index 2"),
    *BAD_FITS,
]


@pytest.mark.parametrize(("values", "options", "message"), BAD, ids=[case[2] for case in BAD])
def test_bad_input_is_named(values, options, message):
    with pytest.raises(ValueError, match=message) as caught:
        fit_mixture(values, **options)
    assert "\n" not in str(caught.value)
