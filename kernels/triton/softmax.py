"""Softmaxes of N anchors as the numbers that are gathered of them, in float64 (METHODS 7, 8).

The largest entry is left out of the sum: 1 - p of it is exact also where p rounds to 1.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from .sweep import Gathered
from .terms import COMPLEMENTS

HALVED = ("infonce", "rce", "gce_infonce")
LOG_LABEL_FLOOR = math.log(1e-7)


class Loss(NamedTuple):
    """A kind of contrastive loss with its settings."""

    kind: str
    temperature: float
    q: float
    margin: float

    @property
    def factor(self) -> float:
        """Of each direction."""
        return 0.5 if self.kind in HALVED else 1.0

    def gathered(self, what: str) -> Gathered:
        """`what` at this temperature."""
        f = COMPLEMENTS[self.kind] if what == "complement" else 0
        return Gathered(what, 1 / self.temperature, self.q, f)


class Softmax(NamedTuple):
    """Largest score, second largest and the sum without the largest of N softmaxes, float64, and the temperature."""

    top: Tensor
    second: Tensor
    rest: Tensor
    temperature: float

    def power(self, scores: Tensor, base: Tensor) -> Tensor:
        """exp((scores - base) / tau); 0 for the -infinity of no score."""
        return torch.where(scores == -torch.inf, 0.0, torch.exp((scores - base) / self.temperature))

    @property
    def others(self) -> Tensor:
        """Of all entries but the largest, relative to that."""
        return self.rest * self.power(self.second, self.top)

    @property
    def scale(self) -> Tensor:
        """p of a score of `second`."""
        return self.power(self.second, self.top) / (1 + self.others)

    def log_of(self, scores: Tensor) -> Tensor:
        """log p."""
        return (scores - self.top) / self.temperature - torch.log1p(self.others)

    def rest_of(self, scores: Tensor) -> Tensor:
        """1 - p."""
        is_top = scores == self.top
        return torch.where(is_top, self.others / (1 + self.others), -torch.expm1(self.log_of(scores)))

    def log_rest_of_top(self) -> Tensor:
        """log(1 - p) of the largest."""
        return torch.log(self.rest) + (self.second - self.top) / self.temperature - torch.log1p(self.others)


def softmax_of(table: Tensor, loss: Loss) -> Softmax:
    """From the first three rows of a table."""
    return Softmax(*table[:3].double(), loss.temperature)


def with_own(negatives: Softmax, own: Tensor) -> tuple[Softmax, Tensor]:
    """The softmax of negatives and the pair itself, and whether that is the largest."""
    leads = own > negatives.top
    lower = torch.where(leads, negatives.top, own)
    second = torch.maximum(negatives.second, lower)
    base = torch.where(second == -torch.inf, 0.0, second)
    rest = negatives.rest * negatives.power(negatives.second, base) + negatives.power(lower, base)
    return Softmax(torch.where(leads, own, negatives.top), second, rest, negatives.temperature), leads


def own_value(loss: Loss, softmax: Softmax, own: Tensor) -> Tensor:
    """From p of the pair itself."""
    log_p = softmax.log_of(own)
    if loss.kind == "rce":
        return -log_p - LOG_LABEL_FLOOR * softmax.rest_of(own)
    return -torch.expm1(loss.q * log_p) / loss.q if loss.kind == "gce_infonce" else -log_p


def own_slope(loss: Loss, softmax: Softmax, own: Tensor) -> Tensor:
    """The derivative of `own_value` in log p."""
    p = softmax.log_of(own).exp()
    if loss.kind == "rce":
        return LOG_LABEL_FLOOR * p - 1
    return -(p**loss.q) if loss.kind == "gce_infonce" else -torch.ones_like(p)


def top_terms(loss: Loss, softmax: Softmax) -> tuple[Tensor, Tensor]:
    """f(p) and p f'(p) (1 - p) of the largest entry."""
    p, log_rest = 1 / (1 + softmax.others), softmax.log_rest_of_top()
    if loss.kind == "ccl_log":
        return -log_rest, p
    if loss.kind == "ccl_tan":
        return torch.tan(p), p * (1 + torch.tan(p).square()) * softmax.rest_of(softmax.top)
    return -torch.expm1(loss.q * log_rest) / loss.q, p * torch.exp(loss.q * log_rest)
