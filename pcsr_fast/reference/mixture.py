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
from pcsr_fast.reference.gaussian import MixtureFit, em_gaussian, log_gaussian_density
from pcsr_fast.reference.mixture_model import Evaluate, Mixture, check_monotone, low_posterior
from pcsr_fast.reference.two_means import starting_assignment
from pcsr_fast.reference.values import checked_values

MIXTURE_KINDS = ("gaussian", "beta")


class MixtureWarning(UserWarning):
    """One component explains the data as well as two: a split by posterior would be arbitrary."""


def check_options(kind: str, init: str | Tensor, max_iter: int) -> None:
    """ValueError for an unknown kind, max_iter < 1, or a start that the kind does not take."""
    if kind not in MIXTURE_KINDS:
        raise ValueError(f"fit_mixture: kind: got {kind!r}, expected gaussian or beta")
    if max_iter < 1:
        raise ValueError(f"fit_mixture: max_iter: got {max_iter}, expected at least 1")
    if kind == "beta" and (not isinstance(init, str) or init != "quantile"):
        raise ValueError("fit_mixture: init: kind='beta' has one fixed start, expected init to be left out")


def bic_gap(count: int, log_likelihood: float, single: float) -> float:
    """BIC of one component (2 parameters) minus BIC of two (5), from the mean log-likelihoods of both."""
    return 2 * count * (log_likelihood - single) - 3 * math.log(count)


def _single_log_likelihood(x: Tensor, kind: str, reg_covar: float) -> float:
    """Mean log-likelihood of one component fitted by moments."""
    if kind == "beta":
        return float(log_beta_density(x, *beta_moments(x, torch.ones_like(x)[None, :])).mean())
    return float(log_gaussian_density(x, x.mean()[None], x.var(correction=0)[None] + reg_covar).mean())


def sorted_by_mean(fit: MixtureFit) -> MixtureFit:
    """The component of the smaller mean first."""
    order = fit.means.argsort(stable=True)
    a, b = (None if shape is None else shape[order] for shape in (fit.a, fit.b))
    return fit._replace(means=fit.means[order], variances=fit.variances[order], weights=fit.weights[order], a=a, b=b)


def fit_parameters(
    values: Tensor, kind: str, *, init: str | Tensor, max_iter: int, tol: float, reg_covar: float
) -> MixtureFit:
    """The fit of `fit_mixture`, sorted by mean, with its BIC gap; raises as it does, and warns of nothing."""
    check_options(kind, init, max_iter)
    x = checked_values(values, kind)
    if kind == "beta":
        x = x.clamp(1e-4, 1 - 1e-4)
        fit = em_beta(x, max_iter, tol)
    else:
        fit = em_gaussian(x, starting_assignment(x, init), max_iter, tol, reg_covar)
    gap = bic_gap(x.numel(), fit.log_likelihood, _single_log_likelihood(x, kind, reg_covar))
    return sorted_by_mean(fit._replace(bic_gap=gap))


def as_mixture(
    fit: MixtureFit, kind: str, values: Tensor, monotone: str, evaluate: Evaluate = low_posterior
) -> Mixture:
    """The fit as `fit_mixture` hands it out; warns where one component is enough."""
    if fit.bic_gap <= 0:
        text = f"one component explains these {values.numel()} values (BIC gap {fit.bic_gap:.3g} <= 0)"
        warnings.warn(MixtureWarning(f"fit_mixture: {text}"), stacklevel=3)
    return Mixture(kind=kind, monotone=monotone, values=values.detach(), evaluate=evaluate, **fit._asdict())


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
    check_monotone(monotone)
    fit = fit_parameters(values, kind, init=init, max_iter=max_iter, tol=tol, reg_covar=reg_covar)
    return as_mixture(fit, kind, values, monotone)
