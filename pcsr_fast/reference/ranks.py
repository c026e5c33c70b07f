"""Retrieval ranks in both directions by counting (METHODS 1.3; KERNELS 1, K5).

    i2t_i = #{caption k not of image i: s_ik above image i's best own caption}
    t2i_j = #{image k not of caption j: s_kj above s of caption j's own image}

Ranks start at 0. What "above" does with equal scores is the tie rule:
    pessimistic   equal others come first (default: a collapsed model, all scores equal, ranks last, not perfect)
    optimistic    equal others come after; a collapsed model looks perfect
    stable        equal others come first if their index is smaller: the order of a stable descending sort
A NaN score counts as worst under "pessimistic".
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from pcsr_fast.reference.reduction import compute_dtype

TIES = ("pessimistic", "optimistic", "stable")


class RetrievalRanks(NamedTuple):
    """0-based ranks int64: each image's best own caption (n_img,), -1 without one; each caption's image (n_txt,)."""

    i2t: Tensor
    t2i: Tensor


def count_above(scores: Tensor, threshold: Tensor, others: Tensor, earlier: Tensor, ties: str) -> Tensor:
    """Per row: how many of `others` come before `threshold` (rows, 1) under the tie rule."""
    if ties == "pessimistic":
        above = ~(scores < threshold)
    elif ties == "optimistic":
        above = scores > threshold
    else:
        above = (scores > threshold) | ((scores == threshold) & earlier)
    return (above & others).sum(1)


def _image_ranks(S: Tensor, own: Tensor, ties: str) -> Tensor:
    """i2t ranks of a block of images S (b, n_txt) whose captions `own` (b, n_txt) marks."""
    best, position = S.masked_fill(~own, -torch.inf).max(1, keepdim=True)
    if ties == "stable":
        position = (own & (best == S)).to(torch.uint8).argmax(1, keepdim=True)
    earlier = torch.arange(S.shape[1], device=S.device)[None, :] < position
    return count_above(S, best, ~own, earlier, ties).masked_fill(~own.any(1), -1)


def _caption_counts(S: Tensor, first: int, truth: Tensor, image_of_text: Tensor, ties: str) -> Tensor:
    """Part of the t2i ranks that a block of images first.. contributes; `truth` (n_txt,) is s of the own image."""
    images = torch.arange(first, first + S.shape[0], device=S.device)[None, :]
    own = image_of_text[:, None]
    return count_above(S.T, truth[:, None], images != own, images < own, ties)


def retrieval_ranks_from_scores(S: Tensor, image_of_text: Tensor, ties: str = "pessimistic") -> RetrievalRanks:
    """Ranks from S (n_img, n_txt) with caption j belonging to image `image_of_text[j]` (n_txt,) int64."""
    own = image_of_text[None, :] == torch.arange(S.shape[0], device=S.device)[:, None]
    truth = S.gather(0, image_of_text[None, :])[0]
    return RetrievalRanks(_image_ranks(S, own, ties), _caption_counts(S, 0, truth, image_of_text, ties))


def retrieval_ranks(
    x: Tensor, y: Tensor, image_of_text: Tensor, ties: str = "pessimistic", chunk: int = 1024
) -> RetrievalRanks:
    """Ranks of S = x y^T, x (n_img, D), y (n_txt, D), by blocks of `chunk` images; S is never held whole.

    The first pass keeps each caption's own score, the second compares: both from the same product of the same block,
    so that equal embeddings stay equal scores.
    """
    dtype = compute_dtype(x.dtype)
    blocks = range(0, x.shape[0], chunk)
    captions = y.to(dtype).T
    truth = torch.empty(y.shape[0], dtype=dtype, device=x.device)
    for first in blocks:
        S = x[first : first + chunk].to(dtype) @ captions
        mine = ((image_of_text >= first) & (image_of_text < first + chunk)).nonzero()[:, 0]
        truth[mine] = S[image_of_text[mine] - first, mine]
    i2t = torch.empty(x.shape[0], dtype=torch.int64, device=x.device)
    t2i = torch.zeros(y.shape[0], dtype=torch.int64, device=x.device)
    for first in blocks:
        S = x[first : first + chunk].to(dtype) @ captions
        images = torch.arange(first, first + S.shape[0], device=x.device)
        i2t[first : first + chunk] = _image_ranks(S, image_of_text[None, :] == images[:, None], ties)
        t2i += _caption_counts(S, first, truth, image_of_text, ties)
    return RetrievalRanks(i2t, t2i)
