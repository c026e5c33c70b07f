"""What EM does between two passes over the values: parameters of the next E step, moments to parameters (METHODS 2.3)."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from typing import NamedTuple, Protocol

from pcsr_fast.reference.beta import VARIANCE_FLOOR
from pcsr_fast.reference.gaussian import check_variance

Pair = tuple[float, float]
BETA_LOW, BETA_HIGH = 1e-4, 1 - 1e-4


class State(NamedTuple):
    """Parameters of both components; `a` and `b` are the shapes of Beta ones."""

    means: Pair
    variances: Pair = (math.nan, math.nan)
    weights: Pair = (0.5, 0.5)
    a: Pair = (math.nan, math.nan)
    b: Pair = (math.nan, math.nan)


class Sums(NamedTuple):
    """Sums over the values of r_k, r_k (x - mean_k) and r_k (x - mean_k)^2, and the log-likelihood."""

    mass0: float
    mass1: float
    shift0: float
    shift1: float
    square0: float
    square1: float
    log_likelihood: float

    def components(self) -> tuple[tuple[float, float, float], tuple[float, float, float]]:
        """(mass, shift, square) of each component."""
        return (self.mass0, self.shift0, self.square0), (self.mass1, self.shift1, self.square1)


Pass = Callable[[int, list[float]], Sums]


class Steps(Protocol):
    """One kind of component: the number its kernel goes by, where EM starts if that is fixed, and its two steps."""

    model: int
    start: State | None

    def parameters(self, state: State, low: float = -math.inf, high: float = math.inf) -> list[float]:
        """Centres, two factors, offsets, range and cut of a pass over the values, held in [low, high]."""

    def update(self, state: State, sums: Sums) -> State:
        """The M step: parameters from moments about the means of `state`."""

    def single(self, mean: float, variance: float, run: Pass) -> float:
        """Log-likelihood of a value under one component with these moments, averaged over those that `run` passes."""


def _moments(mean: float, mass: float, shift: float, square: float, extra: float) -> tuple[float, float]:
    """Mean and variance of one component whose mass has `extra` added, as if so much lay at 0."""
    moved = (shift - extra * mean) / (mass + extra)
    return mean + moved, (square - 2 * moved * shift + moved * moved * mass) / (mass + extra)


def overall_moments(state: State, sums: Sums) -> tuple[float, float]:
    """Mean and variance of all values, from the sums about the means of `state`."""
    total = sums.mass0 + sums.mass1
    parts = list(zip(state.means, sums.components(), strict=True))
    origin = state.means[0]
    mean = origin + sum((centre - origin) * mass + shift for centre, (mass, shift, _) in parts) / total
    squares = (square + 2 * (c - mean) * shift + (c - mean) ** 2 * mass for c, (mass, shift, square) in parts)
    return mean, sum(squares) / total


class GaussianSteps:
    """scikit-learn's recurrence."""

    model = 1
    start: State | None = None

    def __init__(self, reg_covar: float) -> None:
        self.reg_covar = reg_covar

    def parameters(self, state: State, low: float = -math.inf, high: float = math.inf) -> list[float]:
        """offset + first (x - mean)^2 = log(weight N(x; mean, variance))."""
        first = [-0.5 / variance for variance in state.variances]
        offsets = [
            math.log(weight) - 0.5 * math.log(2 * math.pi * variance)
            for weight, variance in zip(state.weights, state.variances, strict=True)
        ]
        return [*state.means, *first, 0.0, 0.0, *offsets, low, high, 0.0]

    def update(self, state: State, sums: Sums) -> State:
        """N_k = sum r + 10 eps; mean, variance + reg_covar, weight N_k / sum N."""
        extra = 10 * sys.float_info.epsilon
        low, high = (_moments(mean, *s, extra) for mean, s in zip(state.means, sums.components(), strict=True))
        total = sums.mass0 + sums.mass1 + 2 * extra
        weights = ((sums.mass0 + extra) / total, (sums.mass1 + extra) / total)
        check_variance(min(low[1], high[1]) + self.reg_covar)
        return State((low[0], high[0]), (low[1] + self.reg_covar, high[1] + self.reg_covar), weights)

    def single(self, mean: float, variance: float, run: Pass) -> float:
        """From the moments alone."""
        wide = variance + self.reg_covar
        return -0.5 * (math.log(2 * math.pi * wide) + variance / wide)


class BetaSteps:
    """Weighted moments; what the reference's `em_beta` does."""

    model = 2
    start: State | None = State((1 / 3, 2 / 3), a=(1.0, 2.0), b=(2.0, 1.0))

    def parameters(self, state: State, low: float = BETA_LOW, high: float = BETA_HIGH) -> list[float]:
        """offset + first log x + second log(1 - x) = log(weight Beta(x; a, b))."""
        offsets = [
            math.log(weight) + math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b)
            for weight, a, b in zip(state.weights, state.a, state.b, strict=True)
        ]
        first, second = [a - 1 for a in state.a], [b - 1 for b in state.b]
        held = [min(max(end, BETA_LOW), BETA_HIGH) for end in (low, high)]
        return [*state.means, *first, *second, *offsets, *held, 0.0]

    def update(self, state: State, sums: Sums) -> State:
        """Shapes that match each component's mean and variance."""
        low, high = (_moments(mean, *s, 0.0) for mean, s in zip(state.means, sums.components(), strict=True))
        total = sums.mass0 + sums.mass1
        return self._with_shapes(_shapes(*low), _shapes(*high), (sums.mass0 / total, sums.mass1 / total))

    def single(self, mean: float, variance: float, run: Pass) -> float:
        """Two halves of the same component, passed over the values."""
        shapes = _shapes(mean, variance)
        sums = run(self.model, self.parameters(self._with_shapes(shapes, shapes, (0.5, 0.5))))
        return sums.log_likelihood / (sums.mass0 + sums.mass1)

    @staticmethod
    def _with_shapes(low: Pair, high: Pair, weights: Pair) -> State:
        means = [a / (a + b) for a, b in (low, high)]
        variances = [mean * (1 - mean) / (sum(shape) + 1) for mean, shape in zip(means, (low, high), strict=True)]
        return State((means[0], means[1]), (variances[0], variances[1]), weights, (low[0], high[0]), (low[1], high[1]))


def _shapes(mean: float, variance: float) -> Pair:
    """a = m (m (1 - m) / s2 - 1), b = a (1 - m) / m, with s2 floored."""
    a = mean * (mean * (1 - mean) / max(variance, VARIANCE_FLOOR) - 1)
    return a, a * (1 - mean) / mean
