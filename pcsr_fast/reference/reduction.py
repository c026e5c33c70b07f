"""What every loss shares: the precision it computes in and how per-sample values are reduced."""

from __future__ import annotations

import torch
from torch import Tensor

REDUCTIONS = ("none", "mean", "sum")


def compute_dtype(dtype: torch.dtype) -> torch.dtype:
    """float64 stays, other floating types compute in float32: sums of half-precision hinges lose the small ones."""
    return torch.float64 if dtype == torch.float64 else torch.float32


def reduce_losses(losses: Tensor, reduction: str) -> Tensor:
    """Per-sample `losses` (B,) as they are ("none"), their mean or their sum.

    Raises:
        ValueError: `reduction` is none of the three.
    """
    if reduction == "none":
        return losses
    if reduction == "mean":
        return losses.mean()
    if reduction == "sum":
        return losses.sum()
    raise ValueError(f"reduction: got {reduction!r}, expected one of {', '.join(REDUCTIONS)}")
