"""Contrastive and complementary losses over a score matrix: the readable truth (METHODS 7, 8).

p^r = softmax over a row of S/tau, p^c over a column, each over the pair itself and its negatives. Per sample i:

    infonce       1/2 sum_dir -log p_ii
    rce           1/2 sum_dir [-log p_ii - sum_j p_ij log max(y_ij, 1e-7)],  y the identity
    ccl_log       sum_dir sum_j -log(1 - p_ij)                     j over negatives only, also below
    ccl_tan       sum_dir sum_j tan(p_ij)
    ccl_gce       sum_dir sum_j (1 - (1 - p_ij)^q) / q             q = .5
    gce_infonce   1/2 sum_dir (1 - p_ii^q) / q                     q = .7
    tal           sum_dir [m - S+ + tau log sum_j exp(S_ij / tau)]+        m = .1, tau = .015

S+ is S_ii, or with groups the same-id scores averaged with detached softmax(S/tau) weights. The mean over i is the
published batch value.
"""

from __future__ import annotations

from torch import Tensor

from pcsr_fast.reference.contrastive_terms import HALVED, contrastive_settings, row_terms
from pcsr_fast.reference.negatives import negative_mask
from pcsr_fast.reference.reduction import compute_dtype, reduce_losses


def contrastive_loss_from_scores(
    S: Tensor,
    *,
    kind: str,
    temperature: float | None = None,
    q: float | None = None,
    margin: float | None = None,
    groups: Tensor | None = None,
    reduction: str = "mean",
) -> Tensor:
    """Loss of a ready-made S (B, B): per-sample (B,) under reduction="none", else a scalar; at least float32.

    `groups` (B,): pairs of one id are no negatives and leave the softmax.

    Raises:
        ValueError: as `contrastive_settings`, or an unknown reduction.
    """
    settings = contrastive_settings(kind, temperature, q, margin)
    S = S.to(compute_dtype(S.dtype))
    negatives = negative_mask(S, groups)
    both = row_terms(S, negatives, settings) + row_terms(S.T, negatives.T, settings)
    return reduce_losses(both / 2 if kind in HALVED else both, reduction)


def contrastive_loss(
    x: Tensor,
    y: Tensor,
    *,
    kind: str,
    temperature: float | None = None,
    q: float | None = None,
    margin: float | None = None,
    groups: Tensor | None = None,
    reduction: str = "mean",
) -> Tensor:
    """The same loss of S = x y^T for image embeddings x (B, D) and caption embeddings y (B, D)."""
    dtype = compute_dtype(x.dtype)
    S = x.to(dtype) @ y.to(dtype).T
    return contrastive_loss_from_scores(
        S, kind=kind, temperature=temperature, q=q, margin=margin, groups=groups, reduction=reduction
    )
