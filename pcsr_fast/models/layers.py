"""Small layers that the encoders and heads share."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from pcsr_fast.reference.attention import l2norm as l2norm


def length_mask(lengths: Tensor, size: int) -> Tensor:
    """(B,) lengths -> (B, size) bool, True at valid positions."""
    return torch.arange(size, device=lengths.device)[None, :] < lengths[:, None]


class Dropout(nn.Dropout):
    """nn.Dropout that draws 16 random bits a number on a CPU, where torch's draws take longer than most products.

    The probability is rounded to a multiple of 2^-16.
    """

    def forward(self, input: Tensor) -> Tensor:
        """The same shape and dtype."""
        if not self.training or input.device.type != "cpu":
            return super().forward(input)
        words = torch.empty(-(-input.numel() // 4), dtype=torch.int64).random_(-(2**63), None)
        bits = words.view(torch.int16)[: input.numel()].view(input.shape)
        kept = 2**16 - round(self.p * 2**16)
        if kept == 0:
            return input * 0
        return (input * (bits >= 2**15 - kept)).mul_(2**16 / kept)


def drop_tokens(tokens: Tensor, amount: float) -> tuple[Tensor, Tensor]:
    """Size augmentation (METHODS 6): (B, T, D) -> the kept tokens of each item in front (B, T, D), their numbers (B,).

    r ~ U(0, 1) an item; where r > amount each token goes with probability amount * r, but for the last one left.
    An amount of 0 keeps all and draws nothing.
    """
    count, size = tokens.shape[:2]
    if not amount:
        return tokens, torch.full((count,), size, device=tokens.device)
    r = torch.rand(count, 1, device=tokens.device)
    kept = torch.rand(count, size, device=tokens.device) >= torch.where(r > amount, amount * r, 0)
    kept[:, 0] |= ~kept.any(1)
    order = kept.int().argsort(dim=1, descending=True, stable=True)
    return tokens.gather(1, order.unsqueeze(-1).expand_as(tokens)), kept.sum(1)


def xavier_linear(in_features: int, out_features: int) -> nn.Linear:
    """Linear layer with weight ~ U(-r, r), r = sqrt(6 / (fan_in + fan_out)), and bias 0 (METHODS 2.1)."""
    layer = nn.Linear(in_features, out_features)
    bound = math.sqrt(6.0 / (in_features + out_features))
    nn.init.uniform_(layer.weight, -bound, bound)
    nn.init.zeros_(layer.bias)
    return layer


def autocast_precision(like: Tensor) -> str:
    """The `precision` of an op for matrix products as autocast has them: "bf16" where it is on for bfloat16, or "auto"."""
    device = like.device.type
    on = torch.is_autocast_enabled(device) and torch.get_autocast_dtype(device) == torch.bfloat16
    return "bf16" if on else "auto"


def of_one_dtype(one: Tensor, other: Tensor) -> tuple[Tensor, Tensor]:
    """Both in the wider of their types: autocast may have touched one of them."""
    dtype = torch.promote_types(one.dtype, other.dtype)
    return one.to(dtype), other.to(dtype)
