"""SAF: similarity by filtering local and global agreements (METHODS 2.1).

Source: Diao et al., "Similarity Reasoning and Filtration for Image-Text Matching", AAAI 2021.
Shapes: B images, C captions, n words, joint size d, similarity size s.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from pcsr_fast.reference.attention import EPSILON, l2norm
from pcsr_fast.reference.sgr import Alignment, alignment_nodes

NORM_EPSILON = 1e-5


class SafParameters(NamedTuple):
    """As `SgrParameters` up to `glob_bias`; `score_weight`, `output_weight` (s,), everything else ().

    `norm_mean`, `norm_variance`: what the scores of nodes are normalised with; None takes those of each caption's own
    nodes with all images, as in training.
    """

    images: Tensor
    captions: Tensor
    local_weight: Tensor
    local_bias: Tensor
    glob_weight: Tensor
    glob_bias: Tensor
    score_weight: Tensor
    score_bias: Tensor
    norm_weight: Tensor
    norm_bias: Tensor
    output_weight: Tensor
    output_bias: Tensor
    norm_mean: Tensor | None = None
    norm_variance: Tensor | None = None


class FiltrationScores(NamedTuple):
    """Scores (B, C), and the mean and biased variance (C,) that each caption's nodes were normalised with."""

    scores: Tensor
    mean: Tensor
    variance: Tensor


def filtration_column(regions: Tensor, words: Tensor, caption: Tensor, head: SafParameters) -> FiltrationScores:
    """Scores (B,) in (0, 1) of images with one caption (n, d) whose global vector is `caption` (d,), nodes E:

    z = BN(w_a . E_w + b_a) over all images and nodes        a = l1norm_w(sigmoid(z))
    S = sigmoid(w . l2norm(sum_w a_w E_w) + b)
    """
    nodes = alignment_nodes(regions, words, caption, Alignment(*head[:6]))
    raw = nodes @ head.score_weight + head.score_bias
    mean = raw.mean() if head.norm_mean is None else head.norm_mean
    variance = (raw - mean).square().mean() if head.norm_variance is None else head.norm_variance
    gates = torch.sigmoid((raw - mean) / (variance + NORM_EPSILON).sqrt() * head.norm_weight + head.norm_bias)
    weights = gates / (gates.sum(1, keepdim=True) + EPSILON)
    vectors = l2norm((weights.unsqueeze(2) * nodes).sum(1))
    scores = torch.sigmoid(vectors @ head.output_weight + head.output_bias)
    return FiltrationScores(scores, mean.detach(), variance.detach())


def filtration_similarity(regions: Tensor, words: Tensor, lengths: Tensor, head: SafParameters) -> FiltrationScores:
    """(B, R, d), (C, L, d), (C,) word counts -> scores (B, C) and the statistics behind them."""
    cut = [one[:length] for one, length in zip(words, lengths.tolist(), strict=True)]
    columns = [filtration_column(regions, one, head.captions[j], head) for j, one in enumerate(cut)]
    scores, mean, variance = zip(*columns, strict=True)
    return FiltrationScores(torch.stack(scores, dim=1), torch.stack(mean), torch.stack(variance))
