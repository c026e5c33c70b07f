"""Evidential loss over a score matrix and what it knows about each pair (DECL; METHODS 7).

Rows of S are seen as opinions about which caption belongs to an image: over the pair itself and its negatives, K in all,

    e_ij = exp(tanh(S_ij) / tau),   a_ij = e_ij + 1,   L_i = sum_j a_ij,   u_i = K_i / L_i
    l^r_i = sum_j (y_ij - a_ij / L_i)^2 + a_ij (L_i - a_ij) / (L_i^2 (L_i + 1)) + lambda KL(Dir(a~_i) || Dir(1))

with a~_ij = y_ij + (1 - y_ij) a_ij, and likewise for columns; l_i = l^r_i + l^c_i.
"""

from __future__ import annotations

import torch
from torch import Tensor

from pcsr_fast.reference.negatives import negative_mask
from pcsr_fast.reference.reduction import compute_dtype, reduce_losses


def evidence(S: Tensor, temperature: float) -> Tensor:
    """exp(tanh(S) / tau), at least float32."""
    return (S.to(compute_dtype(S.dtype)).tanh() / temperature).exp()


def _allowed(S: Tensor, groups: Tensor | None) -> Tensor:
    return negative_mask(S, groups) | torch.eye(len(S), dtype=torch.bool, device=S.device)


def _divergence(alpha: Tensor, allowed: Tensor) -> Tensor:
    """KL (B,) of Dirichlet rows from the uniform one over as many outcomes; entries that are not allowed are ones."""
    total = torch.where(allowed, alpha, 0.0).sum(1)
    count = allowed.sum(1).to(alpha.dtype)
    slope = torch.where(allowed, (alpha - 1) * (alpha.digamma() - total.digamma()[:, None]), 0.0).sum(1)
    return total.lgamma() - count.lgamma() - torch.where(allowed, alpha.lgamma(), 0.0).sum(1) + slope


def _row_terms(evidence: Tensor, y: Tensor, allowed: Tensor, kl_weight: float) -> Tensor:
    alpha = torch.where(allowed, evidence + 1, 1.0)
    total = torch.where(allowed, alpha, 0.0).sum(1, keepdim=True)
    truth = torch.diag_embed(y)
    spread = alpha * (total - alpha) / (total**2 * (total + 1))
    fit = torch.where(allowed, (truth - alpha / total) ** 2 + spread, 0.0).sum(1)
    return fit + kl_weight * _divergence(truth + (1 - truth) * alpha, allowed)


def evidential_loss_from_scores(
    S: Tensor,
    *,
    labels: Tensor | None = None,
    temperature: float = 0.1,
    kl_weight: float = 0.1,
    groups: Tensor | None = None,
    reduction: str = "mean",
) -> Tensor:
    """Loss of S (B, B), rows images, columns captions: per-sample (B,) or a scalar; at least float32.

    `labels` (B,) in [0, 1] are the y_ii, 1 where not given; off the diagonal y is 0. `groups` (B,): pairs of one id are no
    negatives of each other and leave the sums. Source: METHODS 7 (DECL).
    """
    e, allowed = evidence(S, temperature), _allowed(S, groups)
    y = e.new_ones(len(e)) if labels is None else labels.to(e)
    losses = _row_terms(e, y, allowed, kl_weight) + _row_terms(e.T, y, allowed.T, kl_weight)
    return reduce_losses(losses, reduction)


def evidential_agreement(S: Tensor, *, temperature: float = 0.1, groups: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Which pairs of S (B, B) the evidence speaks for, (B,) bool, and the mean uncertainty u of both directions (B,).

    A pair is trusted where the largest entry of its row of e + e^T is the pair itself. Not differentiable. Source: METHODS 7.
    """
    e, allowed = evidence(S.detach(), temperature), _allowed(S, groups)
    both = (e + e.T).masked_fill(~allowed, 0.0)
    trusted = both.argmax(1) == torch.arange(len(e), device=e.device)
    doubts = [mask.sum(1) / torch.where(mask, one + 1, 0.0).sum(1) for one, mask in ((e, allowed), (e.T, allowed.T))]
    return trusted, (doubts[0] + doubts[1]) / 2
