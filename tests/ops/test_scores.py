"""Scores that are there, scores as products and scores of a head: every reader gives what the matrix gives."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from pcsr_fast import reference
from pcsr_fast.ops.scores import (
    BatchScores,
    HeadScores,
    Product,
    best_captions_of,
    contrastive_loss_of,
    mean_scores,
    retrieval_ranks_of,
    score_matrix_of,
    select_scores,
    triplet_loss_of,
)
from tests.ops.cross_attentions import make_head

FORMS = pytest.mark.parametrize("form", ["matrix", "product", "scan", "sgr", "saf", "saf_training"])
SIX = {"images": 6, "lengths": (3, 5, 2, 3, 1, 4)}


def make(form: str) -> tuple[BatchScores, Tensor, list[Tensor]]:
    """Scores (6, 6), the matrix that they must be, with a graph of its own kind, and what has a gradient."""
    generator = torch.Generator().manual_seed(2)
    if form == "matrix":
        S = torch.randn(6, 6, dtype=torch.float64, generator=generator).requires_grad_()
        return S, S, [S]
    if form == "product":
        x, y = (torch.randn(6, 4, dtype=torch.float64, generator=generator).requires_grad_() for _ in range(2))
        return Product(x, y), x @ y.T, [x, y]
    leaves, inputs = make_head(3, form, **SIX).leaves()
    return HeadScores(*leaves), reference.cross_attention_similarity(*leaves), inputs


def same_gradients(found: Tensor, expected: Tensor, inputs: list[Tensor]) -> None:
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-10)
    weights = torch.linspace(-1, 2, found.numel(), dtype=torch.float64).view_as(found)
    mine, theirs = (torch.autograd.grad((one * weights).sum(), inputs, allow_unused=True) for one in (found, expected))
    for one, other in zip(mine, theirs, strict=True):
        torch.testing.assert_close(
            torch.zeros(()) if one is None else one,
            torch.zeros(()) if one is None and not other.any() else other,
            rtol=1e-8,
            atol=1e-10,
            check_dtype=False,
        )


@FORMS
@pytest.mark.parametrize("negatives", ["hardest", "mean", "topk:2"])
def test_triplet_loss(form: str, negatives: str):
    scores, S, inputs = make(form)
    options = {"margin": 0.7, "groups": torch.tensor([0, 1, 2, 0, 3, 4]), "reduction": "none"}
    found = triplet_loss_of(scores, negatives=negatives, **options)
    same_gradients(found, reference.triplet_loss_from_scores(S, negatives=negatives, **options), inputs)


@FORMS
@pytest.mark.parametrize("kind", ["infonce", "gce_infonce", "ccl_log"])
def test_contrastive_loss(form: str, kind: str):
    scores, S, inputs = make(form)
    options = {"kind": kind, "temperature": 0.3, "reduction": "none"}
    same_gradients(contrastive_loss_of(scores, **options), reference.contrastive_loss_from_scores(S, **options), inputs)


@FORMS
def test_best_captions(form: str):
    scores, S, inputs = make(form)
    index, values = best_captions_of(scores)
    assert index.tolist() == S.argmax(1).tolist()
    same_gradients(values, S.max(1).values, inputs)


@FORMS
def test_matrix(form: str):
    scores, S, inputs = make(form)
    same_gradients(score_matrix_of(scores), S, inputs)


@pytest.mark.parametrize("form", ["matrix", "product"])
def test_what_evaluation_reads(form: str):
    scores, S, _ = make(form)
    texts = torch.tensor([4, 0, 1])
    torch.testing.assert_close(score_matrix_of(select_scores(scores, slice(1, 4), texts)), S[1:4][:, texts])
    owners = torch.arange(6)
    for ours, theirs in zip(
        retrieval_ranks_of(scores, owners), reference.retrieval_ranks_from_scores(S.detach(), owners), strict=True
    ):
        assert ours.tolist() == theirs.tolist()


def test_mean_of_matrices_and_of_products():
    (matrix, S, _), (product, P, _) = make("matrix"), make("product")
    before = S.detach().clone()
    torch.testing.assert_close(score_matrix_of(mean_scores([matrix, product])), (S + P) / 2)
    torch.testing.assert_close(score_matrix_of(mean_scores([product, product])), P)
    assert isinstance(mean_scores([product, product]), Product)
    assert torch.equal(S, before)
