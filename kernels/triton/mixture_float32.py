"""Sums under the responsibilities of two Gaussians over float32 values, each in float32 (KERNELS 1, K3).

n is the narrower component, w the wider one. Their log-odds, a parabola, are about a zero x0, rounded to float32,
    log2 r_n(x) / r_w(x) = l + (x - x0) (k + c (x - mu_n)),
where nothing cancels near x0; l, k and c come from float64, so what was rounded off x0 is in them. Moments are about
means rounded to float32, moved to the means themselves at the end. Sums of 4 RUN values are float32, sums of these float64.
Since sum_k r_k = 1, log p(x) = sum_k r_k (log(weight_k p_k(x)) - log r_k): moments give the first part, which leaves
the entropy of r, at most log 2 a value; a wrong r changes the sum by its square alone.
"""

from __future__ import annotations

import math

import triton
import triton.language as tl

from .mixture_terms import CONVERGED, MEAN, VARIANCE, WEIGHT, A, density

LOG2_E, LN_2 = tl.constexpr(1 / math.log(2)), tl.constexpr(math.log(2))
RUN, AT_ONCE = tl.constexpr(32), tl.constexpr(4)  # steps of 4 ROWS values
FAR = tl.constexpr(1e18)  # a zero beyond is none
LEAST_CURVE = tl.constexpr(-1e24)  # whose products with values are finite
LEAST_ODDS = tl.constexpr(-126.0)  # so that powers of two are normal


@triton.jit
def rounded(x):
    """To float32, as float64."""
    return x.to(tl.float32).to(tl.float64)


@triton.jit
def log2_odds(narrow, wide):
    """x0, mu_n, mu_w, c, k, l as float32, see above, of components (mean, offset, first) as `density` has them."""
    apart = wide[0] - narrow[0]
    curve = (narrow[2] - wide[2]) * LOG2_E
    slope = wide[2] * apart * (2.0 * LOG2_E)
    level = (narrow[1] - wide[1] - wide[2] * apart * apart) * LOG2_E
    split = slope * slope - 4.0 * curve * level
    root = tl.sqrt(tl.where(split > 0.0, split, 0.0))
    half = -0.5 * (slope + tl.where(slope < 0.0, -root, root))
    zero = narrow[0] + tl.where(split > 0.0, level / half, -0.5 * slope / curve)  # or the vertex
    zero = rounded(tl.where(tl.abs(zero) < FAR, zero, 0.0))  # equal components have NaN
    centre, away = rounded(narrow[0]), zero - narrow[0]
    k = slope + 2.0 * curve * away + curve * (centre - zero)
    level += away * (slope + curve * away)
    curve = tl.where(curve < LEAST_CURVE, LEAST_CURVE, curve)
    return (
        zero.to(tl.float32),
        centre.to(tl.float32),
        wide[0].to(tl.float32),
        curve.to(tl.float32),
        k.to(tl.float32),
        level.to(tl.float32),
    )


@triton.jit
def added(x, inside, odds, sums, MASKED: tl.constexpr):
    """`sums` with values added: mass, shift, square of n, of w; entropies without log2 of the factors (1, 2] that follow."""
    from_narrow, from_wide = x - odds[1], x - odds[2]
    log_odds = tl.fma(x - odds[0], tl.fma(from_narrow, odds[3], odds[4]), odds[5])
    against = tl.maximum(-tl.abs(log_odds), LEAST_ODDS)
    small = tl.math.exp2(against)
    factor = 1.0 + small
    inverse = tl.math.rsqrt(factor)
    more = inverse * inverse
    less = small * more
    leads = log_odds > 0.0
    of_narrow, of_wide = tl.where(leads, more, less), tl.where(leads, less, more)
    if MASKED:
        of_narrow, of_wide = tl.where(inside, of_narrow, 0.0), tl.where(inside, of_wide, 0.0)
        less, factor = tl.where(inside, less, 0.0), tl.where(inside, factor, 1.0)
    narrow_shift, wide_shift = of_narrow * from_narrow, of_wide * from_wide
    return (
        sums[0] + of_narrow,
        sums[1] + narrow_shift,
        sums[2] + narrow_shift * from_narrow,
        sums[3] + of_wide,
        sums[4] + wide_shift,
        sums[5] + wide_shift * from_wide,
        sums[6] - against * less,
        sums[7] * factor,
    )


@triton.jit
def multiplied(factors, ROWS: tl.constexpr):
    """Product (ROWS,) float64 of factors (ROWS, 4) float32."""
    even, odd = tl.split(tl.reshape(factors, (ROWS, 2, 2)))
    one, other = tl.split(even * odd)
    return one.to(tl.float64) * other.to(tl.float64)


@triton.jit
def moved(mean, mass, shift, square):
    """Shift and square of float64 sums about `mean`, from those about `mean` rounded."""
    away = rounded(mean) - mean
    return shift + away * mass, square + away * (2.0 * shift + away * mass)


@triton.jit
def float32_sums_kernel(values, state, partials, count, part_values, parts, ROWS: tl.constexpr):
    """As `sums_kernel` of an iteration; a thread has four neighbouring values of each 4 ROWS."""
    if tl.load(state + CONVERGED) == 0.0:
        part = tl.program_id(0)
        n = (tl.load(state + VARIANCE + 1) < tl.load(state + VARIANCE)).to(tl.int32)
        w = 1 - n
        narrow_mean, wide_mean = tl.load(state + MEAN + n), tl.load(state + MEAN + w)
        narrow, narrow_first, _ = density(state + A + n, state + VARIANCE + n, state + WEIGHT + n, 0)
        wide, wide_first, _ = density(state + A + w, state + VARIANCE + w, state + WEIGHT + w, 0)
        odds = log2_odds((narrow_mean, narrow, narrow_first), (wide_mean, wide, wide_first))
        own = values + part.to(tl.int64) * part_values
        here = tl.minimum(count - part.to(tl.int64) * part_values, part_values).to(tl.int32)
        places = tl.arange(0, ROWS)[:, None] * 4 + tl.arange(0, 4)[None, :]
        nothing, none = tl.zeros((ROWS, 4), tl.float32), tl.zeros((ROWS,), tl.float64)
        narrow_mass, narrow_shift, narrow_square, wide_mass, wide_shift, wide_square = (
            none,
            none,
            none,
            none,
            none,
            none,
        )
        entropy, factors = none, none + 1.0
        whole = here // (4 * ROWS * AT_ONCE) * AT_ONCE
        for first in range(0, tl.maximum(whole, 1), RUN):
            sums = (nothing, nothing, nothing, nothing, nothing, nothing, nothing, nothing + 1.0)
            last = tl.minimum(first + RUN, whole)
            for step in range(first, last, AT_ONCE):
                at = own + 4 * ROWS * step + places
                x, y, z = tl.load(at), tl.load(at + 4 * ROWS), tl.load(at + 8 * ROWS)
                rest = tl.load(at + 12 * ROWS)
                sums = added(x, None, odds, sums, False)
                sums = added(y, None, odds, sums, False)
                sums = added(z, None, odds, sums, False)
                sums = added(rest, None, odds, sums, False)
            if last == whole:  # what is left
                for step in range(whole, tl.cdiv(here, 4 * ROWS)):
                    inside = 4 * ROWS * step + places < here
                    x = tl.load(own + 4 * ROWS * step + places, mask=inside, other=0.0)
                    sums = added(x, inside, odds, sums, True)
            narrow_mass += tl.sum(sums[0], 1).to(tl.float64)
            narrow_shift += tl.sum(sums[1], 1).to(tl.float64)
            narrow_square += tl.sum(sums[2], 1).to(tl.float64)
            wide_mass += tl.sum(sums[3], 1).to(tl.float64)
            wide_shift += tl.sum(sums[4], 1).to(tl.float64)
            wide_square += tl.sum(sums[5], 1).to(tl.float64)
            entropy += tl.sum(sums[6], 1).to(tl.float64)
            factors *= multiplied(sums[7], ROWS)
        mass, other_mass = tl.sum(narrow_mass), tl.sum(wide_mass)
        shift, square = moved(narrow_mean, mass, tl.sum(narrow_shift), tl.sum(narrow_square))
        other_shift, other_square = moved(wide_mean, other_mass, tl.sum(wide_shift), tl.sum(wide_square))
        likelihood = tl.sum(entropy) * LN_2 + tl.sum(tl.log(factors))
        likelihood += narrow * mass + narrow_first * square + wide * other_mass + wide_first * other_square
        out = partials + part
        tl.store(out + n * parts, mass)
        tl.store(out + w * parts, other_mass)
        tl.store(out + (2 + n) * parts, shift)
        tl.store(out + (2 + w) * parts, other_shift)
        tl.store(out + (4 + n) * parts, square)
        tl.store(out + (4 + w) * parts, other_square)
        tl.store(out + 6 * parts, likelihood)
