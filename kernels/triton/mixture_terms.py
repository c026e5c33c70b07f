"""What one value and one component contribute to a mixture, in float64 and without libdevice (METHODS 2.3)."""

from __future__ import annotations

import math

import triton
import triton.language as tl

BETA = tl.constexpr(1)
BETA_LOW, BETA_HIGH = tl.constexpr(1e-4), tl.constexpr(1 - 1e-4)
RESPONSIBILITY_FLOOR = tl.constexpr(1e-12)
SHAPE_VARIANCE_FLOOR = tl.constexpr(1e-8)
TWO_PI = tl.constexpr(2 * math.pi)
HALF_LOG_TWO_PI = tl.constexpr(0.5 * math.log(2 * math.pi))

# Where the numbers of a state lie; means, variances, weights, a and b are pairs.
MEAN, VARIANCE, WEIGHT, A, B = (tl.constexpr(2 * place) for place in range(5))
BOUND, ITERATIONS, CONVERGED, LEAST_VARIANCE, OVERALL_MEAN, OVERALL_VARIANCE, ALONE = (
    tl.constexpr(place) for place in range(10, 17)
)


@triton.jit
def log_gamma(z):
    """log Gamma(z) for z > 0: Stirling's series at z + 8, to about 1e-15."""
    rising = z * (z + 1.0) * (z + 2.0) * (z + 3.0) * (z + 4.0) * (z + 5.0) * (z + 6.0) * (z + 7.0)
    w = z + 8.0
    inverse = 1.0 / w
    square = inverse * inverse
    series = square * (1.0 / 156) - 691.0 / 360360
    series = series * square + 1.0 / 1188
    series = series * square - 1.0 / 1680
    series = series * square + 1.0 / 1260
    series = series * square - 1.0 / 360
    series = series * square + 1.0 / 12
    return (w - 0.5) * tl.log(w) - w + HALF_LOG_TWO_PI + series * inverse - tl.log(rising)


@triton.jit
def density(a, variance, weight, KIND: tl.constexpr):
    """log(weight p(x)) = offset + first f(x) + second g(x), see `responsibility`; of pointers, b lies two behind a."""
    log_weight = tl.log(tl.load(weight))
    if KIND == BETA:
        first, second = tl.load(a), tl.load(a + 2)
        offset = log_weight + log_gamma(first + second) - log_gamma(first) - log_gamma(second)
        return offset, first - 1.0, second - 1.0
    else:
        spread = tl.load(variance)
        return log_weight - 0.5 * tl.log(spread * TWO_PI), -0.5 / spread, spread


@triton.jit
def held(x, KIND: tl.constexpr):
    """Values as they are fitted: of a Beta mixture inside the range of the density."""
    if KIND == BETA:
        return tl.minimum(tl.maximum(x, tl.full((), BETA_LOW, tl.float64)), tl.full((), BETA_HIGH, tl.float64))
    else:
        return x


@triton.jit
def responsibility(x, low, high, KIND: tl.constexpr):
    """Of both components (mean, offset, first, second); then log p(x) as a summand and a factor in (1, 2]."""
    if KIND == BETA:
        log_x, log_rest = tl.log(x), tl.log(1.0 - x)
        at_low = low[1] + low[2] * log_x + low[3] * log_rest
        at_high = high[1] + high[2] * log_x + high[3] * log_rest
    else:
        from_low, from_high = x - low[0], x - high[0]
        at_low, at_high = low[1] + low[2] * from_low * from_low, high[1] + high[2] * from_high * from_high
    small = tl.exp(-tl.abs(at_low - at_high))
    more = 1.0 / (1.0 + small)
    less = small * more
    leads = at_low > at_high
    return tl.where(leads, more, less), tl.where(leads, less, more), tl.maximum(at_low, at_high), 1.0 + small


@triton.jit
def floored(of_low, of_high, KIND: tl.constexpr):
    """Responsibilities as a Beta mixture is fitted with."""
    if KIND == BETA:
        floor = tl.full((), RESPONSIBILITY_FLOOR, tl.float64)
        of_low, of_high = tl.maximum(of_low, floor), tl.maximum(of_high, floor)
        both = of_low + of_high
        return of_low / both, of_high / both
    else:
        return of_low, of_high


@triton.jit
def component(mean, mass, shift, square, extra):
    """Mean and variance of sums about `mean`, with mass `extra` added as if so much lay at 0."""
    moved = (shift - mean * extra) / (mass + extra)
    return mean + moved, (square - 2.0 * moved * shift + moved * moved * mass) / (mass + extra)


@triton.jit
def shapes(mean, variance):
    """a and b of the Beta distribution with these moments."""
    floor = tl.full((), SHAPE_VARIANCE_FLOOR, tl.float64)
    a = mean * (mean * (1.0 - mean) / tl.maximum(variance, floor) - 1.0)
    return a, a * (1.0 - mean) / mean
