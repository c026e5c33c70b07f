"""Seeded inputs: unit embeddings with planted pairs, and losses of two kinds of pairs."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import normalize


def planted(
    images: int, texts: int, width: int, *, correlation: float = 0.3, seed: int = 0
) -> tuple[Tensor, Tensor, Tensor]:
    """Unit rows x (images, width), y (texts, width) and the image (texts,) of each text, in equal shares.

    A text is its image's direction plus noise; their score is about `correlation`, that of others about 0.
    """
    draw = torch.Generator().manual_seed(seed)
    x = normalize(torch.randn(images, width, generator=draw))
    image_of_text = torch.arange(texts) * images // texts
    y = normalize(torch.randn(texts, width, generator=draw)).mul_((1 - correlation**2) ** 0.5)
    y.add_(x[image_of_text], alpha=correlation)
    return x, normalize(y), image_of_text


def two_kinds(count: int, *, seed: int = 0) -> Tensor:
    """Losses (count,) in [0, 1]: 60 % around .15 and 40 % around .5."""
    draw = torch.Generator().manual_seed(seed)
    values = torch.randn(count, generator=draw)
    low = int(0.6 * count)
    values[:low].mul_(0.05).add_(0.15)
    values[low:].mul_(0.15).add_(0.5)
    return values.clamp_(0, 1)
