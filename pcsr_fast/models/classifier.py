"""Pseudo-classifier: one head for both modalities, K pseudo-classes (METHODS 3.2, 4.2, 4.10)."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pcsr_fast.models.encoders import TextFeatures
from pcsr_fast.models.layers import xavier_linear

TextPool = Literal["interp_valid", "pad_batch_max"]


def resize_words(values: Tensor, lengths: Tensor, size: int, kind: TextPool) -> Tensor:
    """Bring word sequences (B, L, d) to `size` positions (B, size, d).

    `interp_valid` interpolates each caption's own words, so a caption's result does not depend on its batch.
    `pad_batch_max` is the published rule: the padded batch is interpolated if longer than `size`, else zero-padded on
    both sides (METHODS 3.2), so the same caption differs between batches (METHODS 4.6 #9).
    """
    if kind == "interp_valid":
        rows = [
            F.interpolate(row[:length].T.unsqueeze(0), size=size, mode="linear")
            for row, length in zip(values, lengths.tolist(), strict=True)
        ]
        return torch.cat(rows).transpose(1, 2)
    longest = values.shape[1]
    if longest > size:
        return F.interpolate(values.transpose(1, 2), size=size, mode="linear").transpose(1, 2)
    left = (size - longest) // 2
    return F.pad(values, (0, 0, left, size - longest - left))


class PseudoClassifier(nn.Module):
    """Linear -> ReLU -> Linear on a flattened (R, d) image or a caption resized to R words; on (d,) vectors for `vse`."""

    def __init__(self, embed_dim: int, num_classes: int, hidden: int, regions: int, text_pool: TextPool) -> None:
        super().__init__()
        self.regions = regions
        self.text_pool: TextPool = text_pool
        self.layers = nn.Sequential(
            xavier_linear(regions * embed_dim, hidden), nn.ReLU(), xavier_linear(hidden, num_classes)
        )

    def image_logits(self, images: Tensor) -> Tensor:
        """(B, R, d) or (B, d) -> (B, K)."""
        return self.layers(images.flatten(1))

    def text_logits(self, texts: TextFeatures) -> Tensor:
        """Captions -> (B, K)."""
        values = texts.values
        if values.dim() == 3:
            values = resize_words(values, texts.lengths, self.regions, self.text_pool)
        return self.layers(values.flatten(1))
