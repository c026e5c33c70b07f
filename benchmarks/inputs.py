"""Seeded inputs: unit embeddings with planted pairs, and losses of two kinds of pairs."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import normalize


def planted(
    images: int,
    texts: int,
    width: int,
    *,
    correlation: float = 0.3,
    seed: int = 0,
    dtype: torch.dtype = torch.float32,
) -> tuple[Tensor, Tensor, Tensor]:
    """Unit rows x (images, width), y (texts, width) and the image (texts,) of each text, in equal shares.

    A text is its image's direction plus noise; their score is about `correlation`, that of others about 0. Drawn on the
    CPU, so the same everywhere.
    """
    draw = torch.Generator("cpu").manual_seed(seed)
    x = normalize(torch.randn(images, width, generator=draw, device="cpu"))
    image_of_text = torch.arange(texts, device="cpu") * images // texts
    y = normalize(torch.randn(texts, width, generator=draw, device="cpu")).mul_((1 - correlation**2) ** 0.5)
    y.add_(x[image_of_text], alpha=correlation)
    where = torch.get_default_device()
    return x.to(where, dtype), normalize(y).to(where, dtype), image_of_text.to(where)


def two_kinds(count: int, *, seed: int = 0) -> Tensor:
    """Losses (count,) in [0, 1]: 60 % around .15 and 40 % around .5."""
    draw = torch.Generator("cpu").manual_seed(seed)
    values = torch.randn(count, generator=draw, device="cpu")
    low = int(0.6 * count)
    values[:low].mul_(0.05).add_(0.15)
    values[low:].mul_(0.15).add_(0.5)
    return values.clamp_(0, 1).to(torch.get_default_device())
