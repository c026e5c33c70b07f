"""Contrastive losses of pairs that come with a label y in [0, 1] (METHODS 7).

p^r = softmax over a row of S/tau, p^c over a column, each over the pair itself and its negatives. Per sample i:

    soft_infonce  1/2 sum_dir [-y_i log p_ii - (1 - y_i) sum_j w_ij log p_ij],  w_ij = S_ij / sum_j S_ij  over negatives (CREAM)
    active        sum_dir [-y_i log p_ii + 5 sum_j tan(p_ij) / (sum_k tan p_ik)^(1 - y_i)]   j over negatives, k over all (CRCL)

w is a constant of the step; negative scores count as 0.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from pcsr_fast.reference.negatives import negative_mask
from pcsr_fast.reference.reduction import compute_dtype, reduce_losses

KINDS = ("soft_infonce", "active")
COMPLEMENT_WEIGHT = 5.0
SHARE_FLOOR = 1e-6


def _log_shares(S: Tensor, negatives: Tensor, temperature: float) -> Tensor:
    """log p of rows; entries that are neither the pair itself nor negatives are -inf."""
    allowed = negatives | torch.eye(len(S), dtype=torch.bool, device=S.device)
    return functional.log_softmax((S / temperature).masked_fill(~allowed, -torch.inf), dim=1)


def _soft_infonce_rows(S: Tensor, y: Tensor, negatives: Tensor, log_p: Tensor) -> Tensor:
    likeness = S.detach().clamp(min=0.0).masked_fill(~negatives, 0.0)
    shares = likeness / (likeness.sum(1, keepdim=True) + SHARE_FLOOR)
    spread = (shares * log_p.masked_fill(~negatives, 0.0)).sum(1)
    return -(y * log_p.diagonal() + (1 - y) * spread)


def _active_rows(y: Tensor, negatives: Tensor, log_p: Tensor) -> Tensor:
    tangents = log_p.exp().tan()
    others = tangents.masked_fill(~negatives, 0.0).sum(1)
    return -y * log_p.diagonal() + COMPLEMENT_WEIGHT * others / tangents.sum(1) ** (1 - y)


def labelled_loss_from_scores(
    S: Tensor,
    labels: Tensor,
    *,
    kind: str,
    temperature: float = 0.05,
    groups: Tensor | None = None,
    reduction: str = "mean",
) -> Tensor:
    """Loss of S (B, B), rows images, columns captions, with labels (B,): per-sample (B,) or a scalar; at least float32.

    `groups` (B,): pairs of one id are no negatives and leave the softmax. Source: METHODS 7 (CREAM, CRCL).

    Raises:
        ValueError: an unknown kind.
    """
    if kind not in KINDS:
        raise ValueError(f"kind: got {kind!r}, expected one of {', '.join(KINDS)}")
    S = S.to(compute_dtype(S.dtype))
    y, mask = labels.to(S), negative_mask(S, groups)
    losses = S.new_zeros(len(S))
    for scores, negatives in ((S, mask), (S.T, mask.T)):
        log_p = _log_shares(scores, negatives, temperature)
        if kind == "soft_infonce":
            losses = losses + _soft_infonce_rows(scores, y, negatives, log_p) / 2
        else:
            losses = losses + _active_rows(y, negatives, log_p)
    return reduce_losses(losses, reduction)


def softmax_predict(S: Tensor, temperature: float, groups: Tensor | None = None) -> Tensor:
    """Label (B,) in [0, 1]: the mean of p^r_ii and p^c_ii of S (B, B) (CREAM, GSC; METHODS 7)."""
    S = S.to(compute_dtype(S.dtype))
    mask = negative_mask(S, groups)
    rows, columns = _log_shares(S, mask, temperature), _log_shares(S.T, mask.T, temperature)
    return (rows.diagonal().exp() + columns.diagonal().exp()) / 2
