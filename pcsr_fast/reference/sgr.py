"""SGR: similarity by reasoning over a graph of local and global agreements (METHODS 2.1).

Source: Diao et al., "Similarity Reasoning and Filtration for Image-Text Matching", AAAI 2021.
Shapes: B images, C captions, n words, joint size d, similarity size s, K steps.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from pcsr_fast.reference.attention import attended_regions, caption_columns, l2norm


class SgrParameters(NamedTuple):
    """Global vectors `images` (B, d) and `captions` (C, d); weights (out, in) and biases of every linear map.

    `local_*`, `glob_*`: (s, d), (s,). `query_*`, `key_*`, `update_*`: a step each, (K, s, s), (K, s). `output_*`: (s,), ().
    """

    images: Tensor
    captions: Tensor
    local_weight: Tensor
    local_bias: Tensor
    glob_weight: Tensor
    glob_bias: Tensor
    query_weight: Tensor
    query_bias: Tensor
    key_weight: Tensor
    key_bias: Tensor
    update_weight: Tensor
    update_bias: Tensor
    output_weight: Tensor
    output_bias: Tensor


class Alignment(NamedTuple):
    """What SGR and SAF make nodes with: global vectors and the two projections, as in `SgrParameters`."""

    images: Tensor
    captions: Tensor
    local_weight: Tensor
    local_bias: Tensor
    glob_weight: Tensor
    glob_bias: Tensor


def alignment_nodes(regions: Tensor, words: Tensor, caption: Tensor, align: Alignment) -> Tensor:
    """Nodes [s_0; s_1 .. s_n] of one caption (n, d), global vector `caption` (d,), with all images: (B, 1 + n, s).

    s_w = l2norm(W_loc (c_w - t_w)^2)        s_0 = l2norm(W_glo (v_glo - t_glo)^2)        squares by element
    """
    contexts = attended_regions(regions, words)
    local = l2norm(F.linear((contexts - words).square(), align.local_weight, align.local_bias))
    glob = l2norm(F.linear((align.images - caption).square(), align.glob_weight, align.glob_bias))
    return torch.cat([glob.unsqueeze(1), local], dim=1)


def reason(nodes: Tensor, step: int, head: SgrParameters) -> Tensor:
    """One step, (B, 1 + n, s) -> the same: E <- relu(W_s softmax(Q K^T) E), Q = W_q E, K = W_k E, no 1/sqrt(s)."""
    query = F.linear(nodes, head.query_weight[step], head.query_bias[step])
    key = F.linear(nodes, head.key_weight[step], head.key_bias[step])
    edges = torch.softmax(query @ key.transpose(1, 2), dim=-1)
    return F.relu(F.linear(edges @ nodes, head.update_weight[step], head.update_bias[step]))


def sgr_column(regions: Tensor, words: Tensor, caption: Tensor, head: SgrParameters) -> Tensor:
    """Scores (B,) in (0, 1) of images with one caption: sigmoid(w . E_0 + b) after all steps."""
    nodes = alignment_nodes(regions, words, caption, Alignment(*head[:6]))
    for step in range(len(head.query_weight)):
        nodes = reason(nodes, step, head)
    return torch.sigmoid(nodes[:, 0] @ head.output_weight + head.output_bias)


def sgr_similarity(regions: Tensor, words: Tensor, lengths: Tensor, head: SgrParameters) -> Tensor:
    """(B, R, d), (C, L, d), (C,) word counts -> (B, C)."""
    return caption_columns(words, lengths, lambda j, one: sgr_column(regions, one, head.captions[j], head))
