"""Soft margins: how far apart a pair of doubtful correspondence is pushed (METHODS 2.2)."""

from __future__ import annotations

import math

import torch
from torch import Tensor

MARGIN_KINDS = ("exponential", "linear", "sin")


def soft_margin(y: Tensor, alpha: float = 0.2, kind: str = "exponential") -> Tensor:
    """Margin m(y) in [0, alpha] of a label y in [0, 1], any shape, differentiable in y.

        exponential: alpha (10^y - 1) / 9      linear: alpha y      sin: alpha (sin(pi y - pi/2) / 2 + 1/2)

    Raises:
        ValueError: `kind` is none of the three.
    """
    if kind == "exponential":
        return alpha * (torch.pow(10.0, y) - 1.0) / 9.0
    if kind == "linear":
        return alpha * y
    if kind == "sin":
        return alpha * (torch.sin(math.pi * y - math.pi / 2) / 2 + 0.5)
    raise ValueError(f"soft_margin: kind: got {kind!r}, expected one of {', '.join(MARGIN_KINDS)}")
