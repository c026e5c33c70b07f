"""Pooling of a set of vectors into one: mean, or the generalised pooling operator (GPO) of VSE-infinity."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from pcsr_fast.models.layers import length_mask

_MASKED = -10000.0


class MeanPooling(nn.Module):
    """Mean over the valid positions."""

    def forward(self, features: Tensor, lengths: Tensor) -> Tensor:
        """(B, L, D), (B,) -> (B, D); positions from lengths[i] on are ignored."""
        mask = length_mask(lengths, features.shape[1]).unsqueeze(-1)
        return torch.where(mask, features, 0).sum(1) / lengths[:, None].to(features.dtype)


class GeneralizedPooling(nn.Module):
    """GPO (METHODS 6): a weight for each position of the descending sort, drawn by a small bi-GRU from the set's size.

    Source: Chen et al., "Learning the Best Pooling Strategy for Visual Semantic Embedding", CVPR 2021.
    """

    def __init__(self, position_dim: int = 32, hidden: int = 32, temperature: float = 0.1) -> None:
        super().__init__()
        self.position_dim = position_dim
        self.temperature = temperature
        self.gru = nn.GRU(position_dim, hidden, batch_first=True, bidirectional=True)
        self.score = nn.Linear(hidden, 1, bias=False)

    def _positions(self, size: int, like: Tensor) -> Tensor:
        index = torch.arange(size, device=like.device, dtype=like.dtype)[:, None]
        step = torch.arange(0, self.position_dim, 2, device=like.device, dtype=like.dtype)
        angle = index * torch.exp(-math.log(10000.0) / self.position_dim * step)
        return torch.stack([angle.sin(), angle.cos()], dim=-1).flatten(1)

    def weights(self, lengths: Tensor, like: Tensor) -> Tensor:
        """(B,) -> (B, max length) weights that sum to 1; they depend on the length alone, so each length is computed once."""
        sizes, which = lengths.unique(return_inverse=True)
        longest = int(sizes[-1])
        positions = self._positions(longest, like).expand(len(sizes), -1, -1)
        packed = nn.utils.rnn.pack_padded_sequence(positions, sizes.cpu(), batch_first=True, enforce_sorted=False)
        hidden, _ = nn.utils.rnn.pad_packed_sequence(self.gru(packed)[0], batch_first=True)
        forward, backward = hidden.chunk(2, dim=-1)
        scores = self.score((forward + backward) / 2).squeeze(-1)
        scores = scores.masked_fill(~length_mask(sizes, longest), _MASKED)
        return torch.softmax(scores / self.temperature, dim=-1)[which]

    def forward(self, features: Tensor, lengths: Tensor) -> Tensor:
        """(B, L, D), (B,) -> (B, D)."""
        weights = self.weights(lengths, features)
        features = features[:, : weights.shape[1]]
        mask = length_mask(lengths, features.shape[1]).unsqueeze(-1)
        ranked = features.masked_fill(~mask, _MASKED).sort(dim=1, descending=True).values
        return (torch.where(mask, ranked, 0) * weights.unsqueeze(-1)).sum(1)


def pooling(kind: str) -> nn.Module:
    """`gpo` or `mean`."""
    return GeneralizedPooling() if kind == "gpo" else MeanPooling()
