"""A fitted two-component mixture and the posterior of its low-mean component (METHODS 2.3; KERNELS 1, K3)."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from pcsr_fast.reference.beta import log_beta_density
from pcsr_fast.reference.gaussian import MixtureFit, log_gaussian_density

MONOTONE = ("off", "clip")
Evaluate = Callable[["Mixture", Tensor, float, float], Tensor]


def check_monotone(monotone: str) -> None:
    """ValueError unless it is off or clip."""
    if monotone not in MONOTONE:
        raise ValueError(f"monotone: got {monotone!r}, expected off or clip")


def log_joint(fit: MixtureFit | Mixture, x: Tensor) -> Tensor:
    """log pi_k + log p_k(x), (2, N) for x (N,)."""
    if fit.a is not None and fit.b is not None:
        return fit.weights.log()[:, None] + log_beta_density(x, fit.a, fit.b)
    return fit.weights.log()[:, None] + log_gaussian_density(x, fit.means, fit.variances)


def low_posterior(fit: MixtureFit | Mixture, values: Tensor, low: float, high: float) -> Tensor:
    """Probability float64 of the low-mean component, same shape, of `values` held in [low, high]."""
    x = values.to(fit.means).flatten().clamp(low, high)
    return torch.softmax(log_joint(fit, x), dim=0)[0].reshape(values.shape)


def _version(values: Tensor) -> int:
    """Counts changes in place; inference tensors have no count."""
    return -1 if values.is_inference() else values._version


@dataclass(frozen=True)
class Mixture:
    """A fitted mixture; every tensor is float64 on the device of the fitted values, components sorted by mean.

    Attributes:
        kind: "gaussian" or "beta".
        means, variances, weights: (2,); Gaussian variances include reg_covar.
        n_iter: EM iterations done. converged: the last one changed the mean log-likelihood by less than tol.
        log_likelihood: mean over the values before the last M step (scikit-learn's lower bound), nats.
        bic_gap: BIC of one component minus BIC of two; <= 0 means that one explains the data.
        a, b: (2,) shapes of the Beta components, None for Gaussian ones.
        monotone: "off", or "clip" for a posterior that never rises with the value.
        values: the fitted ones themselves, no copy. evaluate: what computes posteriors, `low_posterior` or a kernel.
        version: of `values` when they were fitted.
    """

    kind: str
    means: Tensor
    variances: Tensor
    weights: Tensor
    n_iter: int
    converged: bool
    log_likelihood: float
    bic_gap: float
    a: Tensor | None = None
    b: Tensor | None = None
    monotone: str = "off"
    values: Tensor = field(repr=False, default_factory=lambda: torch.empty(0))
    evaluate: Evaluate = field(default=low_posterior, repr=False, compare=False)
    version: int = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "version", _version(self.values))

    @property
    def separation(self) -> float:
        """Ashman's D = sqrt(2) |mu_1 - mu_0| / sqrt(var_0 + var_1); above 2 the components are well apart."""
        return float(math.sqrt(2.0) * (self.means[1] - self.means[0]) / self.variances.sum().sqrt())

    def posterior(self, values: Tensor | None = None, monotone: str | None = None) -> Tensor:
        """Probability float64, same shape, that each value (default: the fitted ones) is of the low-mean component.

        "clip" evaluates no value beyond the turning point of the log-odds, where the wider component takes over again.

        Raises:
            ValueError: `monotone` is neither "off" nor "clip"; or no `values`, and the fitted ones, which are kept
                without a copy, have changed since.
        """
        monotone = self.monotone if monotone is None else monotone
        check_monotone(monotone)
        if values is None:
            if _version(self.values) != self.version:
                raise ValueError("Mixture.posterior: values: the fitted ones have changed since, expected to be given")
            values = self.values
        low, high = _falling_range(self) if monotone == "clip" else (-math.inf, math.inf)
        return self.evaluate(self, values, low, high)


def _falling_range(mixture: Mixture) -> tuple[float, float]:
    """The side of the log-odds' turning point on which the low component's posterior falls."""
    if mixture.a is not None and mixture.b is not None:
        left, right = float(mixture.a[0] - mixture.a[1]), float(mixture.b[0] - mixture.b[1])
        if left * right <= 0:
            return -math.inf, math.inf
        turning, falls_above = left / (left + right), left > 0
    else:
        precision = 1.0 / mixture.variances
        curvature = float(precision[1] - precision[0])
        if curvature == 0:
            return -math.inf, math.inf
        turning = float(mixture.means[1] * precision[1] - mixture.means[0] * precision[0]) / curvature
        falls_above = curvature < 0
    return (turning, math.inf) if falls_above else (-math.inf, turning)
