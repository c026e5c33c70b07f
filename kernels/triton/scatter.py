"""dL/dX and dL/dY of the hardest-negative loss: a gather and a deterministic scatter, no product (KERNELS 1, K1).

    dx_i = r_i (y_j*(i) - y_i) - c_i y_i + sum over k with i*(k) = i of c_k y_k        and dy likewise, sides exchanged

Anchors are sorted by the negative they chose (stable), so each sum is over a run of them, in order, by one program.
Shapes do not depend on data and nothing is copied to the host: CUDA graphs can capture it.
"""

from __future__ import annotations

import torch
from torch import Tensor

import triton
import triton.language as tl

RUN = 8  # anchors added at once; a hub is chosen by many


@triton.jit
def _rows(values, rows, inner, D, stride, mask):
    """Some columns of row `rows` (a number), or of several (a column of numbers), in float32."""
    return tl.load(values + rows.to(tl.int64) * stride + inner, mask=mask & (inner < D), other=0.0).to(tl.float32)


@triton.jit
def scatter_kernel(
    values,
    gathered,
    scattered,
    chosen,
    order,
    edges,
    out,
    D,
    stride,
    out_stride,
    BLOCK_D: tl.constexpr,
    RUN: tl.constexpr,
):
    """Row i of dL/dX from `values` = Y: chosen = j*, gathered = r, scattered = c.

    `order` lists the anchors by what they chose; those that chose i stand at edges[i] to edges[i + 1].
    """
    row = tl.program_id(0)
    inner = tl.program_id(1) * BLOCK_D + tl.arange(0, BLOCK_D)
    r, c = tl.load(gathered + row), tl.load(scattered + row)
    own = _rows(values, row, inner, D, stride, True)
    total = r * (_rows(values, tl.load(chosen + row), inner, D, stride, True) - own) - c * own
    last = tl.load(edges + row + 1)
    for first in range(tl.load(edges + row), last, RUN):
        places = first + tl.arange(0, RUN)
        anchors = tl.load(order + places, mask=places < last, other=0)
        weights = tl.load(scattered + anchors, mask=places < last, other=0.0)
        rows = _rows(values, anchors[:, None], inner[None, :], D, stride, (places < last)[:, None])
        total += tl.sum(weights[:, None] * rows, axis=0)
    tl.store(out + row.to(tl.int64) * out_stride + inner, total.to(out.dtype.element_ty), mask=inner < D)


def _runs(chosen: Tensor, numbers: Tensor) -> tuple[Tensor, Tensor]:
    """Anchors sorted by what they chose, and where the run of each of `numbers` begins, which is where another ends."""
    ascending, order = torch.sort(chosen, stable=True)
    return order, torch.searchsorted(ascending, numbers)


def _side(values: Tensor, gathered: Tensor, scattered: Tensor, chosen: Tensor, order: Tensor, edges: Tensor) -> Tensor:
    count, width = values.shape
    out = torch.empty(count, width, dtype=values.dtype, device=values.device)
    block = min(1024, triton.next_power_of_2(width))
    scatter_kernel[(count, triton.cdiv(width, block))](
        values,
        gathered,
        scattered,
        chosen,
        order,
        edges,
        out,
        width,
        values.stride(0),
        out.stride(0),
        BLOCK_D=block,
        RUN=RUN,
        num_warps=4,
        enable_fp_fusion=False,  # lanes that share a sum round it alike only if none fuses its own product into it
    )
    return out


def hardest_gradients(
    by_row: Tensor, by_column: Tensor, x: Tensor, y: Tensor, row_index: Tensor, column_index: Tensor
) -> tuple[Tensor, Tensor]:
    """dL/dx, dL/dy (N, D) in the dtype of x from float32 upstream (N,) of active hinges and their negatives' indices.

    Of int32 indices: a sort of fewer bits takes fewer launches, which is its time, and less memory.
    """
    numbers = torch.arange(x.shape[0] + 1, device=x.device, dtype=row_index.dtype)
    dx = _side(y, by_row, by_column, row_index, *_runs(column_index, numbers))
    return dx, _side(x, by_column, by_row, column_index, *_runs(row_index, numbers))
