"""Triplet losses with checked arguments; the ops themselves are in `_triplet_op` (METHODS 2.2)."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from pcsr_fast.ops import _checks
from pcsr_fast.ops._dispatch import PRECISIONS
from pcsr_fast.ops._triplet_op import triplet_from_scores_op, triplet_op
from pcsr_fast.reference.reduction import reduce_losses
from pcsr_fast.reference.selection import parse_negatives


def _checked(op: str, like: Tensor, margin: Any, mode: str, negatives: str, groups: Tensor | None, red: str) -> Tensor:
    _checks.check_reduction(op, red)
    try:
        parse_negatives(negatives)
    except ValueError as error:
        raise ValueError(f"{op}: {error}") from None
    if groups is not None:
        _checks.check_integers(op, "groups", groups, like.shape[0], like)
    return _checks.margin_tensor(op, margin, mode, like)


def triplet_loss(
    x: Tensor,
    y: Tensor,
    *,
    margin: float | Tensor = 0.2,
    margin_mode: str = "anchor",
    negatives: str = "hardest",
    groups: Tensor | None = None,
    reduction: str = "mean",
    precision: str = "auto",
    backend: str | None = None,
) -> Tensor:
    """Hinge triplet loss of S = x y^T: l_i = reduce_j [m + S_ij - S_ii]+ + reduce_k [m + S_ki - S_ii]+.

    Args:
        x, y: image and caption embeddings (B, D) of one floating dtype and device, used as given; row i is a pair.
        margin: a number or 0-d tensor, (B,) with anchor, row or col, (B, B) with matrix; differentiable.
        margin_mode: scalar, anchor (the anchor's own in both directions), row (the image's), col (the caption's) or
            matrix (the pair's).
        negatives: hardest, mean (divides by B, the pair itself and masked pairs counted as 0), sum, or topk:k (mean of
            the min(k, available) largest hinges). Among equals the lowest index.
        groups: (B,) integers; pairs with equal ids are no negatives of each other. None: only the pair itself is none.
        reduction: mean, sum or none (per-sample (B,)). A sample without a negative has loss 0.
        precision: of the scores. exact: float32 (float64 for such inputs); screened: only what bfloat16 cannot rule out is
            computed so, and the answer is that of exact to the bit; auto: screened where that is faster; bf16: inputs
            rounded to bfloat16. Other negatives than the hardest are computed exactly under screened.
        backend: see `pcsr_fast.backends`.

    Returns:
        float64 for float64 inputs, else float32.

    Raises:
        TypeError, ValueError: an argument of the wrong kind. BackendError: `backend` cannot run it.

    Source: METHODS 2.2.
    """
    _checks.check_embeddings("triplet_loss", x, y)
    m = _checked("triplet_loss", x, margin, margin_mode, negatives, groups, reduction)
    _checks.check_choice("triplet_loss", "precision", precision, PRECISIONS)
    row, column, _, _ = triplet_op(x, y, m, margin_mode, negatives, groups, precision, backend or "")
    return reduce_losses(row + column, reduction)


def triplet_loss_from_scores(
    S: Tensor,
    *,
    margin: float | Tensor = 0.2,
    margin_mode: str = "anchor",
    negatives: str = "hardest",
    groups: Tensor | None = None,
    reduction: str = "mean",
    backend: str | None = None,
) -> Tensor:
    """`triplet_loss` of ready-made scores S (B, B), rows images, columns captions; differentiable in S and margin."""
    _checks.check_square("triplet_loss_from_scores", "S", S)
    m = _checked("triplet_loss_from_scores", S, margin, margin_mode, negatives, groups, reduction)
    row, column, _, _ = triplet_from_scores_op(S, m, margin_mode, negatives, groups, backend or "")
    return reduce_losses(row + column, reduction)
