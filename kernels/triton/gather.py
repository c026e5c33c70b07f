"""Sums and softmaxes over the negatives of every row, and with operands exchanged of every column (KERNELS 1, K1, K2).

One program walks a strip of rows over a part of the columns, in a fixed order, with its sums in registers; parts are
joined in order by `join_kernel`. So results are deterministic in O(N) memory. `fused` computes S twice, `chunked` once.
"""

from __future__ import annotations

import triton
import triton.language as tl

from .terms import complement_terms, finite, share
from .tiles import FARTHEST, same_id, shifted, tile_of_scores

# What is gathered of each row, in up to four numbers.
HINGE = tl.constexpr(0)  # sum of [s + gap]+, how many are positive
SOFTMAX = tl.constexpr(1)  # largest, second largest, sum exp((s - second) / tau) without the largest, its column's bits
WEIGHTED = tl.constexpr(2)  # of the same id: largest, sum e (s - largest), sum e with e = exp((s - largest) / tau)
COMPLEMENT = tl.constexpr(3)  # sum f(p), sum p f'(p), both without the largest
KINDS = {"hinge": HINGE.value, "softmax": SOFTMAX.value, "weighted": WEIGHTED.value, "complement": COMPLEMENT.value}
NUMBERS = 4
EXCHANGED = {"none": "none", "row": "col", "col": "row", "matrix": "matrix"}


@triton.jit
def _join(a, b, c, d, a2, b2, c2, d2, rate, KIND: tl.constexpr):
    """Numbers of two sets of columns as those of their union."""
    if KIND == SOFTMAX:
        over = a2 > a
        lower = tl.where(over, a, a2)
        second = tl.maximum(tl.maximum(b, b2), lower)
        base = finite(second)
        rest = c * tl.exp((b - base) * rate) + c2 * tl.exp((b2 - base) * rate) + tl.exp((lower - base) * rate)
        return tl.where(over, a2, a), second, rest, tl.where(over, d2, d)
    elif KIND == WEIGHTED:
        largest = tl.maximum(a, a2)
        from_first, from_second = finite(a - finite(largest)), finite(a2 - finite(largest))
        first, second = tl.exp(from_first * rate), tl.exp(from_second * rate)
        return largest, first * (b + c * from_first) + second * (b2 + c2 * from_second), first * c + second * c2, d
    else:
        return a + a2, b + b2, c + c2, d


@triton.jit
def _softmax_of_tile(scores, negative, columns, rate):
    scores = tl.where(negative, scores, float("-inf"))
    top = tl.max(scores, axis=1)
    index = tl.min(tl.where(scores == top[:, None], columns[None, :], FARTHEST), axis=1)
    others = tl.where(columns[None, :] == index[:, None], float("-inf"), scores)
    second = tl.max(others, axis=1)
    rest = tl.sum(tl.exp((others - finite(second)[:, None]) * rate), axis=1)
    return top, second, rest, index.to(tl.float32, bitcast=True)


@triton.jit
def _weighted_of_tile(scores, positive, rate):
    largest = tl.max(tl.where(positive, scores, float("-inf")), axis=1)
    below = tl.where(positive, scores - finite(largest)[:, None], 0.0)
    weight = tl.where(positive, tl.exp(below * rate), 0.0)
    return largest, tl.sum(weight * below, axis=1), tl.sum(weight, axis=1)


@triton.jit
def _load_numbers(table, places, count, stride):
    a = tl.load(table + places, mask=places < count, other=0.0)
    b = tl.load(table + stride + places, mask=places < count, other=0.0)
    c = tl.load(table + 2 * stride + places, mask=places < count, other=0.0)
    d = tl.load(table + 3 * stride + places, mask=places < count, other=0.0)
    return a, b, c, d


@triton.jit
def _store_numbers(table, places, count, stride, a, b, c, d):
    tl.store(table + places, a, mask=places < count)
    tl.store(table + stride + places, b, mask=places < count)
    tl.store(table + 2 * stride + places, c, mask=places < count)
    tl.store(table + 3 * stride + places, d, mask=places < count)


@triton.jit
def gather_kernel(
    x,
    y,
    row_ids,
    column_ids,
    margin,
    known,
    state,
    N,
    M,
    D,
    x_stride,
    y_stride,
    margin_row_stride,
    margin_column_stride,
    known_stride,
    part_stride,
    number_stride,
    part_columns,
    first_column,
    rate,
    q,
    BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_K: tl.constexpr,
    SHIFT: tl.constexpr,
    KIND: tl.constexpr,
    F: tl.constexpr,
    PRECISION: tl.constexpr,
    WIDE: tl.constexpr,
    LOADED: tl.constexpr,
):
    """Add part `program_id(1)` of the columns to the state (parts, 4, N). Column c here is first_column + c of all.

    known (4, N): for HINGE the gap m_i - s_ii; for COMPLEMENT largest, second largest, p of a score of the second
    largest, and the bits of the largest's column.
    """
    rows = tl.program_id(0) * BLOCK_M + tl.arange(0, BLOCK_M)
    part = tl.program_id(1)
    here = state + part.to(tl.int64) * part_stride
    a, b, c, d = _load_numbers(here, rows, N, number_stride)
    if KIND == HINGE:
        gap = tl.load(known + rows, mask=rows < N, other=0.0)
    if KIND == COMPLEMENT:
        _largest, base, scale, bits = _load_numbers(known, rows, N, known_stride)
        top = bits.to(tl.int32, bitcast=True)
    for first in range(part * part_columns, tl.minimum(M, (part + 1) * part_columns), BLOCK_N):
        columns = first + tl.arange(0, BLOCK_N)
        scores = tile_of_scores(x, y, rows, columns, N, M, D, x_stride, y_stride, BLOCK_K, PRECISION, WIDE, LOADED)
        scores = shifted(scores, margin, rows, columns, N, M, margin_row_stride, margin_column_stride, SHIFT)
        same, valid = same_id(row_ids, column_ids, rows, columns, N, M)
        negative = valid & (same == 0)
        if KIND == HINGE:
            hinge = scores + gap[:, None]
            counts = negative & ((hinge <= 0.0) == 0)
            a += tl.sum(tl.where(counts, hinge, 0.0), axis=1)
            b += tl.sum(counts.to(tl.float32), axis=1)
        elif KIND == SOFTMAX:
            a2, b2, c2, d2 = _softmax_of_tile(scores, negative, columns + first_column, rate)
            a, b, c, d = _join(a, b, c, d, a2, b2, c2, d2, rate, KIND)
        elif KIND == WEIGHTED:
            a2, b2, c2 = _weighted_of_tile(scores, valid & same, rate)
            a, b, c, d = _join(a, b, c, d, a2, b2, c2, d, rate, KIND)
        else:
            p = share(scores, base[:, None], scale[:, None], rate)
            counts = negative & ((columns + first_column)[None, :] != top[:, None])
            value, slope, _weight = complement_terms(p, q, F)
            a += tl.sum(tl.where(counts, value, 0.0), axis=1)
            b += tl.sum(tl.where(counts, slope, 0.0), axis=1)
    _store_numbers(here, rows, N, number_stride, a, b, c, d)


@triton.jit
def join_kernel(state, N, parts, part_stride, number_stride, rate, BLOCK: tl.constexpr, KIND: tl.constexpr):
    """Join all parts, in order, in the first."""
    rows = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    a, b, c, d = _load_numbers(state, rows, N, number_stride)
    part = state
    for _ in range(1, parts):
        part += part_stride
        a2, b2, c2, d2 = _load_numbers(part, rows, N, number_stride)
        a, b, c, d = _join(a, b, c, d, a2, b2, c2, d2, rate, KIND)
    _store_numbers(state, rows, N, number_stride, a, b, c, d)
