"""Two-component mixtures: sums under the responsibilities, then one step of EM by a single program (KERNELS 1, K3).

All in float64 (float32 values of Gaussians: see `mixture_float32`), moments about each component's last mean, so that no
variance cancels. Parts of the values are fixed and joined in order: results are deterministic and the same on every
device. The host reads nothing between the steps; once the stop rule of the Gaussians holds, those still queued do nothing.
"""

from __future__ import annotations

import torch
from torch import Tensor

import triton
import triton.language as tl

from .mixture_float32 import AT_ONCE, float32_sums_kernel
from .mixture_terms import (
    ALONE,
    BETA,
    BOUND,
    CONVERGED,
    ITERATIONS,
    LEAST_VARIANCE,
    MEAN,
    OVERALL_MEAN,
    OVERALL_VARIANCE,
    VARIANCE,
    WEIGHT,
    A,
    B,
    component,
    density,
    floored,
    held,
    responsibility,
    shapes,
)

KINDS = {"gaussian": 0, "beta": BETA.value}
START, ITERATE, SINGLE = tl.constexpr(0), tl.constexpr(1), tl.constexpr(2)

NUMBERS = 17
SUMS = 7
BLOCK = 512
MOST_BLOCKS = 512  # of a part: a product of so many factors up to 2 is finite
LEAST_BLOCKS = 8
PARTS = 2048  # so many where the blocks allow it
FLOAT32_PARTS = 660  # a wave of an H100: five on each of its 132 multiprocessors

EXTRA_MASS = tl.constexpr(10 * 2.0**-52)  # scikit-learn's


@triton.jit
def _done(state, KIND: tl.constexpr):
    """Whether the stop rule holds; Beta components take every iteration."""
    return False if KIND == BETA else tl.load(state + CONVERGED) != 0.0


@triton.jit
def sums_kernel(
    values,
    assigned,
    state,
    partials,
    count,
    part_values,
    parts,
    BLOCK: tl.constexpr,
    KIND: tl.constexpr,
    STAGE: tl.constexpr,
):
    """One part's masses, first and second moments about the means, and log-likelihood, in partials (7, parts).

    `assigned` says at the START which component each value is of.
    """
    if _done(state, KIND) == 0:
        part = tl.program_id(0)
        low_mean, high_mean = tl.load(state + MEAN), tl.load(state + MEAN + 1)
        if STAGE != START:
            low, low_first, low_second = density(state + A, state + VARIANCE, state + WEIGHT, KIND)
            high, high_first, high_second = density(state + A + 1, state + VARIANCE + 1, state + WEIGHT + 1, KIND)
        low_mass = tl.zeros((BLOCK,), tl.float64)
        low_shift, low_square = low_mass, low_mass
        high_mass, high_shift, high_square = low_mass, low_mass, low_mass
        likelihood, factors = low_mass, low_mass + 1.0
        for first in range(0, part_values, BLOCK):
            places = part.to(tl.int64) * part_values + first + tl.arange(0, BLOCK)
            inside = places < count
            x = tl.load(values + places, mask=inside, other=0.0).to(tl.float64)
            if STAGE == START:
                of_high = tl.load(assigned + places, mask=inside, other=0).to(tl.float64)
                of_low = 1.0 - of_high
            else:
                x = held(x, KIND)
                low_terms = (low_mean, low, low_first, low_second)
                high_terms = (high_mean, high, high_first, high_second)
                of_low, of_high, larger, factor = responsibility(x, low_terms, high_terms, KIND)
                of_low, of_high = floored(of_low, of_high, KIND)
                likelihood += tl.where(inside, larger, 0.0)
                factors *= tl.where(inside, factor, 1.0)
            of_low, of_high = tl.where(inside, of_low, 0.0), tl.where(inside, of_high, 0.0)
            from_low, from_high = x - low_mean, x - high_mean
            low_mass += of_low
            low_shift += of_low * from_low
            low_square += of_low * from_low * from_low
            high_mass += of_high
            high_shift += of_high * from_high
            high_square += of_high * from_high * from_high
        out = partials + part
        tl.store(out, tl.sum(low_mass))
        tl.store(out + parts, tl.sum(high_mass))
        tl.store(out + 2 * parts, tl.sum(low_shift))
        tl.store(out + 3 * parts, tl.sum(high_shift))
        tl.store(out + 4 * parts, tl.sum(low_square))
        tl.store(out + 5 * parts, tl.sum(high_square))
        tl.store(out + 6 * parts, tl.sum(likelihood) + tl.sum(tl.log(factors)))


@triton.jit
def _joined(partials, parts, BLOCK: tl.constexpr):
    """The sum of all parts, in order."""
    total = tl.zeros((BLOCK,), tl.float64)
    for first in range(0, parts, BLOCK):
        places = first + tl.arange(0, BLOCK)
        total += tl.load(partials + places, mask=places < parts, other=0.0)
    return tl.sum(total)


@triton.jit
def _keep_overall(state, low, low_mean, high, high_mean):
    """Mean and variance of all values, from both components' sums (mass, shift, square) about their means."""
    total = low[0] + high[0]
    mean = low_mean + (low[1] + (high_mean - low_mean) * high[0] + high[1]) / total
    from_low, from_high = low_mean - mean, high_mean - mean
    of_low = low[2] + 2.0 * from_low * low[1] + from_low * from_low * low[0]
    of_high = high[2] + 2.0 * from_high * high[1] + from_high * from_high * high[0]
    tl.store(state + OVERALL_MEAN, mean)
    tl.store(state + OVERALL_VARIANCE, (of_low + of_high) / total)


@triton.jit
def _maximise(state, sums, last_mean, total, reg_covar, K: tl.constexpr, KIND: tl.constexpr):
    """The M step of one component, whose sums are about its last mean; returns its variance."""
    EXTRA: tl.constexpr = 0.0 if KIND == BETA else EXTRA_MASS
    mean, variance = component(last_mean, sums[0], sums[1], sums[2], EXTRA)
    if KIND == BETA:
        a, b = shapes(mean, variance)
        mean = a / (a + b)
        variance = mean * (1.0 - mean) / (a + b + 1.0)
        tl.store(state + A + K, a)
        tl.store(state + B + K, b)
    else:
        variance += reg_covar
    tl.store(state + MEAN + K, mean)
    tl.store(state + VARIANCE + K, variance)
    tl.store(state + WEIGHT + K, (sums[0] + EXTRA) / (total + 2 * EXTRA))
    return variance


@triton.jit
def step_kernel(partials, state, settings, parts, BLOCK: tl.constexpr, KIND: tl.constexpr, STAGE: tl.constexpr):
    """What follows one pass: the start, an iteration with the stop rule, or the likelihood of a component alone.

    settings: tol, reg_covar.
    """
    if _done(state, KIND) == 0:
        low_mass, high_mass = _joined(partials, parts, BLOCK), _joined(partials + parts, parts, BLOCK)
        low_shift, high_shift = _joined(partials + 2 * parts, parts, BLOCK), _joined(partials + 3 * parts, parts, BLOCK)
        low_square = _joined(partials + 4 * parts, parts, BLOCK)
        high_square = _joined(partials + 5 * parts, parts, BLOCK)
        total = low_mass + high_mass
        bound = _joined(partials + 6 * parts, parts, BLOCK) / total
        low_mean, high_mean, least = tl.load(state + MEAN), tl.load(state + MEAN + 1), tl.load(state + LEAST_VARIANCE)
        last_bound, iterations = tl.load(state + BOUND), tl.load(state + ITERATIONS)
        tl.debug_barrier()  # every thread has read what one writes
        if STAGE == SINGLE:
            tl.store(state + ALONE, bound)
        else:
            low, high = (low_mass, low_shift, low_square), (high_mass, high_shift, high_square)
            _keep_overall(state, low, low_mean, high, high_mean)
            reg_covar = tl.load(settings + 1)
            least = tl.minimum(least, _maximise(state, low, low_mean, total, reg_covar, 0, KIND))
            least = tl.minimum(least, _maximise(state, high, high_mean, total, reg_covar, 1, KIND))
            tl.store(state + LEAST_VARIANCE, least)
        if STAGE == ITERATE:
            change = tl.abs(bound - last_bound)
            tl.store(state + CONVERGED, (change < tl.load(settings)).to(tl.float64))
            tl.store(state + BOUND, bound)
            tl.store(state + ITERATIONS, iterations + 1.0)


@triton.jit
def posterior_kernel(values, state, ends, out, count, BLOCK: tl.constexpr, KIND: tl.constexpr):
    """Probability of the first component for values held between both ends."""
    places = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    x = tl.load(values + places, mask=places < count, other=0.0).to(tl.float64)
    least, most = tl.load(ends), tl.load(ends + 1)
    x = tl.where(x < least, least, tl.where(x > most, most, x))  # NaN stays
    low, low_first, low_second = density(state + A, state + VARIANCE, state + WEIGHT, KIND)
    high, high_first, high_second = density(state + A + 1, state + VARIANCE + 1, state + WEIGHT + 1, KIND)
    low_terms = (tl.load(state + MEAN), low, low_first, low_second)
    high_terms = (tl.load(state + MEAN + 1), high, high_first, high_second)
    of_low, _, _, _ = responsibility(x, low_terms, high_terms, KIND)
    tl.store(out + places, of_low, mask=places < count)


@triton.jit
def two_means_kernel(ordered, sums, centres, count, steps):
    """Lloyd's iteration by one program, over sorted values with their running sums, from two centres in rising order.

    Leaves the centres that the last assignment is nearer to. At most `steps` steps.
    """
    low, high = tl.load(centres), tl.load(centres + 1)
    total = tl.load(sums + count - 1)
    tl.debug_barrier()  # every thread has read what one writes
    cut = tl.full((), -1, tl.int64)
    step, moves = tl.full((), 0, tl.int32), cut < 0
    while moves:
        first = tl.full((), 0, tl.int64)  # becomes the first value nearer to high
        end = first + count
        while first < end:
            middle = first + (end - first) // 2
            value = tl.load(ordered + middle)
            nearer = value - low > high - value
            end = tl.where(nearer, middle, end)
            first = tl.where(nearer, first, middle + 1)
        step += 1
        moves = (first != cut) & (step <= steps + 1)
        if moves:
            tl.store(centres, low)
            tl.store(centres + 1, high)
            below = tl.load(sums + first - 1, mask=first > 0, other=0.0)
            low, high = below / first.to(tl.float64), (total - below) / (count - first).to(tl.float64)
        cut = first


def two_means(ordered: Tensor, sums: Tensor, steps: int, centres: Tensor) -> None:
    """Queue Lloyd's iteration over sorted float64 values and their running sums (N,), from and to centres (2,)."""
    two_means_kernel[(1,)](ordered, sums, centres, ordered.shape[0], steps, num_warps=1)


class Passes:
    """Passes over values (N,), float32 or float64, contiguous, with the workspace of their sums."""

    def __init__(self, values: Tensor, kind: str, tol: float, reg_covar: float) -> None:
        self.values, self.kind = values, KINDS[kind]
        self.float32 = values.dtype == torch.float32 and self.kind != BETA.value
        parts, least = (FLOAT32_PARTS, AT_ONCE.value) if self.float32 else (PARTS, LEAST_BLOCKS)
        blocks = triton.cdiv(values.shape[0], BLOCK)
        self.part_values = BLOCK * min(MOST_BLOCKS, least * triton.cdiv(blocks, parts * least))
        self.parts = triton.cdiv(values.shape[0], self.part_values)
        options = {"dtype": torch.float64, "device": values.device}
        self.partials = torch.empty(SUMS, self.parts, **options)
        self.settings = torch.full((2,), tol, **options)
        self.settings[1] = reg_covar

    def step(self, state: Tensor, stage: int, assigned: Tensor | None = None) -> None:
        """Queue one pass and the step of `state` (17,) that follows; assigned (N,) uint8."""
        constants = {"KIND": self.kind, "STAGE": stage}
        shape = self.values.shape[0], self.part_values, self.parts
        if self.float32 and stage == ITERATE.value:
            float32_sums_kernel[(self.parts,)](self.values, state, self.partials, *shape, ROWS=BLOCK // 4, num_warps=4)
        else:
            given = self.values if assigned is None else assigned
            sums_kernel[(self.parts,)](
                self.values, given, state, self.partials, *shape, BLOCK=BLOCK, **constants, num_warps=4
            )
        step_kernel[(1,)](self.partials, state, self.settings, self.parts, BLOCK=1024, **constants, num_warps=8)


def posterior(values: Tensor, kind: str, state: Tensor, ends: tuple[float, float]) -> Tensor:
    """Probability float64 (N,) of the first component of a state, for values (N,) held between both ends."""
    out = torch.empty(values.shape, dtype=torch.float64, device=values.device)
    count, held_in = values.shape[0], torch.full((2,), ends[0], dtype=torch.float64, device=values.device)
    held_in[1] = ends[1]
    posterior_kernel[(triton.cdiv(count, BLOCK),)](
        values, state, held_in, out, count, BLOCK=BLOCK, KIND=KINDS[kind], num_warps=4
    )
    return out
