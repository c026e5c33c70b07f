"""Attention of words over regions, which SCAN, SGR and SAF share (METHODS 2.1).

Shapes: B images of R regions, C captions of up to L words, n words of one caption, joint size d.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

EPSILON = 1e-8
SHARPNESS = 9.0
LEAKY_SLOPE = 0.1


def l2norm(values: Tensor, dim: int = -1) -> Tensor:
    """x / (|x| + 1e-8): the epsilon stands outside the root, as in the SCAN family (METHODS 2.1).

    The gradient at x = 0 (padding, empty regions) is taken as 0: the formula's own would be 1e8.
    """
    square = values.square().sum(dim=dim, keepdim=True)
    zero = square == 0
    norm = torch.where(zero, 1, square).sqrt()
    return torch.where(zero, 0, values / (norm + EPSILON))


def attention_weights(regions: Tensor, words: Tensor, sharpness: float = SHARPNESS) -> Tensor:
    """Weights of the regions of each image for each word: (B, R, d), (n, d) -> (B, R, n), columns sum to 1.

    A_rw = leakyrelu(v_r . t_w), slope 0.1; A_r <- l2norm over the words; weight_rw = softmax over r of sharpness A_rw
    """
    scores = F.leaky_relu(regions @ words.T, LEAKY_SLOPE)
    return torch.softmax(sharpness * l2norm(scores, dim=2), dim=1)


def attended_regions(regions: Tensor, words: Tensor) -> Tensor:
    """Unit context of each word in each image, c_w = l2norm(sum_r weight_rw v_r): (B, R, d), (n, d) -> (B, n, d)."""
    return l2norm(attention_weights(regions, words).transpose(1, 2) @ regions)


def caption_columns(words: Tensor, lengths: Tensor, column: Callable[[int, Tensor], Tensor]) -> Tensor:
    """Scores (B, C), one caption at a time: `column(j, words (n_j, d) of caption j)` gives (B,). words (C, L, d)."""
    cut = [one[:length] for one, length in zip(words, lengths.tolist(), strict=True)]
    return torch.stack([column(j, one) for j, one in enumerate(cut)], dim=1)
