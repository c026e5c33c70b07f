"""Confidence split against scikit-learn, its 1 % rule, and losses smoothed over epochs (METHODS 2.3)."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from sklearn.exceptions import ConvergenceWarning
from sklearn.mixture import GaussianMixture

from pcsr_fast.methods.config import SplitConfig
from pcsr_fast.methods.split import confidence, low_posterior


def two_humps(count: int, seed: int = 0, wide: float = 0.08) -> np.ndarray:
    rng = np.random.default_rng(seed)
    low, high = rng.normal(0.5, 0.05, count - count // 3), rng.normal(1.0, wide, count // 3)
    return rng.permutation(np.concatenate([low, high])).astype(np.float32)


def sklearn_posterior(values: np.ndarray) -> np.ndarray:
    """Posterior of the low-mean component for values that are normalised already."""
    mixture = GaussianMixture(n_components=2, max_iter=10, tol=1e-2, reg_covar=5e-4, random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        mixture.fit(values[:, None])
    return mixture.predict_proba(values[:, None])[:, mixture.means_.argmin()]


def normalised(losses: np.ndarray) -> np.ndarray:
    return (losses - losses.min()) / (losses.max() - losses.min())


@pytest.mark.parametrize("init", ["kmeans", "quantile"])
@pytest.mark.parametrize("wide", [0.05, 0.2])
def test_posterior_is_scikit_learns(init: str, wide: float):
    losses = two_humps(600, wide=wide)
    found = confidence(losses, SplitConfig(init=init))
    expected = sklearn_posterior(normalised(losses.astype(np.float64)))
    np.testing.assert_allclose(found.posterior, expected, atol=1e-3)
    np.testing.assert_allclose(found.losses, normalised(losses), atol=1e-6)
    np.testing.assert_array_equal(found.clean, found.posterior > 0.5)
    assert set(found.mixture) == {"means", "variances", "weights", "separation"}
    assert found.posterior.dtype == found.losses.dtype == np.float32


@pytest.mark.parametrize("threshold", [0.3, 0.9])
def test_threshold_is_on_the_posterior(threshold: float):
    found = confidence(two_humps(300, wide=0.25), SplitConfig(p_threshold=threshold))
    np.testing.assert_array_equal(found.clean, found.posterior > threshold)


@pytest.mark.parametrize(("count", "share", "noisy"), [(300, 0.01, 3), (250, 0.01, 2), (99, 0.01, 0), (200, 0.05, 10)])
def test_a_share_stays_noisy_when_every_posterior_is_high(count: int, share: float, noisy: int):
    losses = np.random.default_rng(0).random(count).astype(np.float32)
    found = confidence(losses, SplitConfig(p_threshold=0.0, min_noisy_frac=share))
    assert found.posterior.min() > 0
    assert (~found.clean).sum() == noisy
    if noisy:
        assert found.posterior[~found.clean].max() <= found.posterior[found.clean].min()


def test_the_rule_waits_until_every_posterior_is_high():
    found = confidence(two_humps(300), SplitConfig(min_noisy_frac=0.9))
    np.testing.assert_array_equal(found.clean, found.posterior > 0.5)


@pytest.mark.parametrize(("count", "noisy"), [(400, 4), (50, 0), (2, 0)])
def test_constant_losses_say_nothing(count: int, noisy: int):
    found = confidence(np.full(count, 0.7, dtype=np.float32), SplitConfig())
    assert (found.posterior == 1).all()
    assert (found.losses == 0).all()
    assert (~found.clean).sum() == noisy
    assert found.mixture == {}


@pytest.mark.parametrize("init", ["quantile", "kmeans"])
def test_beta_mixture_takes_any_start(init: str):
    found = confidence(two_humps(300), SplitConfig(mixture="beta", init=init))
    assert found.posterior[found.losses < 0.2].min() > 0.5
    assert found.posterior[found.losses > 0.8].max() < 0.5


def test_clip_makes_the_posterior_fall_with_the_loss():
    losses = two_humps(500, seed=3, wide=0.6)
    free = low_posterior(normalised(losses), SplitConfig())[0]
    clipped = low_posterior(normalised(losses), SplitConfig(monotone="clip"))[0]
    order = np.argsort(losses)
    assert (np.diff(free[order]) > 0).any()
    assert (np.diff(clipped[order]) <= 1e-6).all()
