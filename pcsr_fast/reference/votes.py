"""Pseudo-label consistency from vote counts, and the threshold that splits by it (METHODS 4.3, 4.4, 4.7; 9 G1-G2)."""

from __future__ import annotations

import math

import torch
from torch import Tensor

SCORES = ("gap", "gap_ratio", "majority", "neg_entropy")


def vote_consistency(counts: Tensor, score: str = "gap") -> Tensor:
    """Pseudo-label Consistency Score (N,) float64 of vote counts (N, K), any integer dtype; larger is steadier.

        gap          c1 - c2, the two largest counts (a single class: its count; no votes: 0)
        gap_ratio    (c1 - c2) / total, in [0, 1] (no votes: 0)
        majority     c1 / total, in [0, 1] (no votes: 0)
        neg_entropy  sum_k f_k ln f_k with f = counts / total, in [-ln K, 0] nats (no votes: -ln K)

    Raises:
        ValueError: an unknown score.
    """
    if score not in SCORES:
        raise ValueError(f"vote_consistency: score: got {score!r}, expected one of {', '.join(SCORES)}")
    total = counts.sum(1, dtype=torch.float64)
    if score == "neg_entropy":
        shares = counts.to(torch.float64) / total.clamp(min=1)[:, None]
        return torch.where(total > 0, torch.special.xlogy(shares, shares).sum(1), -math.log(counts.shape[1]))
    best = counts.topk(min(2, counts.shape[1]), dim=1).values.to(torch.float64)
    gap = best[:, 0] - best[:, 1] if counts.shape[1] > 1 else best[:, 0]
    if score == "gap":
        return gap
    return (gap if score == "gap_ratio" else best[:, 0]) / total.clamp(min=1)


def pcs_threshold_quantile(pcs: Tensor, noisy_mask: Tensor, share: float) -> float:
    """Threshold tau such that the share of noisy samples with pcs > tau comes closest to `share`.

    `pcs` (N,), `noisy_mask` (N,) bool. Where scores are equal at the quantile no threshold meets the share: the nearer
    of leaving them all out and taking them all in is chosen, out on a draw. Nothing noisy: 0.0.
    """
    values = pcs[noisy_mask].sort().values
    count = values.numel()
    if count == 0:
        return 0.0
    keep = round(share * count)
    at = values[min(count - 1, max(0, count - keep - 1))]
    # Just below in the scores' own precision, which a comparison with them rounds to.
    below = torch.nextafter(at, torch.full_like(at, -math.inf)) if pcs.is_floating_point() else at - 0.5
    above_at, above_below = int((values > at).sum()), int((values > below).sum())
    return float(at if abs(above_at - keep) <= abs(above_below - keep) else below)


def controller_update(tau: float, pcs: Tensor, target: float, k: float = 0.2, beta: float = 0.3) -> float:
    """The official step: tau + beta k (lambda - target), lambda the share of all pcs (N,) above tau (METHODS 4.4)."""
    utilisation = float((pcs > tau).to(torch.float64).mean())
    return (1 - beta) * tau + beta * (tau - k * (target - utilisation))


def target_share(t: float, T: float, lo: float = 0.4, hi: float = 0.9) -> float:
    """Target utilisation lo + (hi - lo) t / T at epoch t of T, warm-up counted in both (METHODS 4.4)."""
    return lo + (hi - lo) * t / T
