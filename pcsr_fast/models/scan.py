"""SCAN similarity head, text to image: words are compared with what they attend to, nothing is learnt (METHODS 2.1)."""

from __future__ import annotations

from torch import Tensor, nn

from pcsr_fast.models.encoders import TextFeatures
from pcsr_fast.models.layers import autocast_precision, of_one_dtype
from pcsr_fast.ops.scores import HeadScores, score_matrix_of
from pcsr_fast.reference.attention import SHARPNESS
from pcsr_fast.reference.scan import ScanParameters


class SCANHead(nn.Module):
    """Similarity in [-1, 1] of every image with every caption: mean cosine of words and their contexts; no state.

    Args:
        sharpness: temperature of the attention over regions.
    """

    def __init__(self, sharpness: float = SHARPNESS) -> None:
        super().__init__()
        self.sharpness = sharpness

    def scores(self, regions: Tensor, texts: TextFeatures) -> HeadScores:
        """Scores of (B, R, d) with C captions, not computed yet; under autocast, products are of bfloat16 numbers."""
        regions, words = of_one_dtype(regions, texts.words)
        return HeadScores(regions, words, texts.lengths, ScanParameters(self.sharpness), autocast_precision(regions))

    def forward(self, regions: Tensor, texts: TextFeatures) -> Tensor:
        """`scores` as a matrix (B, C)."""
        return score_matrix_of(self.scores(regions, texts))
