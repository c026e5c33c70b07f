"""Triplet losses with mean, sum or top-k negatives on the native core, forward and backward in O(B) memory."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from pcsr_fast import native
from pcsr_fast.ops.cpu.arguments import address, group_ids, matrix, rows_in_memory
from pcsr_fast.ops.cpu.search import SHIFTS
from pcsr_fast.reference.reduction import compute_dtype
from pcsr_fast.reference.selection import parse_negatives


def _arguments(
    x: Tensor, y: Tensor, margin: Tensor, margin_mode: str, negatives: str, groups: Tensor | None
) -> tuple[tuple[Any, ...], list[Tensor | None]]:
    """What both calls pass on, and the tensors that must outlive them."""
    dtype, (kind, top) = compute_dtype(x.dtype), parse_negatives(negatives)
    m = margin.detach().to(dtype)
    by_anchor = m.ndim == 0 or margin_mode == "anchor"
    m = (m.expand(x.shape[0]) if m.ndim == 0 else m).contiguous()
    ids = group_ids(groups)[0]
    margins = [0, address(m), address(m)] if by_anchor else [address(m), 0, 0]
    arguments = (
        matrix(x),
        matrix(y),
        address(ids),
        SHIFTS["none" if by_anchor else margin_mode],
        x.shape[0] if m.ndim == 2 else 0,
        margins,
        min(top, x.shape[0]),
        1.0 / x.shape[0] if kind == "mean" else 1.0,
    )
    return arguments, [m, ids]


def hinge(
    x: Tensor, y: Tensor, margin: Tensor, margin_mode: str, negatives: str, groups: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Row part and column part (B,) of the loss."""
    x, y = rows_in_memory(x), rows_in_memory(y)
    arguments, _kept = _arguments(x, y, margin, margin_mode, negatives, groups)
    out = [torch.empty(x.shape[0], dtype=compute_dtype(x.dtype)) for _ in range(2)]
    core = native.load()
    run = core.hinge_f64 if x.dtype == torch.float64 else core.hinge_f32
    run(*arguments, [address(part) for part in out])
    return out[0], out[1]


def hinge_gradient(
    by_row: Tensor,
    by_column: Tensor,
    x: Tensor,
    y: Tensor,
    margin: Tensor,
    margin_mode: str,
    negatives: str,
    groups: Tensor | None,
) -> tuple[Tensor, Tensor, Tensor]:
    """dL/dx, dL/dy (B, D) and dL/dmargin from the upstream gradients (B,) of both parts."""
    dtype, count = compute_dtype(x.dtype), x.shape[0]
    x, y = rows_in_memory(x), rows_in_memory(y)
    arguments, _kept = _arguments(x, y, margin, margin_mode, negatives, groups)
    upstream = [part.to(dtype).contiguous() for part in (by_row, by_column)]
    dx, dy = (torch.empty(side.shape, dtype=dtype) for side in (x, y))
    sums = torch.empty(4, count, dtype=torch.float64)
    by_entry = torch.empty(count, count, dtype=dtype) if margin.ndim == 2 else None
    core = native.load()
    run = core.hinge_gradient_f64 if x.dtype == torch.float64 else core.hinge_gradient_f32
    run(*arguments, [address(part) for part in upstream], [address(value) for value in (dx, dy, sums, by_entry)])
    own = (sums[0] + sums[3])[:, None].to(dtype)  # what leaves the pair's own score
    dx.addcmul_(own, y.to(dtype), value=-1)
    dy.addcmul_(own, x.to(dtype), value=-1)
    return dx, dy, by_entry if by_entry is not None else _margin_gradient(sums, margin, margin_mode)


def _margin_gradient(sums: Tensor, margin: Tensor, margin_mode: str) -> Tensor:
    """dL/dmargin from sums (4, B): of row and column hinges along each row, then along each column."""
    if margin.ndim == 0:
        return sums[:2].sum()
    if margin_mode == "anchor":
        return sums[0] + sums[3]
    return sums[0] + sums[1] if margin_mode == "row" else sums[2] + sums[3]
