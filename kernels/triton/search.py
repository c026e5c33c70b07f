"""Hardest negatives of rows and columns in one pass over S = X Y^T (KERNELS 1, K1).

Every tile's maxima are merged by 64-bit atomic maxima of (score, lowest index), whose order does not matter: the result
is deterministic. `fused` computes the tiles, `chunked` reads them from products of cuBLAS, some rows at a time.
"""

from __future__ import annotations

import torch
from torch import Tensor

import triton
import triton.language as tl

from .launch import Plan, Sides, Source, programs, sources
from .tiles import (
    COLUMN_SHIFT,
    FARTHEST,
    MATRIX_SHIFT,
    MINUS_INFINITY_KEY,
    NO_SHIFT,
    ROW_SHIFT,
    corner_of_tile,
    first_of,
    largest_of_columns,
    largest_of_rows,
    number_of_tiles,
    order_of,
    own_scores_kernel,
    packed,
    same_id,
    score_of,
    shifted,
    tile_of_scores,
    unpacked,
)

SHIFTS = {"none": NO_SHIFT.value, "row": ROW_SHIFT.value, "col": COLUMN_SHIFT.value, "matrix": MATRIX_SHIFT.value}
Found = tuple[Tensor, Tensor]


@triton.jit
def search_kernel(
    x,
    y,
    row_ids,
    column_ids,
    margin,
    row_best,
    column_best,
    N,
    M,
    D,
    x_stride,
    y_stride,
    margin_stride,
    first_row,
    BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_K: tl.constexpr,
    GROUP: tl.constexpr,
    SHIFT: tl.constexpr,
    PRECISION: tl.constexpr,
    WIDE: tl.constexpr,
    LOADED: tl.constexpr,
    OWN: tl.constexpr,
):
    """Best packed (score, index) of N rows and M columns. Row r of the block is row first_row + r of the whole.

    OWN: there are no ids, a row's group is its own column: only tiles on the diagonal or at an edge are masked.
    """
    tiles = number_of_tiles(N, M, BLOCK_M, BLOCK_N)
    for tile in range(tl.program_id(0).to(tl.int64), tiles, tl.num_programs(0)):
        top, left = corner_of_tile(tile, N, M, GROUP, BLOCK_M, BLOCK_N)
        rows, columns = top + tl.arange(0, BLOCK_M), left + tl.arange(0, BLOCK_N)
        scores = tile_of_scores(x, y, rows, columns, N, M, D, x_stride, y_stride, BLOCK_K, PRECISION, WIDE, LOADED)
        scores = shifted(scores, margin, rows, columns, N, M, margin_stride, 1, SHIFT)
        if OWN:
            if (top + first_row < left + BLOCK_N) & (left < top + first_row + BLOCK_M):
                scores = tl.where((rows + first_row)[:, None] != columns[None, :], scores, float("-inf"))
        else:
            same, _valid = same_id(row_ids, column_ids, rows, columns, N, M)
            scores = tl.where(same, float("-inf"), scores)
        if (top + BLOCK_M > N) | (left + BLOCK_N > M):
            scores = tl.where((rows < N)[:, None] & (columns < M)[None, :], scores, float("-inf"))
        of_row, column = largest_of_rows(scores)
        nan_row = tl.full((BLOCK_N,), FARTHEST, tl.int32)
        if tl.max((of_row != of_row).to(tl.int32), 0) > 0:
            column = tl.minimum(column, first_of(scores != scores, tl.arange(0, BLOCK_N)[None, :], 1))
            nan_row = first_of(scores != scores, tl.arange(0, BLOCK_M)[:, None], 0)
        of_column, row = largest_of_columns(scores)
        best = packed(order_of(of_row), left + column)
        tl.atomic_max(row_best + rows, best, mask=rows < N, sem="relaxed")
        best = packed(order_of(of_column), top + first_row + tl.minimum(row, nan_row))
        tl.atomic_max(column_best + columns, best, mask=columns < M, sem="relaxed")


@triton.jit
def unpack_kernel(best, values, indices, N, BLOCK: tl.constexpr):
    """Scores and int64 indices of packed bests; -infinity and -1 where there is none."""
    places = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    key, index = unpacked(tl.load(best + places, mask=places < N, other=0))
    some = key > MINUS_INFINITY_KEY
    tl.store(values + places, tl.where(some, score_of(key), float("-inf")), mask=places < N)
    tl.store(indices + places, tl.where(some, index, -1), mask=places < N)


def own_scores(sides: Sides, plan: Plan, rows_of: Tensor | None = None, out: Tensor | None = None) -> Tensor:
    """Scores float32 of row j with column j, or of row rows_of[j] (M,), to the bit what the tiles of `plan` see.

    out: where those of embeddings go.
    """
    count = min(sides.shape) if rows_of is None else sides.shape[1]
    if sides.y is None:
        return (sides.x.diagonal() if rows_of is None else sides.x.gather(0, rows_of[None])[0]).float()
    own = torch.empty(count, dtype=torch.float32, device=sides.x.device) if out is None else out
    grid = (triton.cdiv(count, min(plan.block_m, plan.block_n)),)
    own_scores_kernel[grid](
        rows_of=own if rows_of is None else rows_of,
        own=own,
        N=sides.x.shape[0],
        M=count,
        CHOSEN=rows_of is not None,
        **Source(sides.x, sides.y).operands,
        **plan.tile,
        **plan.launch,
    )
    return own


def _unpacked(best: Tensor) -> Found:
    values = torch.empty(best.shape, dtype=torch.float32, device=best.device)
    indices = torch.empty(best.shape, dtype=torch.int64, device=best.device)
    unpack_kernel[(triton.cdiv(best.shape[0], 1024),)](best, values, indices, best.shape[0], BLOCK=1024)
    return values, indices


def _bests(rows: int, columns: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Below every packed score."""
    nothing = torch.full((rows + columns,), -(2**63), dtype=torch.int64, device=device)
    return nothing[:rows], nothing[rows:]


def hardest(
    sides: Sides, plan: Plan, margin: Tensor | None = None, shift: str = "none", own: Tensor | None = None
) -> tuple[Found, Found]:
    """(values, indices) of the rows (N,) and of the columns (M,) of x y^T, after `margin` is added as `shift` says.

    margin: float32, (N,) for row, (M,) for col, (N, M) with neighbouring columns for matrix. `own` (N,), if given,
    takes the scores of pairs as they are computed for the search. Values -infinity, indices -1 without a negative.
    """
    by_row, by_column = _bests(*sides.shape, sides.x.device)
    for rows, source in sources(sides, plan):
        if own is not None and source.y is not None:
            own_scores(sides, plan, out=own)
        elif own is not None:
            own[rows] = source.x.diagonal(rows.start)
        here = margin if margin is None or shift == "col" else margin[rows]
        _launch(plan, source, sides.ids_of(rows), here, shift, (by_row[rows], by_column), rows.start)
    return _unpacked(by_row), _unpacked(by_column)


def _launch(
    plan: Plan,
    source: Source,
    ids: tuple[Tensor, Tensor] | None,
    margin: Tensor | None,
    shift: str,
    best: tuple[Tensor, Tensor],
    first_row: int,
) -> None:
    N, M = best[0].shape[0], best[1].shape[0]
    search_kernel[(programs(plan, N, M, source.x.device),)](
        row_ids=ids[0] if ids is not None else source.x,
        column_ids=ids[1] if ids is not None else source.x,
        margin=margin if margin is not None else source.x,
        row_best=best[0],
        column_best=best[1],
        N=N,
        M=M,
        margin_stride=margin.stride(0) if margin is not None and margin.ndim == 2 else 0,
        first_row=first_row,
        **source.operands,
        **plan.tile,
        GROUP=plan.group,
        SHIFT=SHIFTS[shift],
        OWN=ids is None,
        **plan.launch,
    )
