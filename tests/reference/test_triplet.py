"""The reference triplet losses against the pair-by-pair definition, and their properties."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from pcsr_fast.reference import hinge_terms, triplet_loss, triplet_loss_from_scores
from tests.reference import naive

MODES = ("scalar", "anchor", "row", "col", "matrix")
NEGATIVES = ("hardest", "mean", "sum", "topk:2", "topk:50")
SIZES = st.integers(1, 7)
SEEDS = st.integers(0, 2**31 - 1)


def problem(seed: int, size: int, mode: str, grouped: bool = False) -> tuple[Tensor, Tensor, Tensor | None]:
    """Scores, margin and groups drawn from `seed`."""
    generator = torch.Generator().manual_seed(seed)
    scores = torch.rand(size, size, generator=generator, dtype=torch.float64)
    shape = {"scalar": (), "matrix": (size, size)}.get(mode, (size,))
    margin = 0.5 * torch.rand(shape, generator=generator, dtype=torch.float64)
    groups = torch.randint(0, max(1, size // 2), (size,), generator=generator) if grouped else None
    return scores, margin, groups


@given(SEEDS, SIZES, st.sampled_from(MODES), st.sampled_from(NEGATIVES), st.booleans())
def test_value_and_gradient_follow_the_definition(seed, size, mode, negatives, grouped):
    scores, margin, groups = problem(seed, size, mode, grouped)
    upstream = torch.linspace(-1, 2, size, dtype=torch.float64)
    scores.requires_grad_()
    margin.requires_grad_()
    options = {"margin": margin, "margin_mode": mode, "negatives": negatives, "groups": groups}
    ours = triplet_loss_from_scores(scores, **options, reduction="none")
    theirs = naive.triplet(scores, margin, mode, negatives, groups)
    torch.testing.assert_close(ours, theirs)
    # A batch of one has no negative; adding 0 m keeps even a constant loss a function of its inputs.
    truth = torch.autograd.grad(theirs @ upstream + 0.0 * (scores.sum() + margin.sum()), (scores, margin))
    torch.testing.assert_close(torch.autograd.grad(ours @ upstream, (scores, margin)), truth)


@given(SEEDS, SIZES, st.sampled_from(("scalar", "anchor")), st.sampled_from(NEGATIVES), st.booleans())
def test_permuting_the_batch_permutes_the_losses(seed, size, mode, negatives, grouped):
    scores, margin, groups = problem(seed, size, mode, grouped)
    order = torch.randperm(size, generator=torch.Generator().manual_seed(seed))
    moved = None if groups is None else groups[order]
    shuffled = triplet_loss_from_scores(
        scores[order][:, order],
        margin=margin[order] if mode == "anchor" else margin,
        negatives=negatives,
        groups=moved,
        reduction="none",
    )
    straight = triplet_loss_from_scores(scores, margin=margin, negatives=negatives, groups=groups, reduction="none")
    torch.testing.assert_close(shuffled, straight[order])


@given(SEEDS, SIZES, st.sampled_from(MODES), st.sampled_from(("hardest", "mean", "sum")))
def test_merging_groups_never_raises_a_loss(seed, size, mode, negatives):
    scores, margin, groups = problem(seed, size, mode, grouped=True)
    options = {"margin": margin, "margin_mode": mode, "negatives": negatives, "reduction": "none"}
    merged = triplet_loss_from_scores(scores, **options, groups=groups // 2)
    refined = triplet_loss_from_scores(scores, **options, groups=groups)
    alone = triplet_loss_from_scores(scores, **options)
    assert (merged <= refined + 1e-12).all()
    assert (refined <= alone + 1e-12).all()


@given(SEEDS, SIZES, st.sampled_from(NEGATIVES))
def test_losses_are_bounded_and_ordered(seed, size, negatives):
    scores, margin, _ = problem(seed, size, "scalar")
    losses = triplet_loss_from_scores(scores, margin=margin, negatives=negatives, reduction="none")
    hardest = triplet_loss_from_scores(scores, margin=margin, reduction="none")
    bound = (size - 1 if negatives == "sum" else 1) * hardest
    assert (losses >= 0).all()
    assert (losses <= bound + 1e-12).all()


@given(SEEDS, st.integers(2, 6))
def test_a_duplicated_batch_is_told_apart_by_groups(seed, size):
    scores, _, _ = problem(seed, size, "scalar")
    twice = scores.repeat(2, 2)
    groups = torch.arange(size).repeat(2)
    once = triplet_loss_from_scores(scores, reduction="none")
    torch.testing.assert_close(triplet_loss_from_scores(twice, groups=groups, reduction="none"), once.repeat(2))


@given(SEEDS, st.integers(2, 6))
def test_every_mode_agrees_on_one_margin(seed, size):
    scores, _, _ = problem(seed, size, "scalar")
    expected = triplet_loss_from_scores(scores, margin=0.3, margin_mode="scalar")
    for mode in ("anchor", "row", "col"):
        full = torch.full((size,), 0.3, dtype=torch.float64)
        torch.testing.assert_close(triplet_loss_from_scores(scores, margin=full, margin_mode=mode), expected)
    matrix = torch.full((size, size), 0.3, dtype=torch.float64)
    torch.testing.assert_close(triplet_loss_from_scores(scores, margin=matrix, margin_mode="matrix"), expected)


def test_hinge_terms_are_zero_off_the_negatives():
    scores, _, _ = problem(0, 4, "scalar")
    cs, ci = hinge_terms(scores, 5.0, "scalar", torch.tensor([0, 0, 1, 2]))
    masked = torch.eye(4, dtype=torch.bool)
    masked[0, 1] = masked[1, 0] = True
    assert (cs[masked] == 0).all()
    assert (ci[masked] == 0).all()
    assert (cs[~masked] > 0).all()
    assert (ci[~masked] > 0).all()


def test_equal_scores_choose_the_lowest_index():
    scores = torch.tensor([[0.5, 0.9, 0.9], [0.9, 0.5, 0.9], [0.9, 0.9, 0.5]], dtype=torch.float64, requires_grad=True)
    triplet_loss_from_scores(scores, reduction="sum").backward()
    expected = [[-2.0, 2.0, 1.0], [2.0, -2.0, 0.0], [1.0, 0.0, -2.0]]
    torch.testing.assert_close(scores.grad, torch.tensor(expected, dtype=torch.float64))


def test_topk_ties_choose_the_lowest_indices():
    """Long rows: a sort that is not stable keeps the order of short ones."""
    scores = torch.full((200, 200), 0.9, dtype=torch.float64).fill_diagonal_(0.5).requires_grad_()
    triplet_loss_from_scores(scores, negatives="topk:2", reduction="none")[199].backward()
    assert scores.grad[199].nonzero()[:, 0].tolist() == [0, 1, 199]
    assert scores.grad[199, [0, 1, 199]].tolist() == [0.5, 0.5, -2.0]


def test_topk_averages_over_what_is_available():
    scores = torch.tensor([[0.0, 0.4, 0.0], [0.0, 0.0, 0.0], [0.0, 0.0, 0.0]], dtype=torch.float64)
    losses = triplet_loss_from_scores(scores, negatives="topk:9", margin=0.2, reduction="none")
    torch.testing.assert_close(losses[0], torch.tensor((0.6 + 0.2) / 2 + 0.2, dtype=torch.float64))


@pytest.mark.parametrize("negatives", NEGATIVES)
def test_without_negatives_the_loss_is_zero(negatives):
    scores = torch.rand(3, 3, requires_grad=True)
    losses = triplet_loss_from_scores(scores, negatives=negatives, groups=torch.zeros(3).long(), reduction="none")
    losses.sum().backward()
    assert not losses.any()
    assert not scores.grad.any()


def test_embeddings_give_the_loss_of_their_products():
    x, y = torch.randn(5, 3, dtype=torch.float64), torch.randn(5, 3, dtype=torch.float64)
    torch.testing.assert_close(triplet_loss(x, y), triplet_loss_from_scores(x @ y.T))
