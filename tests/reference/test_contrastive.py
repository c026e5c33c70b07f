"""The reference contrastive losses and their analytic gradients against the definition, and their properties."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from pcsr_fast.reference import contrastive_loss, contrastive_loss_from_scores
from pcsr_fast.reference.contrastive_gradient import contrastive_score_gradient
from pcsr_fast.reference.contrastive_terms import KINDS, contrastive_settings, log_complement
from tests.reference import naive

SIZES = st.integers(1, 7)
SEEDS = st.integers(0, 2**31 - 1)


def problem(seed: int, size: int, grouped: bool) -> tuple[Tensor, Tensor | None]:
    generator = torch.Generator().manual_seed(seed)
    scores = torch.rand(size, size, generator=generator, dtype=torch.float64)
    return scores, torch.randint(0, max(1, size // 2), (size,), generator=generator) if grouped else None


@given(SEEDS, SIZES, st.sampled_from(KINDS), st.sampled_from((0.05, 0.3, 2.0)), st.booleans())
def test_value_and_both_gradients_follow_the_definition(seed, size, kind, temperature, grouped):
    scores, groups = problem(seed, size, grouped)
    scores.requires_grad_()
    upstream = torch.linspace(-1, 2, size, dtype=torch.float64)
    settings = contrastive_settings(kind, temperature)
    ours = contrastive_loss_from_scores(scores, kind=kind, temperature=temperature, groups=groups, reduction="none")
    theirs = naive.contrastive(scores, kind, temperature, settings.q, settings.margin, groups)
    torch.testing.assert_close(ours, theirs)
    # A batch of one has no negative; adding 0 S keeps even a constant loss a function of the scores.
    (truth,) = torch.autograd.grad(theirs @ upstream + 0.0 * scores.sum(), scores)
    (automatic,) = torch.autograd.grad(ours @ upstream, scores)
    torch.testing.assert_close(automatic, truth)
    torch.testing.assert_close(contrastive_score_gradient(upstream, scores.detach(), settings, groups), truth)


@given(SEEDS, SIZES, st.sampled_from(KINDS), st.booleans())
def test_permuting_the_batch_permutes_the_losses(seed, size, kind, grouped):
    scores, groups = problem(seed, size, grouped)
    order = torch.randperm(size, generator=torch.Generator().manual_seed(seed))
    moved = None if groups is None else groups[order]
    shuffled = contrastive_loss_from_scores(scores[order][:, order], kind=kind, groups=moved, reduction="none")
    straight = contrastive_loss_from_scores(scores, kind=kind, groups=groups, reduction="none")
    torch.testing.assert_close(shuffled, straight[order])


@given(SEEDS, SIZES, st.sampled_from(("infonce", "rce", "gce_infonce")))
def test_merging_groups_never_raises_a_loss(seed, size, kind):
    scores, groups = problem(seed, size, grouped=True)
    merged = contrastive_loss_from_scores(scores, kind=kind, groups=groups // 2, reduction="none")
    refined = contrastive_loss_from_scores(scores, kind=kind, groups=groups, reduction="none")
    alone = contrastive_loss_from_scores(scores, kind=kind, reduction="none")
    assert (merged <= refined + 1e-12).all()
    assert (refined <= alone + 1e-12).all()


@given(SEEDS, SIZES, st.sampled_from(KINDS), st.booleans())
def test_losses_are_not_negative_and_bounded_where_they_are(seed, size, kind, grouped):
    scores, groups = problem(seed, size, grouped)
    losses = contrastive_loss_from_scores(scores, kind=kind, groups=groups, reduction="none")
    assert (losses >= -1e-12).all()
    bound = {"gce_infonce": 1 / 0.7, "ccl_gce": 2 * (size - 1) / 0.5, "ccl_tan": 2 * torch.tan(torch.ones(())) * 1.01}
    if kind in bound:
        assert (losses <= bound[kind] + 1e-9).all()


@given(SEEDS, st.integers(2, 6), st.sampled_from(("infonce", "rce", "ccl_log", "ccl_tan", "ccl_gce", "gce_infonce")))
def test_shifting_all_scores_changes_nothing(seed, size, kind):
    scores, groups = problem(seed, size, grouped=True)
    here = contrastive_loss_from_scores(scores, kind=kind, groups=groups, reduction="none")
    torch.testing.assert_close(
        contrastive_loss_from_scores(scores + 3.0, kind=kind, groups=groups, reduction="none"),
        here,
        rtol=1e-9,
        atol=1e-9,
    )


@given(SEEDS, st.integers(2, 6), st.sampled_from(KINDS))
def test_a_duplicated_batch_is_told_apart_by_groups(seed, size, kind):
    scores, _ = problem(seed, size, grouped=False)
    groups = torch.arange(size).repeat(2)
    losses = contrastive_loss_from_scores(scores.repeat(2, 2), kind=kind, groups=groups, reduction="none")
    torch.testing.assert_close(losses[:size], losses[size:])


@given(SEEDS, st.integers(2, 6))
def test_tal_bounds_the_triplet_loss_and_tends_to_it(seed, size):
    scores, _ = problem(seed, size, grouped=False)
    hard = naive.triplet(scores, torch.tensor(0.1, dtype=torch.float64), "scalar", "hardest")
    losses = contrastive_loss_from_scores(scores, kind="tal", temperature=0.015, margin=0.1, reduction="none")
    sharp = contrastive_loss_from_scores(scores, kind="tal", temperature=1e-5, margin=0.1, reduction="none")
    assert (losses >= hard - 1e-12).all()
    torch.testing.assert_close(sharp, hard, rtol=0, atol=1e-4)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("scale", [1.0, 100.0])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_confident_scores_stay_finite(kind, scale, dtype):
    """A wrong pair scored far above the rest: p rounds to 1, where log(1 - p) and its derivative would be infinite."""
    scores = torch.zeros(3, 3, dtype=dtype)
    scores[0, 1] = scale
    scores[2, 2] = -scale
    scores.requires_grad_()
    losses = contrastive_loss_from_scores(scores, kind=kind, temperature=0.05, reduction="none")
    (automatic,) = torch.autograd.grad(losses.sum(), scores)
    settings = contrastive_settings(kind, 0.05)
    analytic = contrastive_score_gradient(torch.ones(3, dtype=dtype), scores.detach(), settings)
    assert torch.isfinite(losses).all()
    assert torch.isfinite(automatic).all()
    assert torch.isfinite(analytic).all()


def test_ccl_log_of_a_certain_mistake_is_the_score_gap():
    scores = torch.zeros(2, 2, dtype=torch.float64)
    scores[0, 1] = 5.0
    losses = contrastive_loss_from_scores(scores, kind="ccl_log", temperature=0.05, reduction="none")
    torch.testing.assert_close(losses[0], torch.tensor(100.0 + 0.6931471805599453, dtype=torch.float64))


def test_log_complement_keeps_small_differences():
    log_p = torch.log_softmax(torch.tensor([[0.0, 50.0, 1.0]], dtype=torch.float32), dim=1)
    exact = torch.log_softmax(torch.tensor([[0.0, 50.0, 1.0]], dtype=torch.float64), dim=1)
    expected = torch.logsumexp(exact[0, [0, 2]], 0)
    torch.testing.assert_close(log_complement(log_p)[0, 1].double(), expected, rtol=1e-6, atol=0)


def test_embeddings_give_the_loss_of_their_products():
    x, y = torch.randn(5, 3, dtype=torch.float64), torch.randn(5, 3, dtype=torch.float64)
    torch.testing.assert_close(contrastive_loss(x, y, kind="rce"), contrastive_loss_from_scores(x @ y.T, kind="rce"))


@pytest.mark.parametrize(("options", "word"), [({"kind": "x"}, "kind"), ({"kind": "tal", "temperature": 0}, "temper")])
def test_bad_settings(options, word):
    with pytest.raises(ValueError, match=word):
        contrastive_loss_from_scores(torch.eye(2), **options)
