"""GaussianMixture1D: scikit-learn's own checks, and its results against scikit-learn's mixture."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.mixture import GaussianMixture
from sklearn.utils.estimator_checks import check_estimator

import pcsr_fast
from pcsr_fast import GaussianMixture1D

# These feed several columns, which this estimator refuses by name; FirstColumn below passes them all.
SEVERAL_COLUMNS = """check_fit_score_takes_y check_estimators_overwrite_params check_dont_overwrite_parameters
check_estimators_fit_returns_self check_readonly_memmap_input check_n_features_in_after_fitting check_estimators_dtypes
check_dtype_object check_pipeline_consistency check_estimators_nan_inf check_estimators_pickle check_dict_unchanged
check_f_contiguous_array_estimator check_methods_sample_order_invariance check_methods_subset_invariance
check_fit_idempotent check_fit_check_is_fitted check_n_features_in check_fit2d_predict1d
check_positive_only_tag_during_fit""".split()


class FirstColumn(GaussianMixture1D):
    """Looks at the first column of X only, so that checks on matrices reach the estimator."""

    def _only_column(self, X):
        return X[:, 0]


def bimodal(count: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return np.where(rng.random(count) < 0.6, rng.normal(0.2, 0.05, count), rng.normal(0.7, 0.12, count))[:, None]


def test_passes_scikit_learns_checks():
    results = check_estimator(FirstColumn(), on_fail=None, on_skip=None)
    failed = {result["check_name"]: str(result["exception"]) for result in results if result["status"] == "failed"}
    assert failed == {}
    assert sum(result["status"] == "passed" for result in results) >= 35


def test_fails_only_checks_that_feed_several_columns():
    expected = dict.fromkeys(SEVERAL_COLUMNS, "feeds several columns")
    results = check_estimator(GaussianMixture1D(), expected_failed_checks=expected, on_skip=None)
    assert {result["check_name"] for result in results if result["status"] == "xfail"} == set(SEVERAL_COLUMNS)


@pytest.mark.parametrize("init", ["quantile", "kmeans"])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_agrees_with_scikit_learn(init, dtype):
    X = bimodal(5000).astype(dtype)
    ours = GaussianMixture1D(init=init, tol=1e-9, max_iter=200).fit(X)
    theirs = GaussianMixture(2, tol=1e-9, max_iter=200, reg_covar=5e-4, random_state=0).fit(X.astype(np.float64))
    order = theirs.means_[:, 0].argsort()
    np.testing.assert_allclose(ours.means_, theirs.means_[order], atol=1e-5)
    np.testing.assert_allclose(ours.covariances_, theirs.covariances_[order], rtol=1e-3)
    np.testing.assert_allclose(ours.weights_, theirs.weights_[order], atol=1e-4)
    np.testing.assert_allclose(ours.predict_proba(X), theirs.predict_proba(X)[:, order], atol=1e-3)
    np.testing.assert_allclose(ours.score_samples(X), theirs.score_samples(X), atol=1e-3)
    assert ours.score(X) == pytest.approx(theirs.score(X), abs=1e-6)
    assert ours.bic(X) == pytest.approx(theirs.bic(X), rel=1e-6)
    assert ours.lower_bound_ == pytest.approx(theirs.lower_bound_, abs=1e-6)
    assert ours.converged_
    assert 1 < ours.n_iter_ <= 200


def test_predictions_are_consistent():
    X = bimodal(300)
    model = GaussianMixture1D(bins=512)
    labels = model.fit_predict(X)
    probabilities = model.predict_proba(X)
    np.testing.assert_allclose(probabilities.sum(1), 1.0)
    assert (labels == probabilities.argmax(1)).all()
    assert X[labels == 0].mean() < X[labels == 1].mean()
    assert model.separation_ > 2
    assert clone(model).get_params() == model.get_params()
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(model)).predict_proba(X), probabilities)


def test_does_not_keep_the_values():
    X = bimodal(100_000)
    assert len(pickle.dumps(GaussianMixture1D().fit(X))) < 10_000


@pytest.mark.parametrize(
    ("X", "message"),
    [
        (np.zeros((5, 2)), "GaussianMixture1D: X: got 2 columns, expected 1"),
        (np.zeros(5), "Expected 2D array"),
        (np.ones((5, 1)), "all 5 equal 1"),
        (np.array([[0.0], [np.nan], [1.0]]), "contains NaN"),
        (np.ones((1, 1)), "minimum of 2 is required"),
    ],
)
def test_bad_input(X, message):
    with pytest.raises(ValueError, match=message):
        GaussianMixture1D().fit(X)


def test_is_found_lazily():
    assert pcsr_fast.GaussianMixture1D is GaussianMixture1D
    assert "GaussianMixture1D" in pcsr_fast.__all__
