"""Hinge triplet losses over a score matrix: the readable truth (METHODS 2.2, 8).

S (B, B) holds images in rows and captions in columns. With cs, ci of `pcsr_fast.reference.hinge`, per sample i:

    l_i = reduce_j cs_ij + reduce_k ci_ki        reduce = hardest | mean | sum | topk:k, over negatives
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from pcsr_fast.reference.hinge import Margin, hinge_terms
from pcsr_fast.reference.reduction import compute_dtype, reduce_losses
from pcsr_fast.reference.selection import direction_weights


class TripletParts(NamedTuple):
    """Row part (B,) and column part (B,) of the loss; their negatives' indices (B,) int64, empty unless "hardest"."""

    row: Tensor
    column: Tensor
    row_index: Tensor
    column_index: Tensor


def triplet_parts(
    S: Tensor,
    margin: Margin = 0.2,
    margin_mode: str = "anchor",
    negatives: str = "hardest",
    groups: Tensor | None = None,
) -> TripletParts:
    """Both parts of l_i = row_i + column_i, differentiable in S and margin, with the hardest negatives' indices."""
    cs, ci = hinge_terms(S, margin, margin_mode, groups)
    rows, columns = direction_weights(S, (cs, ci), margin, margin_mode, negatives, groups)
    if negatives == "hardest":
        row_index = rows.argmax(1).masked_fill(rows.sum(1) == 0, -1)
        column_index = columns.argmax(0).masked_fill(columns.sum(0) == 0, -1)
    else:
        row_index, column_index = (torch.empty(0, dtype=torch.int64, device=S.device) for _ in range(2))
    return TripletParts((cs * rows).sum(1), (ci * columns).sum(0), row_index, column_index)


def triplet_loss_from_scores(
    S: Tensor,
    *,
    margin: Margin = 0.2,
    margin_mode: str = "anchor",
    negatives: str = "hardest",
    groups: Tensor | None = None,
    reduction: str = "mean",
) -> Tensor:
    """Triplet loss of a ready-made S (B, B): per-sample (B,) under reduction="none", else a scalar.

    `margin` is a number, (B,) or (B, B) as `margin_mode` says; `groups` (B,) integers make pairs of one id no
    negatives. "mean" divides by B, masked zeros included. The result is at least float32.
    """
    parts = triplet_parts(S, margin, margin_mode, negatives, groups)
    return reduce_losses(parts.row + parts.column, reduction)


def triplet_loss(
    x: Tensor,
    y: Tensor,
    *,
    margin: Margin = 0.2,
    margin_mode: str = "anchor",
    negatives: str = "hardest",
    groups: Tensor | None = None,
    reduction: str = "mean",
) -> Tensor:
    """The same loss of S = x y^T for image embeddings x (B, D) and caption embeddings y (B, D)."""
    dtype = compute_dtype(x.dtype)
    parts = triplet_parts(x.to(dtype) @ y.to(dtype).T, margin, margin_mode, negatives, groups)
    return reduce_losses(parts.row + parts.column, reduction)
