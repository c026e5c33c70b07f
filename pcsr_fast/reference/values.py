"""The values a mixture is fitted to: normalised, checked (METHODS 2.3)."""

from __future__ import annotations

import torch
from torch import Tensor


def minmax(values: Tensor) -> Tensor:
    """(values - min) / (max - min) in [0, 1], same shape and dtype; constant values become zeros (METHODS 2.3).

    Raises:
        ValueError: no values.
    """
    if values.numel() == 0:
        raise ValueError("minmax: values: got none, expected at least 1")
    low, high = values.min(), values.max()
    return torch.where(high > low, (values - low) / torch.where(high > low, high - low, torch.ones_like(high)), 0.0)


def check_count(count: int) -> None:
    """ValueError for fewer than 2 values."""
    if count < 2:
        raise ValueError(f"fit_mixture: values: got {count}, expected at least 2")


def check_range(count: int, bad: int, first_bad: int, low: float, high: float, kind: str) -> None:
    """ValueError where a mixture cannot be fitted: `bad` NaN or infinite values, all equal, Beta values off [0, 1]."""
    if bad:
        text = f"{bad} NaN or infinite, first at index {first_bad}, expected finite numbers"
        raise ValueError(f"fit_mixture: values: {text}")
    if low == high:
        raise ValueError(f"fit_mixture: values: all {count} equal {low:g}, expected at least two different ones")
    if kind == "beta" and (low < 0 or high > 1):
        raise ValueError(f"fit_mixture: values: range [{low:g}, {high:g}], expected [0, 1] for a beta mixture")


def checked_values(values: Tensor, kind: str) -> Tensor:
    """`values` flat in float64.

    Raises:
        ValueError: fewer than 2 values, NaN or infinity, constant values, Beta values outside [0, 1].
    """
    check_count(values.numel())
    x = values.detach().to(torch.float64).flatten()
    wrong = ~torch.isfinite(x)
    check_range(x.numel(), int(wrong.sum()), int(wrong.byte().argmax()), float(x.min()), float(x.max()), kind)
    return x
