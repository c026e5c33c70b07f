"""Scores as a matrix, as the embeddings whose product they are, or as what a cross-attention head would score: of the last
two nobody has to form the matrix."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from pcsr_fast.ops.contrastive import contrastive_loss, contrastive_loss_from_scores
from pcsr_fast.ops.cross_attention import cross_attention_similarity
from pcsr_fast.ops.search import retrieval_ranks, retrieval_ranks_from_scores
from pcsr_fast.ops.sparse_head import best_captions_of_head, hardest_triplet_of_head
from pcsr_fast.ops.triplet import triplet_loss, triplet_loss_from_scores
from pcsr_fast.reference.cross_attention import HeadParameters
from pcsr_fast.reference.ranks import RetrievalRanks


class Product(NamedTuple):
    """S = x y^T of image embeddings x (N, D) and caption embeddings y (M, D)."""

    x: Tensor
    y: Tensor


class HeadScores(NamedTuple):
    """S of regions (N, R, d) and words (M, L, d) by a cross-attention head: `cross_attention_similarity` of these.

    `head` holds what is drawn once a step (dropout, BatchNorm), so that S is the same whoever asks for it.
    """

    regions: Tensor
    words: Tensor
    lengths: Tensor
    head: HeadParameters
    precision: str = "auto"


Scores = Tensor | Product
# Scores of a batch, most of which a loss may never need.
BatchScores = Scores | HeadScores


def triplet_loss_of(scores: BatchScores, *, negatives: str = "hardest", **options: Any) -> Tensor:
    """`triplet_loss`, `triplet_loss_from_scores` or `hardest_triplet_of_head`, with their options.

    A head at precision bf16 chooses hardest negatives so; their loss and gradient are exact.
    """
    if isinstance(scores, HeadScores) and negatives == "hardest":
        regions, words, lengths, head, screen = scores
        return hardest_triplet_of_head(head, regions, words, lengths, screen=screen, **options)
    if isinstance(scores, Product):
        return triplet_loss(scores.x, scores.y, negatives=negatives, **options)
    return triplet_loss_from_scores(score_matrix_of(scores), negatives=negatives, **options)


def contrastive_loss_of(scores: BatchScores, **options: Any) -> Tensor:
    """`contrastive_loss` or `contrastive_loss_from_scores`, with their options; memory of a head's is a chunk of pairs."""
    if isinstance(scores, Product):
        return contrastive_loss(scores.x, scores.y, **options)
    return contrastive_loss_from_scores(score_matrix_of(scores), **options)


def best_captions_of(scores: BatchScores) -> tuple[Tensor, Tensor]:
    """The caption (N,) that each image scores highest, lowest among equals, and that score (N,), exact and differentiable."""
    if isinstance(scores, HeadScores):
        regions, words, lengths, head, screen = scores
        return best_captions_of_head(head, regions, words, lengths, screen=screen)
    with torch.no_grad():
        index = score_matrix_of(scores).argmax(1)
    if isinstance(scores, Product):
        return index, (scores.x * scores.y[index]).sum(1)
    return index, scores.gather(1, index[:, None]).squeeze(1)


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
    total = score_matrix_of(scores[0]).clone()
    for one in scores[1:]:
        total += score_matrix_of(one)
    return total.div_(len(scores))


def score_matrix_of(scores: BatchScores) -> Tensor:
    """The matrix (N, M)."""
    if isinstance(scores, HeadScores):
        return cross_attention_similarity(*scores[:4], precision=scores.precision)
    return scores.x @ scores.y.T if isinstance(scores, Product) else scores


def select_scores(scores: Scores, images: slice, texts: Tensor) -> Scores:
    """Scores of some images with some captions, given by their numbers."""
    if isinstance(scores, Product):
        return Product(scores.x[images], scores.y[texts])
    return scores[images][:, texts]
