"""A fitted two-component mixture and the posterior of its low-mean component (METHODS 2.3; KERNELS 1, K3)."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import torch
from torch import Tensor

from pcsr_fast.reference.beta import log_beta_density
from pcsr_fast.reference.gaussian import log_gaussian_density

MONOTONE = ("off", "clip")


def check_monotone(monotone: str) -> None:
    """ValueError unless it is off or clip."""
    if monotone not in MONOTONE:
        raise ValueError(f"monotone: got {monotone!r}, expected off or clip")


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

    @property
    def separation(self) -> float:
        """Ashman's D = sqrt(2) |mu_1 - mu_0| / sqrt(var_0 + var_1); above 2 the components are well apart."""
        return float(math.sqrt(2.0) * (self.means[1] - self.means[0]) / self.variances.sum().sqrt())

    def posterior(self, values: Tensor | None = None, monotone: str | None = None) -> Tensor:
        """Probability float64, same shape, that each value (default: the fitted ones) is of the low-mean component.

        "clip" evaluates no value beyond the turning point of the log-odds, where the wider component takes over again.

        Raises:
            ValueError: `monotone` is neither "off" nor "clip".
        """
        monotone = self.monotone if monotone is None else monotone
        check_monotone(monotone)
        x = (self.values if values is None else values).to(self.means)
        flat = x.flatten()
        if monotone == "clip":
            flat = _clip_at_turning_point(self, flat)
        return torch.softmax(_log_joint(self, flat), dim=0)[0].reshape(x.shape)


def _log_joint(mixture: Mixture, x: Tensor) -> Tensor:
    """log pi_k + log p_k(x), (2, N)."""
    if mixture.a is not None and mixture.b is not None:
        return mixture.weights.log()[:, None] + log_beta_density(x, mixture.a, mixture.b)
    return mixture.weights.log()[:, None] + log_gaussian_density(x, mixture.means, mixture.variances)


def _clip_at_turning_point(mixture: Mixture, x: Tensor) -> Tensor:
    """x held on the side of the log-odds' turning point on which the low component's posterior falls."""
    if mixture.a is not None and mixture.b is not None:
        left, right = float(mixture.a[0] - mixture.a[1]), float(mixture.b[0] - mixture.b[1])
        if left * right <= 0:
            return x
        turning, falls_above = left / (left + right), left > 0
    else:
        precision = 1.0 / mixture.variances
        curvature = float(precision[1] - precision[0])
        if curvature == 0:
            return x
        turning = float(mixture.means[1] * precision[1] - mixture.means[0] * precision[0]) / curvature
        falls_above = curvature < 0
    return x.clamp(min=turning) if falls_above else x.clamp(max=turning)
