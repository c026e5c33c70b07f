"""SCAN similarity head, text to image: words are compared with what they attend to, nothing is learnt (METHODS 2.1)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from pcsr_fast.models.encoders import TextFeatures
from pcsr_fast.models.layers import autocast_precision
from pcsr_fast.ops.cross_attention import cross_attention_similarity
from pcsr_fast.ops.sparse_head import hardest_triplet_of_head
from pcsr_fast.reference.attention import SHARPNESS
from pcsr_fast.reference.scan import ScanParameters


class SCANHead(nn.Module):
    """Similarity in [-1, 1] of every image with every caption: mean cosine of words and their contexts; no state.

    Args:
        sharpness: temperature of the attention over regions.
    """

    def __init__(self, sharpness: float = SHARPNESS) -> None:
        super().__init__()
        self.parameters_of_op = ScanParameters(sharpness)

    def forward(self, regions: Tensor, texts: TextFeatures) -> Tensor:
        """(B, R, d), C captions -> (B, C); under autocast, matrix products are of bfloat16 numbers."""
        regions, words = _of_one_dtype(regions, texts)
        precision = autocast_precision(regions)
        return cross_attention_similarity(regions, words, texts.lengths, self.parameters_of_op, precision=precision)

    def hardest_triplet(
        self, regions: Tensor, texts: TextFeatures, *, screen: str | None = None, **options: Any
    ) -> Tensor:
        """`hardest_triplet_of_head` of pairs (B, R, d), B captions; under autocast negatives are chosen in bfloat16."""
        regions, words = _of_one_dtype(regions, texts)
        screen = screen or autocast_precision(regions)
        head = self.parameters_of_op
        return hardest_triplet_of_head(head, regions, words, texts.lengths, screen=screen, **options)


def _of_one_dtype(regions: Tensor, texts: TextFeatures) -> tuple[Tensor, Tensor]:
    dtype = torch.promote_types(regions.dtype, texts.values.dtype)
    return regions.to(dtype), texts.values.to(dtype)
