"""Two-component mixtures on the native core: EM over passes, scalars in between (METHODS 2.3; KERNELS 1, K3).

Moments are taken about each component's last mean, so that no variance cancels.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from pcsr_fast import native
from pcsr_fast.ops.cpu.arguments import TYPES, address
from pcsr_fast.ops.cpu.mixture_steps import BetaSteps, GaussianSteps, State, Steps, Sums, overall_moments
from pcsr_fast.reference.gaussian import MixtureFit
from pcsr_fast.reference.mixture import bic_gap, check_options, sorted_by_mean
from pcsr_fast.reference.two_means import check_init, checked_assignment, checked_means
from pcsr_fast.reference.values import check_count, check_range

STARTS = {"quantile": 0, "kmeans": 1, "means": 2}
MOST_EXACT = 10_000_000  # values that are fitted without a histogram
BINS = 1 << 14
WIDEST_BIN = 1 / 64  # of a component's standard deviation; beyond, a histogram says too little


class Points(NamedTuple):
    """What a pass runs over: values (N,) float32 or float64, weights (N,) float64 or None for 1, and their total."""

    values: Tensor
    weights: Tensor | None
    total: float

    def raw(self) -> tuple[int, int, int]:
        """Address, type and number of the values."""
        return self.values.data_ptr(), TYPES[self.values.dtype], self.values.numel()

    def sums(self, model: int, parameters: list[float]) -> Sums:
        """Moments and log-likelihood under `parameters`, as `Sums` lists them."""
        return Sums(*native.load().mixture_sums(model, self.raw(), address(self.weights), parameters))


def _in_memory(values: Tensor) -> Tensor:
    """`values` flat and contiguous in a type the passes read, without a copy where they are so."""
    flat = values.detach().flatten()
    return (flat if flat.dtype in (torch.float32, torch.float64) else flat.float()).contiguous()


def _histogram(points: Points, low: float, high: float, bins: int) -> Points:
    """The means of the values in equal bins, weighted with their counts; empty bins are left out."""
    counts, totals = torch.empty(bins, dtype=torch.float64), torch.empty(bins, dtype=torch.float64)
    native.load().mixture_histogram(points.raw(), low, high, bins, counts.data_ptr(), totals.data_ptr())
    filled = counts > 0
    return Points(totals[filled] / counts[filled], counts[filled], points.total)


def _assigned_sums(x: Tensor, assignment: Tensor) -> tuple[State, Sums]:
    """A state at the means of both parts of `assignment`, and the moments about them."""
    parts = [x[~assignment].double(), x[assignment].double()]
    means = [float(part.mean()) for part in parts]
    away = [part - mean for part, mean in zip(parts, means, strict=True)]
    shifts, squares = [float(d.sum()) for d in away], [float(d.square().sum()) for d in away]
    sums = Sums(len(parts[0]), len(parts[1]), shifts[0], shifts[1], squares[0], squares[1], 0.0)
    return State((means[0], means[1])), sums


def _gaussian_start(
    steps: Steps, points: Points, exact: Points, init: str | Tensor, ends: tuple[float, float]
) -> State:
    """The state after the M step of the assignment that `init` leads to."""
    low = high = 0.0
    if isinstance(init, Tensor):
        if not init.is_floating_point():
            assigned = _assigned_sums(exact.values, checked_assignment(init, exact.values))
            return steps.update(*assigned)
        low, high = (float(mean) for mean in checked_means(init, *torch.tensor(ends, dtype=torch.float64)))
    start = STARTS["means" if isinstance(init, Tensor) else init]
    cut, low, high = native.load().mixture_two_means(points.raw(), address(points.weights), start, low, high)
    state = State((low, high))
    return steps.update(state, points.sums(0, [low, high, *[0.0] * 6, -math.inf, math.inf, cut]))


class Iterated(NamedTuple):
    """State before and after the last step, that step's sums, the number of steps, and whether they converged."""

    before: State
    state: State
    sums: Sums
    n_iter: int
    converged: bool


def _iterate(steps: Steps, points: Points, state: State, max_iter: int, tol: float) -> Iterated:
    """EM from `state`; the mean log-likelihood of an E step is compared with that of the one before."""
    bound, converged, n_iter = -math.inf, False, 0
    while n_iter < max_iter and not (converged and steps.start is None):
        n_iter += 1
        sums = points.sums(steps.model, steps.parameters(state))
        before, state = state, steps.update(state, sums)
        previous, bound = bound, sums.log_likelihood / points.total
        converged = abs(bound - previous) < tol
    return Iterated(before, state, sums, n_iter, converged)


def _fit(
    steps: Steps, exact: Points, init: str | Tensor, max_iter: int, tol: float, ends: tuple[float, float], bins: int
) -> tuple[Iterated, Points]:
    """EM over all values, or over a histogram with its last step repeated over all values."""
    points = _histogram(exact, *ends, bins) if bins else exact
    start = steps.start or _gaussian_start(steps, points, exact, init, ends)
    done = _iterate(steps, points, start, max_iter, tol)
    if not bins:
        return done, exact
    narrowest = min(math.sqrt(variance) for variance in done.state.variances)
    if not (ends[1] - ends[0]) / bins < WIDEST_BIN * narrowest:
        return _fit(steps, exact, init, max_iter, tol, ends, 0)
    sums = exact.sums(steps.model, steps.parameters(done.before))
    return done._replace(state=steps.update(done.before, sums), sums=sums), points


def fit_mixture(
    values: Tensor,
    kind: str,
    *,
    init: str | Tensor,
    max_iter: int,
    tol: float,
    reg_covar: float,
    bins: int | None,
) -> MixtureFit:
    """As the reference's `fit_parameters`; `bins`: 0 for all values, None for a histogram of more than 10 million."""
    check_options(kind, init, max_iter)
    check_init(init)
    check_count(values.numel())
    x = _in_memory(values)
    exact = Points(x, None, x.numel())
    bad, first_bad, low, high, _ = native.load().mixture_summary(exact.raw())
    check_range(x.numel(), bad, first_bad, low, high, kind)
    steps: Steps = BetaSteps() if kind == "beta" else GaussianSteps(reg_covar)
    if bins is None:
        bins = BINS if x.numel() > MOST_EXACT else 0
    done, points = _fit(steps, exact, init, max_iter, tol, (low, high), bins)
    bound = done.sums.log_likelihood / exact.total
    gap = bic_gap(x.numel(), bound, steps.single(*overall_moments(done.before, done.sums), points.sums))
    means, variances, weights, a, b = torch.tensor(done.state, dtype=torch.float64)
    fit = MixtureFit(means, variances, weights, done.n_iter, done.converged, bound, bic_gap=gap)
    return sorted_by_mean(fit._replace(a=a, b=b) if kind == "beta" else fit)


def posterior(values: Tensor, kind: str, fit: MixtureFit, low: float, high: float) -> Tensor:
    """As the reference's `low_posterior`."""
    steps: Steps = BetaSteps() if kind == "beta" else GaussianSteps(0.0)
    rows = (fit.means, fit.variances, fit.weights, *((fit.a, fit.b) if kind == "beta" else ()))
    state = State(*(tuple(row.tolist()) for row in rows))
    flat = _in_memory(values)
    out = torch.empty(values.shape, dtype=torch.float64)
    raw = Points(flat, None, flat.numel()).raw()
    native.load().mixture_posterior(steps.model, raw, steps.parameters(state, low, high), out.data_ptr())
    return out
