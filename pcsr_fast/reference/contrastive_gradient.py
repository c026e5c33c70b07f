"""The analytic gradient of the contrastive losses in S, as the ops' backward uses it (METHODS 7).

With z = S/tau and a loss sum_k f(p_k) over negatives, a_k = p_k f'(p_k):
    dL/dz_k = a_k (1 - p_k) - p_k sum_{j != k} a_j
which is summed without the entry itself, so that p close to 1 does not cancel.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

from pcsr_fast.reference.contrastive_terms import HALVED, LABEL_FLOOR, ContrastiveSettings, log_complement, tal_terms
from pcsr_fast.reference.negatives import negative_mask


def _own_gradient(log_p: Tensor, upstream: Tensor) -> Tensor:
    """dL/dz for a loss of p_ii alone, `upstream` (B,) = dL/dlog p_ii."""
    return torch.diag(upstream) - upstream[:, None] * log_p.exp()


def _complementary_gradient(z: Tensor, log_p: Tensor, negatives: Tensor, settings: ContrastiveSettings) -> Tensor:
    """dL/dz of the complementary kinds for rows of logits z, -inf where left out, and their log-softmax."""
    p, allowed = log_p.exp(), z > -torch.inf
    if settings.kind == "ccl_tan":
        a = (p / torch.cos(p).square()).masked_fill(~negatives, 0.0)
        return a * (1 - p) - p * (a.sum(1, keepdim=True) - a)
    power = settings.q if settings.kind == "ccl_gce" else 0.0
    log_q = log_complement(log_p).masked_fill(~negatives, 0.0)
    base = (log_p + power * log_q).exp().masked_fill(~negatives, 0.0)
    is_top = torch.zeros_like(negatives).scatter(1, log_p.argmax(1, keepdim=True), True)
    a = base / (1 - p.masked_fill(is_top, 0.0))
    # The top entry's a may be infinite; its product with p_k is finite as base_top times p_k / (1 - p_top).
    from_top = base.masked_fill(~is_top, 0.0).sum(1, keepdim=True) * torch.softmax(z.masked_fill(is_top, -torch.inf), 1)
    rest = a.masked_fill(is_top, 0.0)
    return base - p * (rest.sum(1, keepdim=True) - rest) - from_top.masked_fill(~allowed | is_top, 0.0)


def _tal_gradient(S: Tensor, negatives: Tensor, settings: ContrastiveSettings) -> Tensor:
    """dL/dS of one direction of TAL: softmax over negatives minus softmax over positives, where the hinge is active."""
    z = S / settings.temperature
    some = negatives.any(1, keepdim=True)
    pull = torch.softmax(z.masked_fill(negatives, -torch.inf), dim=1)
    push = torch.softmax(z.masked_fill(~negatives & some, -torch.inf), dim=1)
    return (push - pull) * (tal_terms(S, negatives, settings) > 0)[:, None]


def _row_gradient(S: Tensor, negatives: Tensor, settings: ContrastiveSettings) -> Tensor:
    """d(value of anchor i)/dS_ij (B, B) of one direction, rows as anchors."""
    if settings.kind == "tal":
        return _tal_gradient(S, negatives, settings)
    allowed = negatives | torch.eye(S.shape[0], dtype=torch.bool, device=S.device)
    z = (S / settings.temperature).masked_fill(~allowed, -torch.inf)
    log_p = functional.log_softmax(z, dim=1)
    own = log_p.diagonal()
    if settings.kind == "infonce":
        dz = _own_gradient(log_p, -torch.ones_like(own))
    elif settings.kind == "rce":
        dz = _own_gradient(log_p, math.log(LABEL_FLOOR) * own.exp() - 1.0)
    elif settings.kind == "gce_infonce":
        dz = _own_gradient(log_p, -torch.exp(settings.q * own))
    else:
        dz = _complementary_gradient(z, log_p, negatives, settings)
    return dz / settings.temperature


def contrastive_score_gradient(
    upstream: Tensor, S: Tensor, settings: ContrastiveSettings, groups: Tensor | None = None
) -> Tensor:
    """dL/dS (B, B) from the upstream gradient (B,) of the per-sample losses; S in its compute dtype."""
    negatives = negative_mask(S, groups)
    factor = upstream / 2 if settings.kind in HALVED else upstream
    by_row = _row_gradient(S, negatives, settings) * factor[:, None]
    return by_row + (_row_gradient(S.T, negatives.T, settings) * factor[:, None]).T
