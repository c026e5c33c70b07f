"""The analytic gradient of the triplet losses, as the ops' backward uses it (METHODS 2.2; KERNELS 1, K1)."""

from __future__ import annotations

import torch
from torch import Tensor

from pcsr_fast.reference.hinge import hinge_terms
from pcsr_fast.reference.reduction import compute_dtype
from pcsr_fast.reference.selection import direction_weights


def margin_gradient(by_cs: Tensor, by_ci: Tensor, margin: Tensor, margin_mode: str) -> Tensor:
    """dL/dmargin in the margin's shape from dL/dcs and dL/dci (B, B)."""
    both = by_cs + by_ci
    if margin.ndim == 0:
        gradient = both.sum()
    elif margin_mode == "anchor":
        gradient = by_cs.sum(1) + by_ci.sum(0)
    elif margin_mode == "matrix":
        gradient = both
    else:
        gradient = both.sum(1 if margin_mode == "row" else 0)
    return gradient.to(margin.dtype)


def score_gradients(
    by_row: Tensor,
    by_column: Tensor,
    S: Tensor,
    margin: Tensor,
    margin_mode: str,
    negatives: str,
    groups: Tensor | None,
) -> tuple[Tensor, Tensor]:
    """(dL/dS (B, B), dL/dmargin) from the upstream gradients (B,) of the row and the column parts.

    With selection weights W, V of cs, ci and 1[.] marking active hinges:
        A = by_row_i W_ij 1[cs_ij > 0],  C = by_column_j V_ij 1[ci_ij > 0]
        dS = A + C - diag(sum_j A_ij + sum_i C_ij)
    """
    cs, ci = hinge_terms(S, margin, margin_mode, groups)
    rows, columns = direction_weights(S, (cs, ci), margin, margin_mode, negatives, groups)
    by_cs = by_row[:, None] * rows * (cs > 0)
    by_ci = by_column[None, :] * columns * (ci > 0)
    dS = by_cs + by_ci - torch.diag(by_cs.sum(1) + by_ci.sum(0))
    return dS, margin_gradient(by_cs, by_ci, margin, margin_mode)


def hardest_margin_gradient(
    row: Tensor, column: Tensor, row_index: Tensor, column_index: Tensor, margin: Tensor, margin_mode: str
) -> Tensor:
    """dL/dmargin where each anchor has one negative: `row`, `column` (B,) are the active upstream gradients."""
    dtype = compute_dtype(margin.dtype)
    if margin.ndim == 0:
        return (row.sum() + column.sum()).to(margin.dtype)
    if margin_mode == "anchor":
        return (row + column).to(margin.dtype)
    here, row_index, column_index = torch.arange(row.shape[0], device=row.device), row_index.long(), column_index.long()
    gradient = torch.zeros(margin.shape, dtype=dtype, device=margin.device)
    if margin_mode == "matrix":
        gradient.index_put_((here, row_index), row.to(dtype), accumulate=True)
        gradient.index_put_((column_index, here), column.to(dtype), accumulate=True)
    elif margin_mode == "row":
        gradient.add_(row).index_add_(0, column_index, column.to(dtype))
    else:
        gradient.add_(column).index_add_(0, row_index, row.to(dtype))
    return gradient.to(margin.dtype)
