"""One direction of each contrastive loss, rows as anchors; equations in `pcsr_fast.reference.contrastive`."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

KINDS = ("infonce", "rce", "ccl_log", "ccl_tan", "ccl_gce", "gce_infonce", "tal")
HALVED = ("infonce", "rce", "gce_infonce")
LABEL_FLOOR = 1e-7


class ContrastiveSettings(NamedTuple):
    """A kind with its temperature, exponent q and margin, defaults filled in."""

    kind: str
    temperature: float
    q: float
    margin: float


def contrastive_settings(
    kind: str, temperature: float | None = None, q: float | None = None, margin: float | None = None
) -> ContrastiveSettings:
    """Fill in the published defaults: temperature .05 (tal .015), q .5 (gce_infonce .7), margin .1.

    Raises:
        ValueError: an unknown kind, temperature <= 0, q outside (0, 1].
    """
    if kind not in KINDS:
        raise ValueError(f"kind: got {kind!r}, expected one of {', '.join(KINDS)}")
    temperature = (0.015 if kind == "tal" else 0.05) if temperature is None else float(temperature)
    q = (0.7 if kind == "gce_infonce" else 0.5) if q is None else float(q)
    if not temperature > 0:
        raise ValueError(f"temperature: got {temperature}, expected a number > 0")
    if not 0 < q <= 1:
        raise ValueError(f"q: got {q}, expected 0 < q <= 1")
    return ContrastiveSettings(kind, temperature, q, 0.1 if margin is None else float(margin))


def log_complement(log_p: Tensor) -> Tensor:
    """log(1 - p) of rows of log-probabilities, exact also where one p rounds to 1 (the rest is summed instead)."""
    top = log_p.argmax(1, keepdim=True)
    is_top = torch.zeros_like(log_p, dtype=torch.bool).scatter(1, top, True)
    others = log_p.masked_fill(is_top, -torch.inf)
    alone = (others == -torch.inf).all(1, keepdim=True)
    rest = torch.logsumexp(others.masked_fill(alone, 0.0), dim=1, keepdim=True)
    rest = rest.masked_fill(alone, -torch.inf).expand_as(log_p)
    return torch.where(is_top, rest, torch.log1p(-log_p.exp().masked_fill(is_top, 0.0)))


def complementary_terms(log_p: Tensor, negatives: Tensor, settings: ContrastiveSettings) -> Tensor:
    """Sum (B,) over negatives of -log(1-p), tan(p) or (1 - (1-p)^q)/q for rows of log-probabilities."""
    if settings.kind == "ccl_tan":
        return torch.tan(log_p.exp()).masked_fill(~negatives, 0.0).sum(1)
    log_q = log_complement(log_p).masked_fill(~negatives, 0.0)
    values = -log_q if settings.kind == "ccl_log" else -torch.expm1(settings.q * log_q) / settings.q
    return values.sum(1)


def tal_terms(S: Tensor, negatives: Tensor, settings: ContrastiveSettings) -> Tensor:
    """[m - S+ + tau logsumexp_neg(S/tau)]+ (B,) over rows; 0 for a row without a negative."""
    z = S / settings.temperature
    positive = (torch.softmax(z.detach().masked_fill(negatives, -torch.inf), dim=1) * S).sum(1)
    some = negatives.any(1)
    soft_maximum = torch.logsumexp(z.masked_fill(~negatives & some[:, None], -torch.inf), dim=1)
    return (settings.margin - positive + settings.temperature * soft_maximum).relu().masked_fill(~some, 0.0)


def row_terms(S: Tensor, negatives: Tensor, settings: ContrastiveSettings) -> Tensor:
    """One direction's value (B,) with rows as anchors, before the factor 1/2 of some kinds."""
    if settings.kind == "tal":
        return tal_terms(S, negatives, settings)
    allowed = negatives | torch.eye(S.shape[0], dtype=torch.bool, device=S.device)
    log_p = functional.log_softmax((S / settings.temperature).masked_fill(~allowed, -torch.inf), dim=1)
    own = log_p.diagonal()
    if settings.kind == "infonce":
        return -own
    if settings.kind == "rce":
        others = log_p.exp().masked_fill(~negatives, 0.0).sum(1)
        return -own - others * math.log(LABEL_FLOOR)
    if settings.kind == "gce_infonce":
        return -torch.expm1(settings.q * own) / settings.q
    return complementary_terms(log_p, negatives, settings)
