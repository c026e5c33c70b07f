"""Small layers that the encoders and heads share."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

EPSILON = 1e-8


def l2norm(values: Tensor, dim: int = -1) -> Tensor:
    """x / (|x| + 1e-8): the epsilon stands outside the root, as in the SCAN family (METHODS 2.1).

    The gradient at x = 0 (padding, empty regions) is taken as 0: the formula's own would be 1e8.
    """
    square = values.square().sum(dim=dim, keepdim=True)
    zero = square == 0
    norm = torch.where(zero, 1, square).sqrt()
    return torch.where(zero, 0, values / (norm + EPSILON))


def length_mask(lengths: Tensor, size: int) -> Tensor:
    """(B,) lengths -> (B, size) bool, True at valid positions."""
    return torch.arange(size, device=lengths.device)[None, :] < lengths[:, None]


def xavier_linear(in_features: int, out_features: int) -> nn.Linear:
    """Linear layer with weight ~ U(-r, r), r = sqrt(6 / (fan_in + fan_out)), and bias 0 (METHODS 2.1)."""
    layer = nn.Linear(in_features, out_features)
    bound = math.sqrt(6.0 / (in_features + out_features))
    nn.init.uniform_(layer.weight, -bound, bound)
    nn.init.zeros_(layer.bias)
    return layer
