"""Two-component mixtures by CUDA kernels: the host queues every step of EM and reads once, at the end (KERNELS 1, K3)."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import torch
from torch import Tensor

from pcsr_fast import native_cuda
from pcsr_fast.native_cuda import call
from pcsr_fast.ops.cpu.arguments import address
from pcsr_fast.reference.gaussian import MixtureFit, check_variance
from pcsr_fast.reference.mixture import MIXTURE_KINDS, bic_gap, check_options, sorted_by_mean
from pcsr_fast.reference.two_means import (
    MAX_LLOYD_STEPS,
    best_two_means,
    check_init,
    nearer_to_high,
    starting_assignment,
)
from pcsr_fast.reference.values import check_count, check_range

START, ITERATE, SINGLE = range(3)
MOST_PARTS = 1024
VALUES_A_PART = 4096  # so that sums do not depend on the device
BETA_START = (1 / 3, 2 / 3, 0, 0, 0.5, 0.5, 1, 2, 2, 1)  # means, variances, weights, a, b of both components


class State(NamedTuple):
    """The numbers of `Mixture` in kernels/cuda/parameters.h, on the host."""

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


class _Values:
    """Values flat in memory with the workspace of their sums."""

    def __init__(self, values: Tensor) -> None:
        flat = values.detach().flatten()
        self.flat = (flat if flat.dtype in (torch.float32, torch.float64) else flat.float()).contiguous()
        self.parts = min(MOST_PARTS, -(-self.flat.numel() // VALUES_A_PART))
        self.partials = torch.empty(self.parts, 7, dtype=torch.float64, device=self.flat.device)

    def raw(self) -> tuple[int, int, bool]:
        """Address, number, and whether they are float64."""
        return self.flat.data_ptr(), self.flat.numel(), self.flat.dtype == torch.float64

    def step(
        self, state: Tensor, stage: int, kind: str, tol: float, reg_covar: float, assigned: Tensor | None = None
    ) -> None:
        """Queue one pass over the values and the step that follows."""
        work = (address(state), address(self.partials), self.parts)
        number = MIXTURE_KINDS.index(kind)
        call("mixture_pass", state.device, self.raw(), address(assigned), stage, number, tol, reg_covar, *work)


def _summary(x: Tensor) -> Tensor:
    """Number of values that are not finite, index of the first, least and largest, as float64 on their device."""
    bad = ~torch.isfinite(x)
    low, high = x.aminmax()
    parts = (bad.sum(), bad.byte().argmax(), low, high)
    return torch.stack([part.double() for part in parts])


def _quartile_assignment(x: Tensor) -> Tensor:
    """What `lloyd_two_means` finds from the quartiles, without asking the device on the way."""
    centred = x - x.mean()
    ordered = centred.sort().values
    last = x.numel() - 1
    low, high = ordered[round(0.25 * last)], ordered[round(0.75 * last)]
    apart = low < high
    centres = torch.stack([torch.where(apart, low, ordered[0]), torch.where(apart, high, ordered[-1])])
    sums = ordered.cumsum(0)
    call("two_means", x.device, address(ordered), address(sums), x.numel(), MAX_LLOYD_STEPS, address(centres))
    return nearer_to_high(centred, centres[0], centres[1])


def _assignment(x: Tensor, init: str | Tensor) -> Tensor:
    """Component (N,) bool of every value at the start, True for the second."""
    x = x.double()
    if isinstance(init, Tensor):
        return starting_assignment(x, init)
    return best_two_means(x) if init == "kmeans" else _quartile_assignment(x)


def _started(values: _Values, kind: str, init: str | Tensor, reg_covar: float) -> Tensor:
    """The state before the first iteration, on the device."""
    state = torch.zeros(native_cuda.load().mixture_numbers, dtype=torch.float64, device=values.flat.device)
    state[10], state[13] = -math.inf, math.inf
    if kind == "beta":
        for place, number in enumerate(BETA_START):
            state[place] = number  # one fill each: a copy from the host would wait for the device
        return state
    state[:2] = values.flat.mean(dtype=torch.float64)
    assigned = _assignment(values.flat, init).contiguous()
    values.step(state, START, kind, 0.0, reg_covar, assigned)
    return state


def _single(values: _Values, state: Tensor, kind: str) -> Tensor:
    """The state of both components being the one that has the moments of all values."""
    single = torch.zeros_like(state)
    if kind == "beta":
        call("mixture_single", state.device, address(state), address(single))
        values.step(single, SINGLE, kind, 0.0, 0.0)
    return single


def _single_log_likelihood(state: State, single: State, kind: str, reg_covar: float) -> float:
    if kind == "beta":
        return single.single
    wide = state.overall_variance + reg_covar
    return -0.5 * (math.log(2 * math.pi * wide) + state.overall_variance / wide)


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
    """As the reference's `fit_parameters`, over all values whatever `bins` is."""
    check_options(kind, init, max_iter)
    check_init(init)
    check_count(values.numel())
    held = _Values(values)
    state = _started(held, kind, init, reg_covar)
    for _ in range(max_iter):
        held.step(state, ITERATE, kind, tol, reg_covar)
    read = torch.cat([_summary(held.flat), state, _single(held, state, kind)]).tolist()
    bad, first_bad, low, high = read[:4]
    check_range(values.numel(), int(bad), int(first_bad), low, high, kind)
    numbers = len(state)
    fitted, single = State.of(read[4 : 4 + numbers]), State.of(read[4 + numbers :])
    return _as_fit(fitted, single, kind, held.flat, reg_covar)


def _as_fit(state: State, single: State, kind: str, values: Tensor, reg_covar: float) -> MixtureFit:
    if kind == "gaussian":
        check_variance(state.least_variance)
    gap = bic_gap(values.numel(), state.bound, _single_log_likelihood(state, single, kind, reg_covar))
    means, variances, weights, a, b = torch.tensor(state[:5], dtype=torch.float64, device=values.device)
    fit = MixtureFit(means, variances, weights, int(state.iterations), bool(state.converged), state.bound, bic_gap=gap)
    return sorted_by_mean(fit._replace(a=a, b=b) if kind == "beta" else fit)


def posterior(values: Tensor, kind: str, fit: MixtureFit, low: float, high: float) -> Tensor:
    """As the reference's `low_posterior`."""
    held = _Values(values)
    shapes: tuple[Any, ...] = (fit.a, fit.b) if kind == "beta" else (fit.means, fit.means)
    rows = torch.stack([fit.means, fit.variances, fit.weights, *shapes]).double().to(values.device).flatten()
    state = torch.cat([rows, rows.new_zeros(native_cuda.load().mixture_numbers - rows.numel())])
    if kind == "beta":
        low, high = (min(max(end, 1e-4), 1 - 1e-4) for end in (low, high))
    out = torch.empty(values.shape, dtype=torch.float64, device=values.device)
    number = MIXTURE_KINDS.index(kind)
    call("mixture_posterior", values.device, held.raw(), number, address(state), low, high, address(out))
    return out
