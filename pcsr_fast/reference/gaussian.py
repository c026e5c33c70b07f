"""EM for two 1-D Gaussians with scikit-learn's recurrence and stop rule (METHODS 2.3)."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor


class MixtureFit(NamedTuple):
    """Parameters (2,) float64, Beta shapes or None, how EM ended, and the BIC gap that `fit_parameters` adds."""

    means: Tensor
    variances: Tensor
    weights: Tensor
    n_iter: int
    converged: bool
    log_likelihood: float
    a: Tensor | None = None
    b: Tensor | None = None
    bic_gap: float = math.nan


def log_gaussian_density(x: Tensor, means: Tensor, variances: Tensor) -> Tensor:
    """log N(x; mu_k, var_k), (K, N) for x (N,)."""
    deviation = (x[None, :] - means[:, None]).square() / variances[:, None]
    return -0.5 * (math.log(2 * math.pi) + variances.log()[:, None] + deviation)


def check_variance(least: float) -> None:
    """ValueError unless the smaller variance is positive: a component on equal values needs reg_covar."""
    if not least > 0:
        raise ValueError(f"fit_mixture: reg_covar: a component has variance {least:g}, expected a larger reg_covar")


def gaussian_moments(x: Tensor, r: Tensor, reg_covar: float) -> tuple[Tensor, Tensor, Tensor]:
    """N_k = sum r + 10 eps; mu_k = sum r x / N_k; var_k = sum r (x - mu_k)^2 / N_k + reg > 0, for r (K, N)."""
    mass = r.sum(1) + 10 * torch.finfo(x.dtype).eps
    means = (r @ x) / mass
    variances = (r * (x[None, :] - means[:, None]).square()).sum(1) / mass + reg_covar
    check_variance(float(variances.min()))
    return mass, means, variances


def em_gaussian(x: Tensor, assignment: Tensor, max_iter: int, tol: float, reg_covar: float) -> MixtureFit:
    """Start from hard responsibilities `assignment` (N,) bool, True for the second component.

    Iterate E, M; stop when the mean log-likelihood of the E step changes by less than `tol`.
    """
    mass, means, variances = gaussian_moments(x, torch.stack([~assignment, assignment]).to(x.dtype), reg_covar)
    weights, bound, converged, n_iter = mass / x.numel(), -math.inf, False, 0
    while n_iter < max_iter and not converged:
        n_iter += 1
        log_joint = weights.log()[:, None] + log_gaussian_density(x, means, variances)
        log_norm = torch.logsumexp(log_joint, dim=0)
        mass, means, variances = gaussian_moments(x, (log_joint - log_norm).exp(), reg_covar)
        weights = mass / mass.sum()
        previous, bound = bound, float(log_norm.mean())
        converged = abs(bound - previous) < tol
    return MixtureFit(means, variances, weights, n_iter, converged, bound)
