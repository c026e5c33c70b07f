"""`GaussianMixture1D`: `fit_mixture` behind scikit-learn's estimator interface, on numpy arrays (METHODS 2.3)."""

from __future__ import annotations

import dataclasses
import math
import warnings
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from sklearn.base import BaseEstimator, DensityMixin
from sklearn.utils.validation import check_is_fitted, validate_data

from pcsr_fast.ops import MixtureWarning, fit_mixture
from pcsr_fast.reference.mixture_model import Mixture, log_joint

Array = npt.NDArray[np.float64]


class GaussianMixture1D(DensityMixin, BaseEstimator):
    """Two Gaussians fitted to one column; component 0 is that of the smaller mean. Deterministic.

    Args:
        init: quantile (2-means from the quartiles) or kmeans (the best 2-means).
        max_iter, tol, reg_covar: as scikit-learn's GaussianMixture; the defaults are those of the methods.
        bins: None, 0 or the bins of a histogram, see `pcsr_fast.ops.fit_mixture`.

    Attributes:
        means_ (2, 1), covariances_ (2, 1, 1), weights_ (2,): float64. variances_ (2,): the covariances, flat.
        converged_, n_iter_: whether and after how many EM iterations. lower_bound_: mean log-likelihood, nats.
        separation_: Ashman's D, above 2 where the components are well apart.
        mixture_: the Mixture, without the values.

    `fit` raises ValueError for NaN, infinite or constant values and for more than one column.
    """

    def __init__(
        self,
        *,
        init: str = "quantile",
        max_iter: int = 10,
        tol: float = 1e-2,
        reg_covar: float = 5e-4,
        bins: int | None = None,
    ) -> None:
        self.init = init
        self.max_iter = max_iter
        self.tol = tol
        self.reg_covar = reg_covar
        self.bins = bins

    def fit(self, X: npt.ArrayLike, y: object = None) -> GaussianMixture1D:
        """Fit to X (n, 1), float32 or float64, n >= 2; `y` is ignored."""
        x = self._column(X, fitting=True)
        with warnings.catch_warnings():
            # `separation_` says so; an estimator fitted in a grid search is no place for it.
            warnings.simplefilter("ignore", MixtureWarning)
            mixture = fit_mixture(
                x, init=self.init, max_iter=self.max_iter, tol=self.tol, reg_covar=self.reg_covar, bins=self.bins
            )
        self.mixture_: Mixture = dataclasses.replace(mixture, values=torch.empty(0))
        self.variances_ = mixture.variances.numpy()
        self.means_, self.covariances_ = mixture.means.numpy()[:, None], self.variances_[:, None, None]
        self.weights_, self.separation_ = mixture.weights.numpy(), mixture.separation
        self.converged_, self.n_iter_, self.lower_bound_ = mixture.converged, mixture.n_iter, mixture.log_likelihood
        return self

    def predict_proba(self, X: npt.ArrayLike) -> Array:
        """Posterior (n, 2) of both components for X (n, 1)."""
        low: Array = self._mixture().posterior(self._column(X)).numpy()
        return np.stack([low, 1.0 - low], axis=1)

    def predict(self, X: npt.ArrayLike) -> npt.NDArray[np.int64]:
        """The likelier component (n,) for X (n, 1)."""
        return self.predict_proba(X).argmax(axis=1)

    def fit_predict(self, X: npt.ArrayLike, y: object = None) -> npt.NDArray[np.int64]:
        """`fit`, then `predict` of the same X."""
        return self.fit(X).predict(X)

    def score_samples(self, X: npt.ArrayLike) -> Array:
        """Log-density (n,) for X (n, 1), nats."""
        joint = log_joint(self._mixture(), self._column(X).double())
        density: Array = torch.logsumexp(joint, dim=0).numpy()
        return density

    def score(self, X: npt.ArrayLike, y: object = None) -> float:
        """Mean log-density of X (n, 1), nats."""
        return float(self.score_samples(X).mean())

    def bic(self, X: npt.ArrayLike) -> float:
        """Bayesian information criterion on X (n, 1), five parameters; lower is better."""
        count = len(self.score_samples(X))
        return -2 * count * self.score(X) + 5 * math.log(count)

    def _mixture(self) -> Mixture:
        check_is_fitted(self)
        return self.mixture_

    def _column(self, X: npt.ArrayLike, fitting: bool = False) -> torch.Tensor:
        """The values (n,) as a tensor, checked; read-only memory is copied, as torch cannot mark it so."""
        least = 2 if fitting else 1
        checked = validate_data(self, X, reset=fitting, dtype=[np.float64, np.float32], ensure_min_samples=least)
        values = self._only_column(checked)
        return torch.from_numpy(values if values.flags.writeable else values.copy())

    def _only_column(self, X: npt.NDArray[Any]) -> npt.NDArray[Any]:
        if X.shape[1] != 1:
            raise ValueError(f"GaussianMixture1D: X: got {X.shape[1]} columns, expected 1")
        return X[:, 0]
