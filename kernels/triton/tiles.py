"""Tiles of S = X Y^T and what all kernels do with one: bounds, negatives, margins, the order of scores (KERNELS 1).

A tile is computed with float32 accumulators or read from a ready-made block of scores (`LOADED`), so that one epilogue
serves both schedules. `WIDE` widens half-precision inputs right after their load: Triton's interpreter multiplies the
bit patterns of bfloat16.
"""

from __future__ import annotations

import triton
import triton.language as tl

NO_SHIFT = tl.constexpr(0)
ROW_SHIFT = tl.constexpr(1)
COLUMN_SHIFT = tl.constexpr(2)
MATRIX_SHIFT = tl.constexpr(3)

NAN_KEY = tl.constexpr(2**31 - 1)
MINUS_INFINITY_KEY = tl.constexpr(0x007FFFFF - 2**31)
FARTHEST = tl.constexpr(2**31 - 1)
BEYOND = tl.constexpr(2.0**30)  # any place, and a number that an int32 holds
LOW_HALF = tl.constexpr(2**32 - 1)


@triton.jit
def corner_of_tile(tile, N, M, GROUP: tl.constexpr, BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr):
    """First row and column of a tile by its number (int64); GROUP rows of tiles are walked column by column.

    So their operands stay in the second-level cache.
    """
    row_tiles, column_tiles = tl.cdiv(N, BLOCK_M), tl.cdiv(M, BLOCK_N)
    band = tile // (GROUP * column_tiles)
    height = tl.minimum(row_tiles - band * GROUP, GROUP)
    inside = tile % (GROUP * column_tiles)
    return ((band * GROUP + inside % height) * BLOCK_M).to(tl.int32), ((inside // height) * BLOCK_N).to(tl.int32)


@triton.jit
def number_of_tiles(N, M, BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr):
    """int64: there may be more than an int32 counts."""
    return tl.cast(tl.cdiv(N, BLOCK_M), tl.int64) * tl.cdiv(M, BLOCK_N)


@triton.jit
def _product(x, y, rows, columns, N, M, D, x_stride, y_stride, BLOCK_K: tl.constexpr, PRECISION: tl.constexpr, WIDE):
    product = tl.zeros((rows.shape[0], columns.shape[0]), tl.float32)
    x_rows = x + rows.to(tl.int64)[:, None] * x_stride
    y_rows = y + columns.to(tl.int64)[None, :] * y_stride
    for k in range(0, D, BLOCK_K):
        inner = k + tl.arange(0, BLOCK_K)
        a = tl.load(x_rows + inner[None, :], mask=(rows < N)[:, None] & (inner < D)[None, :], other=0.0)
        b = tl.load(y_rows + inner[:, None], mask=(columns < M)[None, :] & (inner < D)[:, None], other=0.0)
        if WIDE:
            a, b = a.to(tl.float32), b.to(tl.float32)
        product = tl.dot(a, b, product, input_precision=PRECISION)
    return product


@triton.jit
def tile_of_scores(
    x,
    y,
    rows,
    columns,
    N,
    M,
    D,
    x_stride,
    y_stride,
    BLOCK_K: tl.constexpr,
    PRECISION: tl.constexpr,
    WIDE: tl.constexpr,
    LOADED: tl.constexpr,
):
    """float32 scores of `rows` with `columns`; anything where one is out of bounds.

    `LOADED`: x is a matrix of scores, its strides x_stride between rows and y_stride between columns, y is not read.
    """
    if LOADED:
        places = rows.to(tl.int64)[:, None] * x_stride + columns.to(tl.int64)[None, :] * y_stride
        inside = (rows < N)[:, None] & (columns < M)[None, :]
        return tl.load(x + places, mask=inside, other=0.0).to(tl.float32)
    else:
        return _product(x, y, rows, columns, N, M, D, x_stride, y_stride, BLOCK_K, PRECISION, WIDE)


@triton.jit
def same_id(row_ids, column_ids, rows, columns, N, M):
    """Which entries belong to one group, and which lie inside the matrix: two masks of the tile."""
    row_id = tl.load(row_ids + rows, mask=rows < N, other=0)
    column_id = tl.load(column_ids + columns, mask=columns < M, other=0)
    return row_id[:, None] == column_id[None, :], (rows < N)[:, None] & (columns < M)[None, :]


@triton.jit
def shifted(scores, margin, rows, columns, N, M, row_stride, column_stride, SHIFT: tl.constexpr):
    """Scores with the margin of the row, the column or the entry added."""
    if SHIFT == ROW_SHIFT:
        scores += tl.load(margin + rows, mask=rows < N, other=0.0)[:, None]
    elif SHIFT == COLUMN_SHIFT:
        scores += tl.load(margin + columns, mask=columns < M, other=0.0)[None, :]
    elif SHIFT == MATRIX_SHIFT:
        places = rows.to(tl.int64)[:, None] * row_stride + columns.to(tl.int64)[None, :] * column_stride
        inside = (rows < N)[:, None] & (columns < M)[None, :]
        scores += tl.load(margin + places, mask=inside, other=0.0)
    return scores


@triton.jit
def order_of(scores):
    """int32 keys in the order of float32 scores: both zeros alike, NaN above everything, as in torch.argmax."""
    bits = tl.where(scores == 0.0, 0.0, scores).to(tl.int32, bitcast=True)
    keys = tl.where(bits >= 0, bits, bits ^ 0x7FFFFFFF)
    return tl.where(scores == scores, keys, NAN_KEY)


@triton.jit
def score_of(keys):
    """The score that has this key."""
    return tl.where(keys >= 0, keys, keys ^ 0x7FFFFFFF).to(tl.float32, bitcast=True)


@triton.jit
def larger(a, b):
    """NaN if either is."""
    return tl.maximum(a, b, propagate_nan=tl.PropagateNan.ALL)


@triton.jit
def first_of(holds, places, AXIS: tl.constexpr):
    """The lowest of the places along an axis that hold, or FARTHEST."""
    return tl.min(tl.where(holds, places, FARTHEST), axis=AXIS)


@triton.jit
def largest_of_rows(scores):
    """Of each row of a tile the largest score, NaN if there is one, and its first column; BEYOND or more with NaN.

    In a tile of 256 rows, of which a thread holds many columns, only the half that it stands in is searched.
    """
    HALF: tl.constexpr = scores.shape[1] // 2
    if scores.shape[0] > 128:
        left, right = tl.split(tl.permute(tl.reshape(scores, (scores.shape[0], 2, HALF)), (0, 2, 1)))
        of_left, of_right = tl.reduce(left, 1, larger), tl.reduce(right, 1, larger)
        largest = larger(of_left, of_right)
        on_left = of_left == largest
        half = tl.where(on_left[:, None], left, right)
        place = first_of(half == largest[:, None], tl.arange(0, HALF)[None, :], 1)
        place = tl.where(on_left | (place == FARTHEST), place, place + HALF)
    else:
        largest = tl.reduce(scores, 1, larger)
        place = first_of(scores == largest[:, None], tl.arange(0, 2 * HALF)[None, :], 1)
    return largest, place


@triton.jit
def _halves(values):
    """Two halves of the middle axis of (., 8, .). The split hands more rows of a column to one thread."""
    W: tl.constexpr = values.shape[0]
    N: tl.constexpr = values.shape[2]
    return tl.split(tl.permute(tl.reshape(values, (W, 2, 4, N)), (0, 2, 3, 1)))


@triton.jit
def _largest_of_four(held):
    """Of rows 0, 8, 128 and 136, (., 8, N, 2, 2), by comparing pairs; the first such row, any with NaN.

    In float32, of which the compiler leaves a choice between two constants one instruction.
    """
    above, below = tl.split(held)
    of_first, of_second = tl.split(larger(above, below))
    first, second = tl.split(above)
    largest = larger(of_first, of_second)
    in_first = of_first == largest
    in_above = tl.where(in_first, first, second) == largest
    return largest, tl.where(in_first, tl.where(in_above, 0.0, 8.0), tl.where(in_above, 128.0, 136.0))


@triton.jit
def largest_of_columns(scores):
    """The same of each column, its first row.

    Where tensor cores leave a tile, a thread holds rows 8 and 128 apart: it reduces these before any others.
    """
    N: tl.constexpr = scores.shape[1]
    S: tl.constexpr = scores.shape[0] if scores.shape[0] < 128 else 128
    R: tl.constexpr = scores.shape[0] // S
    held = tl.permute(tl.reshape(scores, (R, S // 16, 2, 8, N)), (1, 3, 4, 0, 2))
    if R == 2:
        largest, place = _largest_of_four(held)
    else:
        held = tl.reshape(held, (S // 16, 8, N, 2))
        largest = tl.reduce(held, 3, larger)
        place = first_of(held == largest[:, :, :, None], tl.arange(0, 2)[None, None, None, :] * 8, 3)
    place += (tl.arange(0, S // 16)[:, None, None] * 16 + tl.arange(0, 8)[None, :, None]).to(place.dtype)
    above, below = _halves(largest)
    first, second = _halves(place)
    largest = tl.reduce(tl.reduce(larger(above, below), 0, larger), 0, larger)
    first = first_of(above == largest[None, None, :], first, 0)
    second = first_of(below == largest[None, None, :], second, 0)
    place = tl.min(tl.minimum(first, second), 0)
    return largest, tl.minimum(place, BEYOND).to(tl.int32) if R == 2 else place


@triton.jit
def packed(keys, places):
    """int64 numbers whose order is that of the keys, then the lowest place."""
    return (keys.to(tl.int64) << 32) | (LOW_HALF - places.to(tl.int64))


@triton.jit
def unpacked(numbers):
    """Keys and int64 places."""
    return (numbers >> 32).to(tl.int32), (numbers ^ LOW_HALF) & LOW_HALF


@triton.jit
def own_scores_kernel(
    x,
    y,
    rows_of,
    own,
    N,
    M,
    D,
    x_stride,
    y_stride,
    BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_K: tl.constexpr,
    CHOSEN: tl.constexpr,
    PRECISION: tl.constexpr,
    WIDE: tl.constexpr,
    LOADED: tl.constexpr,
):
    """Scores of M columns with one row each, by the same tiles as every other score: row j, or if CHOSEN rows_of[j].

    The smaller side of the tile is the number of pairs it yields.
    """
    STEP: tl.constexpr = BLOCK_M if BLOCK_M < BLOCK_N else BLOCK_N
    first = tl.program_id(0) * STEP
    pairs, columns = first + tl.arange(0, BLOCK_M), first + tl.arange(0, BLOCK_N)
    rows = tl.load(rows_of + pairs, mask=pairs < M, other=0) if CHOSEN else pairs
    scores = tile_of_scores(x, y, rows, columns, N, M, D, x_stride, y_stride, BLOCK_K, PRECISION, WIDE, LOADED)
    diagonal = tl.sum(tl.where(pairs[:, None] == columns[None, :], scores, 0.0), axis=1)
    tl.store(own + pairs, diagonal, mask=(pairs < M) & (pairs < first + STEP))
