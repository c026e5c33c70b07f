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


def checked_values(values: Tensor, kind: str) -> Tensor:
    """`values` flat in float64.

    Raises:
        ValueError: fewer than 2 values, NaN or infinity, constant values, Beta values outside [0, 1].
    """
    if values.numel() < 2:
        raise ValueError(f"fit_mixture: values: got {values.numel()}, expected at least 2")
    x = values.detach().to(torch.float64).flatten()
    bad = int((~torch.isfinite(x)).sum())
    if bad:
        first = int((~torch.isfinite(x)).nonzero()[0, 0])
        raise ValueError(f"fit_mixture: values: {bad} NaN or infinite, first at index {first}, expected finite numbers")
    low, high = float(x.min()), float(x.max())
    if low == high:
        raise ValueError(f"fit_mixture: values: all {x.numel()} equal {low:g}, expected at least two different ones")
    if kind == "beta" and (low < 0 or high > 1):
        raise ValueError(f"fit_mixture: values: range [{low:g}, {high:g}], expected [0, 1] for a beta mixture")
    return x
