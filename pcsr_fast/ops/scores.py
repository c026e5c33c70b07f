"""Scores that are there as a matrix, or as the embeddings whose product they are and which nobody has to form."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from pcsr_fast.ops.contrastive import contrastive_loss, contrastive_loss_from_scores
from pcsr_fast.ops.search import retrieval_ranks, retrieval_ranks_from_scores
from pcsr_fast.ops.triplet import triplet_loss, triplet_loss_from_scores
from pcsr_fast.reference.ranks import RetrievalRanks


class Product(NamedTuple):
    """S = x y^T of image embeddings x (N, D) and caption embeddings y (M, D)."""

    x: Tensor
    y: Tensor


Scores = Tensor | Product


def triplet_loss_of(scores: Scores, **options: Any) -> Tensor:
    """`triplet_loss` or `triplet_loss_from_scores`, with their options."""
    if isinstance(scores, Product):
        return triplet_loss(scores.x, scores.y, **options)
    return triplet_loss_from_scores(scores, **options)


def contrastive_loss_of(scores: Scores, **options: Any) -> Tensor:
    """`contrastive_loss` or `contrastive_loss_from_scores`, with their options."""
    if isinstance(scores, Product):
        return contrastive_loss(scores.x, scores.y, **options)
    return contrastive_loss_from_scores(scores, **options)


def retrieval_ranks_of(scores: Scores, image_of_text: Tensor, ties: str = "pessimistic") -> RetrievalRanks:
    """`retrieval_ranks` or `retrieval_ranks_from_scores`."""
    if isinstance(scores, Product):
        return retrieval_ranks(scores.x, scores.y, image_of_text, ties)
    return retrieval_ranks_from_scores(scores, image_of_text, ties)


def mean_scores(scores: Sequence[Scores]) -> Scores:
    """The mean of several scores of the same images and captions; of products, one product of wider embeddings."""
    products = [one for one in scores if isinstance(one, Product)]
    if len(products) == len(scores):
        x, y = (torch.cat(side, dim=1) for side in zip(*products, strict=True))
        return Product(x / len(scores), y)
    return torch.stack([score_matrix_of(one) for one in scores]).mean(0)


def score_matrix_of(scores: Scores) -> Tensor:
    """The matrix (N, M)."""
    return scores.x @ scores.y.T if isinstance(scores, Product) else scores


def select_scores(scores: Scores, images: slice, texts: Tensor) -> Scores:
    """Scores of some images with some captions, given by their numbers."""
    if isinstance(scores, Product):
        return Product(scores.x[images], scores.y[texts])
    return scores[images][:, texts]
