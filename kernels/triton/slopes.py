"""From a block of scores to dL/dS of it, then to dL/dX and dL/dY by two products (KERNELS 1; METHODS 2.2, 7)."""

from __future__ import annotations

import torch
from torch import Tensor

import triton
import triton.language as tl

from .gather import HINGE, KINDS, SOFTMAX
from .launch import Plan, Sides, product
from .sweep import Gathered, Shift
from .terms import complement_terms, share
from .tiles import same_id, shifted


@triton.jit
def _number(known, places, count, stride, NUMBER: tl.constexpr, AXIS: tl.constexpr):
    values = tl.load(known + NUMBER * stride + places, mask=places < count, other=0.0)
    return values[:, None] if AXIS == 0 else values[None, :]


@triton.jit
def _slope(
    scores, same, known, places, across, count, stride, rate, q, AXIS: tl.constexpr, KIND: tl.constexpr, F: tl.constexpr
):
    """dL/ds of one direction: anchors are the rows (AXIS 0) or the columns, `across` numbers the other side.

    known: HINGE gap, weight. SOFTMAX score, weight of negatives: weight exp((s - score) / tau), then the same of others.
    COMPLEMENT second largest, p of a score of that, sum p f'(p) without the largest, what exp((s - second) / tau) of
    another entry takes from the largest, dL/ds of the largest, factor of the whole, bits of the largest's place.
    """
    first = _number(known, places, count, stride, 0, AXIS)
    second = _number(known, places, count, stride, 1, AXIS)
    if KIND == HINGE:
        return tl.where((same == 0) & (scores + first > 0.0), second, 0.0)
    elif KIND == SOFTMAX:
        base = tl.where(same, _number(known, places, count, stride, 2, AXIS), first)
        weight = tl.where(same, _number(known, places, count, stride, 3, AXIS), second)
        return weight * tl.exp((scores - base) * rate)
    else:
        weight = tl.exp((scores - first) * rate)
        p = share(scores, first, second, rate)
        _, own, base = complement_terms(p, q, F)
        slopes = _number(known, places, count, stride, 2, AXIS)
        taken = weight * _number(known, places, count, stride, 3, AXIS)
        bits = _number(known, places, count, stride, 6, AXIS)
        largest = across == bits.to(tl.int32, bitcast=True)
        slope = tl.where(largest, _number(known, places, count, stride, 4, AXIS), base - p * (slopes - own) - taken)
        return tl.where(same, 0.0, _number(known, places, count, stride, 5, AXIS) * slope)


@triton.jit
def slopes_kernel(
    scores,
    out,
    row_ids,
    column_ids,
    margin,
    by_row,
    by_column,
    own,
    N,
    M,
    row_stride,
    column_stride,
    out_stride,
    margin_row_stride,
    margin_column_stride,
    row_known_stride,
    column_known_stride,
    first_row,
    rate,
    q,
    BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr,
    SHIFT: tl.constexpr,
    KIND: tl.constexpr,
    F: tl.constexpr,
    OWN: tl.constexpr,
):
    """dL/dS of N rows, the first of them row `first_row` of all. OWN: the diagonal's is given, own (N,)."""
    rows = tl.program_id(1) * BLOCK_M + tl.arange(0, BLOCK_M)  # few: the second number of a grid is 16 bits
    columns = tl.program_id(0) * BLOCK_N + tl.arange(0, BLOCK_N)
    same, valid = same_id(row_ids, column_ids, rows, columns, N, M)
    places = rows.to(tl.int64)[:, None] * row_stride + columns.to(tl.int64)[None, :] * column_stride
    values = tl.load(scores + places, mask=valid, other=0.0).to(tl.float32)
    values = shifted(values, margin, rows, columns, N, M, margin_row_stride, margin_column_stride, SHIFT)
    slope = _slope(values, same, by_row, rows, columns[None, :], N, row_known_stride, rate, q, 0, KIND, F)
    across = (rows + first_row)[:, None]
    slope += _slope(values, same, by_column, columns, across, M, column_known_stride, rate, q, 1, KIND, F)
    if OWN:
        diagonal = tl.load(own + rows, mask=rows < N, other=0.0)[:, None]
        slope = tl.where(across == columns[None, :], diagonal, slope)
    to = rows.to(tl.int64)[:, None] * out_stride + columns[None, :]
    tl.store(out + to, slope.to(out.dtype.element_ty), mask=valid)


def _stored(dtype: torch.dtype) -> torch.dtype:
    """Of dL/dS: bfloat16 beside such inputs, for products on tensor cores; float16 would overflow under a loss scale."""
    return torch.bfloat16 if dtype == torch.bfloat16 else torch.float32


def slopes_of(
    what: Gathered,
    scores: Tensor,
    rows: slice,
    ids: tuple[Tensor, Tensor],
    known: tuple[Tensor, Tensor],
    plan: Plan,
    shift: Shift,
    own: Tensor | None = None,
    dtype: torch.dtype = torch.float32,
    spare: bool = True,
) -> Tensor:
    """dL/dS (len(rows), M) of a block of scores, if they can be spared in their place where the dtype allows it."""
    kept = spare and scores.dtype == torch.float32 == _stored(dtype)
    out = scores if kept else torch.empty(scores.shape, dtype=_stored(dtype), device=scores.device)
    by_row, by_column = known[0][:, rows], known[1]
    grid = (triton.cdiv(scores.shape[1], plan.block_n), triton.cdiv(scores.shape[0], plan.block_m))
    slopes_kernel[grid](
        scores=scores,
        out=out,
        row_ids=ids[0][rows],
        column_ids=ids[1],
        by_row=by_row,
        by_column=by_column,
        own=by_row if own is None else own[rows],
        N=scores.shape[0],
        M=scores.shape[1],
        row_stride=scores.stride(0),
        column_stride=scores.stride(1),
        out_stride=out.stride(0),
        row_known_stride=by_row.stride(0),
        column_known_stride=by_column.stride(0),
        first_row=rows.start,
        rate=what.rate,
        q=what.q,
        BLOCK_M=plan.block_m,
        BLOCK_N=plan.block_n,
        KIND=KINDS[what.kind],
        F=what.f,
        OWN=own is not None,
        **shift.of_rows(rows).operands(by_row),
        **plan.launch,
    )
    return out


class Gradients:
    """dL/dX (N, D) and dL/dY (M, D) in float32, from dL/dS of some rows at a time."""

    def __init__(self, sides: Sides) -> None:
        assert sides.y is not None
        narrow = _stored(sides.x.dtype) == sides.x.dtype
        self.x, self.y = (sides.x, sides.y) if narrow else (sides.x.float(), sides.y.float())
        self.dx = torch.empty(self.x.shape, dtype=torch.float32, device=self.x.device)
        self.dy = torch.zeros(self.y.shape, dtype=torch.float32, device=self.y.device)

    def add(self, rows: slice, slopes: Tensor) -> None:
        """Add the part of some rows."""
        self.dx[rows] = product(slopes, self.y.T)
        self.dy += product(slopes.T, self.x[rows].T)
