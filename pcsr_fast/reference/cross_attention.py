"""The similarity of images with captions by cross-attention, whatever the head (METHODS 2.1)."""

from __future__ import annotations

from torch import Tensor

from pcsr_fast.reference.saf import SafParameters, filtration_similarity
from pcsr_fast.reference.scan import ScanParameters, scan_similarity
from pcsr_fast.reference.sgr import SgrParameters, sgr_similarity

HeadParameters = ScanParameters | SgrParameters | SafParameters


def cross_attention_similarity(regions: Tensor, words: Tensor, lengths: Tensor, head: HeadParameters) -> Tensor:
    """(B, R, d) regions, (C, L, d) words of which (C,) `lengths` are valid -> scores (B, C).

    The type of `head` says which similarity: see `scan_column`, `sgr_column`, `filtration_column`.
    """
    if isinstance(head, ScanParameters):
        return scan_similarity(regions, words, lengths, head)
    if isinstance(head, SgrParameters):
        return sgr_similarity(regions, words, lengths, head)
    return filtration_similarity(regions, words, lengths, head).scores
