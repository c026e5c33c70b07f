"""What one entry or one softmax contributes to a contrastive loss; no libdevice, so the interpreter runs it (METHODS 7).

f(p) = -log(1 - p), tan(p) or (1 - (1 - p)^q) / q for entries other than the largest, whose p is at most 1/2.
"""

from __future__ import annotations

import triton
import triton.language as tl

LOG = tl.constexpr(0)
TAN = tl.constexpr(1)
GCE = tl.constexpr(2)
COMPLEMENTS = {"ccl_log": LOG.value, "ccl_tan": TAN.value, "ccl_gce": GCE.value}


@triton.jit
def _minus_log_of_rest(p):
    """-log(1 - p) = 2 artanh(p / (2 - p)), relatively exact near 0 too."""
    s = p / (2.0 - p)
    square = s * s
    series = 1.0 / 17
    series = series * square + 1.0 / 15
    series = series * square + 1.0 / 13
    series = series * square + 1.0 / 11
    series = series * square + 1.0 / 9
    series = series * square + 1.0 / 7
    series = series * square + 1.0 / 5
    series = series * square + 1.0 / 3
    return 2.0 * (s + s * (square * series))


@triton.jit
def _rest_of_exp(t):
    """1 - exp(-t) for 0 <= t <= log 2, from that of t / 2."""
    r = -0.5 * t
    series = 1.0 / 40320
    series = series * r + 1.0 / 5040
    series = series * r + 1.0 / 720
    series = series * r + 1.0 / 120
    series = series * r + 1.0 / 24
    series = series * r + 1.0 / 6
    series = series * r + 0.5
    half = r + r * (r * series)
    return -half * (half + 2.0)


@triton.jit
def _tan(p):
    square = p * p
    series = 929569.0 / 638512875
    series = series * square + 21844.0 / 6081075
    series = series * square + 1382.0 / 155925
    series = series * square + 62.0 / 2835
    series = series * square + 17.0 / 315
    series = series * square + 2.0 / 15
    series = series * square + 1.0 / 3
    return p + p * (square * series)


@triton.jit
def complement_terms(p, q, COMPLEMENT: tl.constexpr):
    """f(p), p f'(p) and p f'(p) (1 - p)."""
    if COMPLEMENT == LOG:
        value = _minus_log_of_rest(p)
        base = p
        slope = p / (1.0 - p)
    elif COMPLEMENT == TAN:
        value = _tan(p)
        slope = p + p * (value * value)
        base = slope * (1.0 - p)
    else:
        lost = _rest_of_exp(_minus_log_of_rest(p) * q)
        value = lost / q
        base = p - p * lost
        slope = base / (1.0 - p)
    return value, slope, base


@triton.jit
def finite(scores):
    """Scores to subtract: 0 for the -infinity of no score, which would give NaN."""
    return tl.where(scores == float("-inf"), 0.0, scores)


@triton.jit
def share(scores, base, scale, rate):
    """p of entries from that of a score of `base`; the largest entry's, which is not used, is cut to stay finite."""
    p = tl.exp((scores - base) * rate) * scale
    return tl.where(p > 0.5, 0.5, p)
