"""Labels and losses of the pseudo-classifier (METHODS 2.2, 3.2, 4.4, 4.5)."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

from pcsr_fast.reference.reduction import compute_dtype, reduce_losses

LOG_FLOOR = 1e-8


def ncr_predict(pair_losses: Tensor, margin: float = 0.2) -> Tensor:
    """Label (B,) in [0, 1] from mean-hinge pair losses (B,): p = clamp(m - l/2, 0, m) over the mean of its top tenth.

    The top tenth are the floor(B/10) + 1 largest p; where that mean is 0 every label is 0 (METHODS 2.2, "predict").
    """
    p = (margin - pair_losses / 2).clamp(0.0, margin)
    top = p.topk(p.shape[0] // 10 + 1).values.mean()
    return torch.where(top > 0, p / top.clamp(min=torch.finfo(p.dtype).tiny), 0.0).clamp(0.0, 1.0)


def gce(logits: Tensor, targets: Tensor, q: float = 0.7, reduction: str = "mean") -> Tensor:
    """Generalised cross entropy (1 - p_t^q) / q of logits (B, K) at targets (B,); q -> 0 is cross entropy, q = 1 MAE.

    Source: METHODS 4.5 (the robust loss of ambiguous pairs).
    """
    log_p = functional.log_softmax(logits.to(compute_dtype(logits.dtype)), dim=1).gather(1, targets[:, None])[:, 0]
    return reduce_losses(-log_p if q == 0 else -torch.expm1(q * log_p) / q, reduction)


def entropy(logits: Tensor, kind: str = "per_sample") -> Tensor:
    """Entropy in nats of the predictions of logits (B, K), a scalar (METHODS 3.2, 4.6 #2).

    "per_sample": mean over the batch of each prediction's entropy. "batch_mean": entropy of the mean prediction,
    which is largest when the classes are used evenly.

    Raises:
        ValueError: `kind` is neither.
    """
    log_p = functional.log_softmax(logits.to(compute_dtype(logits.dtype)), dim=1)
    if kind == "per_sample":
        return -(log_p.exp() * log_p).sum(1).mean()
    if kind == "batch_mean":
        log_mean = torch.logsumexp(log_p, dim=0) - math.log(logits.shape[0])
        return -(log_mean.exp() * log_mean).sum()
    raise ValueError(f"entropy: kind: got {kind!r}, expected per_sample or batch_mean")


def prediction_oscillation(now: Tensor, bank: Tensor) -> Tensor:
    """KL(now || bank) in nats, (B,), of two sets of predictions (B, K); log arguments are floored at 1e-8.

    Source: METHODS 3.2 and 4.4 (o_i).
    """
    dtype = compute_dtype(now.dtype)
    now, bank = now.to(dtype), bank.to(dtype)
    return (now * (now.clamp(min=LOG_FLOOR).log() - bank.clamp(min=LOG_FLOOR).log())).sum(1)


def unit_rows(p: Tensor) -> Tensor:
    """Rows of p scaled to length 1: p / (norm + 1e-8)."""
    p = p.to(compute_dtype(p.dtype))
    unit: Tensor = p / (torch.linalg.vector_norm(p, dim=1, keepdim=True) + LOG_FLOOR)
    return unit


def match_texts(p_noisy: Tensor, p_clean: Tensor) -> tuple[Tensor, Tensor]:
    """For each row of p_noisy (Bn, K) the row of p_clean (Bc, K) of the largest cosine: index int64 and cosine (Bn,).

    Equal cosines: the lowest index. The cosine is differentiable in both inputs. Source: METHODS 4.5.
    """
    noisy, clean = unit_rows(p_noisy), unit_rows(p_clean)
    index = (noisy @ clean.T).argmax(1)
    return index, (noisy * clean[index]).sum(1)


def _ratio_to_nearest(near: Tensor, across: Tensor) -> Tensor:
    """min(a/b, b/a) in [0, 1] (B,) of the largest a of each row of `near` and the b in its place; 0 unless both are > 0."""
    a, index = near.max(1)
    b = across.gather(1, index[:, None]).squeeze(1)
    both = (a > 0) & (b > 0)
    larger = torch.where(both, torch.maximum(a, b), 1.0)
    return torch.where(both, torch.minimum(a, b) / larger, 0.0)


def bicro_label(images: Tensor, texts: Tensor, anchor_images: Tensor, anchor_texts: Tensor) -> Tensor:
    """Bidirectional cross-modal consistency (B,) in [0, 1] of pairs with clean anchors (BiCro; METHODS 7).

    Row i of images (B, d) and texts (B, d) is a pair, row k of the anchors (A, d) a clean one, A >= 1. Of the anchor nearest
    in pictures, a is that cosine and b the cosine of the captions; r = min(a/b, b/a), 0 where one is not positive. The label
    is the mean of r and of the same with pictures and captions exchanged.
    """
    by_image = unit_rows(images) @ unit_rows(anchor_images).T
    by_text = unit_rows(texts) @ unit_rows(anchor_texts).T
    return (_ratio_to_nearest(by_image, by_text) + _ratio_to_nearest(by_text, by_image)) / 2
