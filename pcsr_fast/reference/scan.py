"""SCAN, text to image: the similarity without weights of its own (attention as in METHODS 2.1).

Source: Lee et al., "Stacked Cross Attention for Image-Text Matching", ECCV 2018, mean pooling.
"""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor

from pcsr_fast.reference.attention import EPSILON, SHARPNESS, attention_weights, caption_columns


class ScanParameters(NamedTuple):
    """The temperature that attention over regions is sharpened by."""

    sharpness: float = SHARPNESS


def scan_column(regions: Tensor, words: Tensor, sharpness: float = SHARPNESS) -> Tensor:
    """Scores (B,) in [-1, 1] of images (B, R, d) with one caption (n, d).

    c_w = sum_r weight_rw v_r        S = mean_w  c_w . t_w / max(|c_w| |t_w|, 1e-8)
    """
    contexts = attention_weights(regions, words, sharpness).transpose(1, 2) @ regions
    products = (contexts * words).sum(2)
    # One root of the product: a norm of its own has no gradient at 0.
    squares = contexts.square().sum(2) * words.square().sum(1)
    return (products / squares.clamp(min=EPSILON**2).sqrt()).mean(1)


def scan_similarity(regions: Tensor, words: Tensor, lengths: Tensor, head: ScanParameters) -> Tensor:
    """(B, R, d), (C, L, d), (C,) word counts -> (B, C)."""
    return caption_columns(words, lengths, lambda _, one: scan_column(regions, one, head.sharpness))
