"""EM for two Beta components by weighted moments (METHODS 2.3, BMM variant)."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from pcsr_fast.reference.gaussian import MixtureFit

RESPONSIBILITY_FLOOR = 1e-12
VARIANCE_FLOOR = 1e-8


def log_beta_density(x: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """log Beta(x; a_k, b_k), (K, N) for x (N,), held inside [1e-4, 1 - 1e-4]."""
    x = x.clamp(1e-4, 1 - 1e-4)[None, :]
    log_norm = torch.lgamma(a) + torch.lgamma(b) - torch.lgamma(a + b)
    return (a[:, None] - 1) * x.log() + (b[:, None] - 1) * torch.log1p(-x) - log_norm[:, None]


def beta_moments(x: Tensor, r: Tensor) -> tuple[Tensor, Tensor]:
    """Shapes (K,) matching the weighted mean m and variance s2: a = m (m(1-m)/s2 - 1), b = a (1-m)/m, for r (K, N).

    s2 is floored at 1e-8, so that a component on equal values stays finite.
    """
    mass = r.sum(1)
    mean = (r @ x) / mass
    variance = (r * (x[None, :] - mean[:, None]).square()).sum(1) / mass
    a = mean * (mean * (1 - mean) / variance.clamp(min=VARIANCE_FLOOR) - 1)
    return a, a * (1 - mean) / mean


def em_beta(x: Tensor, max_iter: int, tol: float) -> MixtureFit:
    """`max_iter` iterations from a = (1, 2), b = (2, 1), weights 1/2; responsibilities floored at 1e-12.

    There is no early stop; `converged` says whether the last iteration changed the mean log-likelihood by < `tol`.
    """
    a, b = x.new_tensor([1.0, 2.0]), x.new_tensor([2.0, 1.0])
    weights, bound, previous = x.new_tensor([0.5, 0.5]), math.nan, -math.inf
    for _ in range(max_iter):
        log_joint = weights.log()[:, None] + log_beta_density(x, a, b)
        log_norm = torch.logsumexp(log_joint, dim=0)
        r = (log_joint - log_norm).exp().clamp(min=RESPONSIBILITY_FLOOR)
        r = r / r.sum(0)
        a, b = beta_moments(x, r)
        weights = r.sum(1) / r.sum()
        previous, bound = bound, float(log_norm.mean())
    means = a / (a + b)
    variances = means * (1 - means) / (a + b + 1)
    return MixtureFit(means, variances, weights, max_iter, abs(bound - previous) < tol, bound, a, b)
