"""Triplet losses with mean, sum or top-k negatives on the native core, forward and backward in O(B) memory."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from pcsr_fast.ops.cpu.arguments import address, group_ids, kernel, matrix, rows_in_memory
from pcsr_fast.ops.cpu.search import SHIFTS
from pcsr_fast.reference.reduction import compute_dtype
from pcsr_fast.reference.selection import parse_negatives

NOTHING = (0, 0, 0, 0, 0)


class Problem(NamedTuple):
    """What the core is told, and the tensors that must outlive the call."""

    arguments: tuple[Any, ...]
    kept: list[Tensor | None]


def _problem(
    matrices: list[tuple[int, ...]],
    dtype: torch.dtype,
    margin: Tensor,
    margin_mode: str,
    negatives: str,
    groups: Tensor | None,
) -> Problem:
    """`matrices`: x, y and ready-made scores, one kind of them without data."""
    count, (kind, top) = matrices[0][2], parse_negatives(negatives)
    m = margin.detach().to(dtype)
    by_anchor = m.ndim == 0 or margin_mode == "anchor"
    m = (m.expand(count) if m.ndim == 0 else m).contiguous()
    ids = group_ids(groups)[0]
    arguments = (
        matrices,
        address(ids),
        SHIFTS["none" if by_anchor else margin_mode],
        count if m.ndim == 2 else 0,
        [0, address(m), address(m)] if by_anchor else [address(m), 0, 0],
        min(top, count),
        1.0 / count if kind == "mean" else 1.0,
    )
    return Problem(arguments, [m, ids])


def _of_embeddings(x: Tensor, y: Tensor, *options: Any) -> Problem:
    return _problem([matrix(x), matrix(y), NOTHING], compute_dtype(x.dtype), *options)


def _of_scores(S: Tensor, *options: Any) -> Problem:
    size = (0, matrix(S)[1], S.shape[0], 0, 0)
    return _problem([size, size, matrix(S)], compute_dtype(S.dtype), *options)


def _losses(problem: Problem, count: int, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    out = torch.empty(2, count, dtype=compute_dtype(dtype))
    kernel("hinge", dtype)(problem.arguments, [address(out[0]), address(out[1])])
    return out[0].clone(), out[1].clone()


def hinge(
    x: Tensor, y: Tensor, margin: Tensor, margin_mode: str, negatives: str, groups: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Row part and column part (B,) of the loss of x y^T."""
    x, y = rows_in_memory(x), rows_in_memory(y)
    return _losses(_of_embeddings(x, y, margin, margin_mode, negatives, groups), x.shape[0], x.dtype)


def hinge_of_scores(
    S: Tensor, margin: Tensor, margin_mode: str, negatives: str, groups: Tensor | None
) -> tuple[Tensor, Tensor]:
    """The same of ready-made scores S (B, B)."""
    S = rows_in_memory(S)
    return _losses(_of_scores(S, margin, margin_mode, negatives, groups), S.shape[0], S.dtype)


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
    x, y = rows_in_memory(x.to(dtype)), rows_in_memory(y.to(dtype))
    problem = _of_embeddings(x, y, margin, margin_mode, negatives, groups)
    upstream = [part.to(dtype).contiguous() for part in (by_row, by_column)]
    dx, dy = (torch.empty(side.shape, dtype=dtype) for side in (x, y))
    sums = torch.empty(4, count, dtype=torch.float64)
    by_entry = torch.empty(count, count, dtype=dtype) if margin.ndim == 2 else None
    out = [address(value) for value in (dx, dy, sums, by_entry)]
    kernel("hinge_gradient", x.dtype)(problem.arguments, [address(part) for part in upstream], out)
    own = (sums[0] + sums[3])[:, None].to(dtype)  # what leaves the pair's own score
    dx.addcmul_(own, y, value=-1)
    dy.addcmul_(own, x, value=-1)
    return dx, dy, by_entry if by_entry is not None else _margin_gradient(sums, margin, margin_mode)


def _margin_gradient(sums: Tensor, margin: Tensor, margin_mode: str) -> Tensor:
    """dL/dmargin from sums (4, B): of row and column hinges along each row, then along each column."""
    if margin.ndim == 0:
        return sums[:2].sum()
    if margin_mode == "anchor":
        return sums[0] + sums[3]
    return sums[0] + sums[1] if margin_mode == "row" else sums[2] + sums[3]


def hinge_score_gradient(
    by_row: Tensor,
    by_column: Tensor,
    S: Tensor,
    margin: Tensor,
    margin_mode: str,
    negatives: str,
    groups: Tensor | None,
) -> tuple[Tensor, Tensor]:
    """dL/dS (B, B) and dL/dmargin from the upstream gradients (B,) of both parts."""
    dtype, count = compute_dtype(S.dtype), S.shape[0]
    S = rows_in_memory(S)
    problem = _of_scores(S, margin, margin_mode, negatives, groups)
    upstream = [part.to(dtype).contiguous() for part in (by_row, by_column)]
    dS, own = torch.empty(count, count, dtype=dtype), torch.empty(count, dtype=torch.float64)
    out = [address(dS), address(own)]
    kernel("hinge_score_gradient", S.dtype)(problem.arguments, [address(part) for part in upstream], out)
    if margin.ndim == 0:
        dm = own.sum()
    elif margin_mode == "anchor":
        dm = own
    elif margin_mode == "matrix":
        dm = dS.clone()
    else:
        dm = dS.sum(1 if margin_mode == "row" else 0)
    dS.diagonal().sub_(own.to(dtype))
    return dS, dm
