"""SCAN similarity head, text to image: words are compared with what they attend to, nothing is learnt (METHODS 2.1)."""

from __future__ import annotations

from torch import Tensor, nn

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

    def head_parameters(self, regions: Tensor, words: Tensor, lengths: Tensor) -> ScanParameters:
        """The head as the op takes it."""
        return ScanParameters(self.sharpness)
