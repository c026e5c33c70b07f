"""Two-component mixtures of scalar losses: who is clean? (METHODS 2.3; KERNELS 1, K3).

E: log r_ik = log pi_k + log p_k(x_i) - logsumexp_k(...)        M: moments of x under r_k
The component of the smaller mean comes first; its posterior is the probability that a pair is clean.
"""

from __future__ import annotations

import math
import warnings

import torch
from torch import Tensor

from pcsr_fast.reference.beta import beta_moments, em_beta, log_beta_density
from pcsr_fast.reference.gaussian import em_gaussian, log_gaussian_density
from pcsr_fast.reference.mixture_model import Mixture, check_monotone
from pcsr_fast.reference.two_means import starting_assignment
from pcsr_fast.reference.values import checked_values

MIXTURE_KINDS = ("gaussian", "beta")


class MixtureWarning(UserWarning):
    """One component explains the data as well as two: a split by posterior would be arbitrary."""


def _bic_gap(x: Tensor, kind: str, reg_covar: float, log_likelihood: float) -> float:
    """BIC of one component fitted by moments (2 parameters) minus BIC of the two (5); warns where one is enough."""
    if kind == "beta":
        single = log_beta_density(x, *beta_moments(x, torch.ones_like(x)[None, :])).mean()
    else:
        single = log_gaussian_density(x, x.mean()[None], x.var(correction=0)[None] + reg_covar).mean()
    gap = 2 * x.numel() * (log_likelihood - float(single)) - 3 * math.log(x.numel())
    if gap <= 0:
        text = f"fit_mixture: one component explains these {x.numel()} values (BIC gap {gap:.3g} <= 0)"
        warnings.warn(MixtureWarning(text), stacklevel=3)
    return gap


def fit_mixture(
    values: Tensor,
    kind: str = "gaussian",
    *,
    init: str | Tensor = "quantile",
    max_iter: int = 10,
    tol: float = 1e-2,
    reg_covar: float = 5e-4,
    monotone: str = "off",
) -> Mixture:
    """Fit two components to `values` (any shape, floating) by EM in float64; deterministic.

    Gaussian: scikit-learn's recurrence and stop rule. `init`: "quantile" (2-means from the quartiles), "kmeans" (the
    best 2-means), starting means (2,) floating for 2-means, or an assignment (N,) of integers 0/1 or bool.
    Beta: values in [0, 1], fixed start, always `max_iter` iterations, `init` must stay at its default.

    Raises:
        ValueError: empty, constant, NaN or infinite values; unknown kind, init or monotone; max_iter < 1.
    Warns:
        MixtureWarning: one component explains the data (by BIC).
    """
    if kind not in MIXTURE_KINDS:
        raise ValueError(f"fit_mixture: kind: got {kind!r}, expected gaussian or beta")
    check_monotone(monotone)
    if max_iter < 1:
        raise ValueError(f"fit_mixture: max_iter: got {max_iter}, expected at least 1")
    x = checked_values(values, kind)
    if kind == "beta":
        if not isinstance(init, str) or init != "quantile":
            raise ValueError("fit_mixture: init: kind='beta' has one fixed start, expected init to be left out")
        x = x.clamp(1e-4, 1 - 1e-4)
        fit = em_beta(x, max_iter, tol)
    else:
        fit = em_gaussian(x, starting_assignment(x, init), max_iter, tol, reg_covar)
    bic_gap = _bic_gap(x, kind, reg_covar, fit.log_likelihood)
    order = fit.means.argsort(stable=True)
    return Mixture(
        kind=kind,
        means=fit.means[order],
        variances=fit.variances[order],
        weights=fit.weights[order],
        n_iter=fit.n_iter,
        converged=fit.converged,
        log_likelihood=fit.log_likelihood,
        bic_gap=bic_gap,
        a=None if fit.a is None else fit.a[order],
        b=None if fit.b is None else fit.b[order],
        monotone=monotone,
        values=values.detach().clone(),
    )
