"""The host's part of fitting a mixture on a device: queue every step of EM, read once at the end (KERNELS 1, K3)."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

from pcsr_fast.reference.beta import VARIANCE_FLOOR
from pcsr_fast.reference.gaussian import MixtureFit, check_variance
from pcsr_fast.reference.mixture import bic_gap, check_options, sorted_by_mean
from pcsr_fast.reference.two_means import best_two_means, check_init, nearer_to_high, starting_assignment
from pcsr_fast.reference.values import check_count, check_range

START, ITERATE, SINGLE = range(3)
FLOAT32_SPREADS = 1e-6, 1e12  # of values whose squares float32 holds
BETA_START = (1 / 3, 2 / 3, 0, 0, 0.5, 0.5, 1, 2, 2, 1)  # means, variances, weights, a, b of both components


class State(NamedTuple):
    """The numbers of a mixture while it is fitted, on the host; float64, in this order, on the device."""

    means: tuple[float, float]
    variances: tuple[float, float]
    weights: tuple[float, float]
    a: tuple[float, float]
    b: tuple[float, float]
    bound: float
    iterations: float
    converged: float
    least_variance: float
    overall_mean: float
    overall_variance: float
    single: float

    @classmethod
    def of(cls, numbers: list[float]) -> State:
        """From the numbers as they lie in memory."""
        means, variances, weights, a, b = zip(numbers[0:10:2], numbers[1:10:2], strict=True)
        return cls(means, variances, weights, a, b, *numbers[10:])


NUMBERS = 10 + len(State._fields[5:])


class Steps(Protocol):
    """A backend's kernels for some values with a kind, tol and reg_covar; nothing here waits for the device."""

    values: Tensor  # (N,) float32 or float64

    def step(self, state: Tensor, stage: int, assigned: Tensor | None = None) -> None:
        """Queue one pass over the values and the step of `state` that follows; assigned (N,) bool for START."""

    def two_means(self, ordered: Tensor, sums: Tensor, centres: Tensor) -> None:
        """Queue Lloyd's iteration over sorted float64 values with their running sums, from and to centres (2,)."""


def in_memory(values: Tensor) -> Tensor:
    """`values` flat and contiguous in a type the passes read, without a copy where they are so."""
    flat = values.detach().flatten()
    return (flat if flat.dtype in (torch.float32, torch.float64) else flat.float()).contiguous()


def _summary(x: Tensor) -> Tensor:
    """Number of values that are not finite, index of the first, least and largest, as float64 on their device."""
    bad = ~torch.isfinite(x)
    low, high = x.aminmax()
    parts = (bad.sum(), bad.byte().argmax(), low, high)
    return torch.stack([part.double() for part in parts])


def _quartile_assignment(steps: Steps, x: Tensor) -> Tensor:
    """What `lloyd_two_means` finds from the quartiles, without asking the device on the way."""
    centred = x - x.mean()
    ordered = centred.sort().values
    last = x.numel() - 1
    low, high = ordered[round(0.25 * last)], ordered[round(0.75 * last)]
    apart = low < high
    centres = torch.stack([torch.where(apart, low, ordered[0]), torch.where(apart, high, ordered[-1])])
    steps.two_means(ordered, ordered.cumsum(0), centres)
    return nearer_to_high(centred, centres[0], centres[1])


def _assignment(steps: Steps, init: str | Tensor) -> Tensor:
    """Component (N,) bool of every value at the start, True for the second."""
    x = steps.values.double()
    if isinstance(init, Tensor):
        return starting_assignment(x, init)
    return best_two_means(x) if init == "kmeans" else _quartile_assignment(steps, x)


def _started(steps: Steps, kind: str, init: str | Tensor) -> Tensor:
    """The state before the first iteration, on the device."""
    state = torch.zeros(NUMBERS, dtype=torch.float64, device=steps.values.device)
    state[10], state[13] = -math.inf, math.inf
    if kind == "beta":
        for place, number in enumerate(BETA_START):
            state[place] = number  # one fill each: a copy from the host would wait for the device
        return state
    state[:2] = steps.values.mean(dtype=torch.float64)
    steps.step(state, START, _assignment(steps, init).contiguous())
    return state


def _single(steps: Steps, state: Tensor, kind: str) -> Tensor:
    """The state of both components being the one that has the moments of all values."""
    single = torch.zeros_like(state)
    if kind == "beta":
        mean, variance = state[14], state[15]
        a = mean * (mean * (1 - mean) / variance.clamp(min=VARIANCE_FLOOR) - 1)
        b = a * (1 - mean) / mean
        half = torch.full_like(mean, 0.5)
        single[:10] = torch.stack([mean, mean, variance, variance, half, half, a, a, b, b])
        steps.step(single, SINGLE)
    return single


def _single_log_likelihood(state: State, single: State, kind: str, reg_covar: float) -> float:
    if kind == "beta":
        return single.single
    wide = state.overall_variance + reg_covar
    return -0.5 * (math.log(2 * math.pi * wide) + state.overall_variance / wide)


def fit_mixture(
    make_steps: Callable[[Tensor, str, float, float], Steps],
    values: Tensor,
    kind: str,
    *,
    init: str | Tensor,
    max_iter: int,
    tol: float,
    reg_covar: float,
    bins: int | None,
) -> MixtureFit:
    """As the reference's `fit_parameters`, over all values whatever `bins` is, by the steps of a backend.

    Gaussians of float32 values, and of those that become it, take float32 arithmetic with float64 sums: against float64
    means differ by about 1e-6 of their component's standard deviation, weights by 1e-6, the log-likelihood by 1e-6 nats;
    variances by 1e-6, or 1e-5 where values that hardly belong to a component make much of its variance. EM that converges
    slowly multiplies this, and a tol below 1e-7 is not resolved. Where float32 does not hold the squares of the spread, all
    is done anew in float64.
    """
    check_options(kind, init, max_iter)
    check_init(init)
    check_count(values.numel())
    steps = make_steps(in_memory(values), kind, tol, reg_covar)
    state = _started(steps, kind, init)
    for _ in range(max_iter):
        steps.step(state, ITERATE)
    read = torch.cat([_summary(steps.values), state, _single(steps, state, kind)]).tolist()
    bad, first_bad, low, high = read[:4]
    check_range(steps.values.numel(), int(bad), int(first_bad), low, high, kind)
    narrow = kind == "gaussian" and steps.values.dtype == torch.float32
    if narrow and not FLOAT32_SPREADS[0] < high - low < FLOAT32_SPREADS[1]:
        options: dict[str, Any] = {"init": init, "max_iter": max_iter, "tol": tol, "reg_covar": reg_covar, "bins": bins}
        return fit_mixture(make_steps, steps.values.double(), kind, **options)
    fitted, single = State.of(read[4 : 4 + NUMBERS]), State.of(read[4 + NUMBERS :])
    return _as_fit(fitted, single, kind, steps.values, reg_covar)


def _as_fit(state: State, single: State, kind: str, values: Tensor, reg_covar: float) -> MixtureFit:
    if kind == "gaussian":
        check_variance(state.least_variance)
    gap = bic_gap(values.numel(), state.bound, _single_log_likelihood(state, single, kind, reg_covar))
    means, variances, weights, a, b = torch.tensor(state[:5], dtype=torch.float64, device=values.device)
    fit = MixtureFit(means, variances, weights, int(state.iterations), bool(state.converged), state.bound, bic_gap=gap)
    return sorted_by_mean(fit._replace(a=a, b=b) if kind == "beta" else fit)


def state_of(fit: MixtureFit, kind: str, device: torch.device) -> Tensor:
    """A fit as the state whose posterior is wanted."""
    shapes: tuple[Any, ...] = (fit.a, fit.b) if kind == "beta" else (fit.means, fit.means)
    rows = torch.stack([fit.means, fit.variances, fit.weights, *shapes]).double().to(device).flatten()
    return torch.cat([rows, rows.new_zeros(NUMBERS - rows.numel())])


def held_ends(kind: str, low: float, high: float) -> tuple[float, float]:
    """The range that values are held in before their posterior: a Beta density's has no ends."""
    return (min(max(low, 1e-4), 1 - 1e-4), min(max(high, 1e-4), 1 - 1e-4)) if kind == "beta" else (low, high)
