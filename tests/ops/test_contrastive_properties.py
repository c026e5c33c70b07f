"""Contrastive losses over random problems: float64, and what a change of the problem does to the losses."""

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from pcsr_fast import reference
from pcsr_fast.ops import contrastive_loss_from_scores
from pcsr_fast.reference.contrastive_terms import HALVED, KINDS, contrastive_settings
from tests.ops.contrasts import Contrasts, check_against_float64, contrasts
from tests.ops.tools import (
    LAYOUTS,
    STEADY,
    assert_as_good,
    assert_same_bits,
    merged,
    reversed_ids,
    runnable,
    threads,
)

POWERS = st.integers(-3, 3)
SOFTMAX = tuple(kind for kind in KINDS if kind != "tal")


def assert_close(losses: Tensor, expected: Tensor, problem: Contrasts) -> None:
    """The same value up to the order of sums, amplified by 1 / temperature."""
    fine = problem.x.dtype == torch.float64
    assert_as_good(losses, expected, expected.double(), 1e-10 if fine else 5e-5)


def reindexed(problem: Contrasts, pick: Tensor) -> Contrasts:
    """The problem of the pairs `pick`, in that order."""
    groups = None if problem.groups is None else problem.groups[pick]
    return problem._replace(x=problem.x[pick], y=problem.y[pick], groups=groups)


@given(contrasts())
def test_values_and_gradients_follow_float64(problem):
    check_against_float64(problem)


@given(contrasts(), st.randoms(use_true_random=False))
def test_permuted_pairs_have_permuted_losses(problem, random):
    order = list(range(problem.x.shape[0]))
    random.shuffle(order)
    pick = torch.tensor(order)
    for backend in problem.backends():
        assert_close(reindexed(problem, pick).losses(backend), problem.losses(backend)[pick], problem)


@given(contrasts(kinds=HALVED))
def test_merged_groups_never_raise_a_loss(problem):
    """Merging takes negatives out of the softmax. The complementary losses share what is left among fewer instead."""
    coarser = problem._replace(groups=merged(problem.groups, problem.x.shape[0]))
    for backend in problem.backends():
        fine, coarse = problem.losses(backend), coarser.losses(backend)
        assert (coarse <= fine + 1e-5 * (1 + fine)).all()


@given(contrasts(kinds=SOFTMAX), st.data())
def test_a_copy_in_the_same_group_is_one_more_negative(problem, data):
    """But not of its own group, whose losses stay; its own is its original's."""
    size = problem.x.shape[0]
    copied = data.draw(st.integers(0, size - 1))
    ids = torch.arange(size) if problem.groups is None else problem.groups
    alike = ids == ids[copied]
    pick = torch.tensor([*range(size), copied])
    doubled = reindexed(problem._replace(groups=ids), pick)
    for backend in problem.backends():
        before, after = problem.losses(backend), doubled.losses(backend)
        assert_close(after[:size][alike], before[alike], problem)
        assert_close(after[-1:], after[copied][None], problem)


@given(contrasts(dtypes=(torch.float32, torch.float64, torch.bfloat16), kinds=SOFTMAX), POWERS, POWERS)
def test_temperature_undoes_a_power_of_two(problem, of_x, of_y):
    temperature = contrastive_settings(problem.kind, problem.temperature).temperature
    scaled = problem._replace(
        x=problem.x * 2.0**of_x, y=problem.y * 2.0**of_y, temperature=temperature * 2.0 ** (of_x + of_y)
    )
    for backend in problem.backends():
        assert_close(scaled.losses(backend), problem.losses(backend), problem)


@given(contrasts())
def test_sides_can_be_exchanged(problem):
    mirrored = problem._replace(x=problem.y, y=problem.x)
    for backend in problem.backends():
        assert_close(mirrored.losses(backend), problem.losses(backend), problem)


@given(contrasts(), st.sampled_from(LAYOUTS), st.sampled_from(LAYOUTS))
def test_layout_and_threads_do_not_matter(problem, of_x, of_y):
    laid = problem._replace(x=of_x(problem.x), y=of_y(problem.y), groups=reversed_ids(problem.groups))
    for backend in problem.backends():
        losses = problem.losses(backend)
        with threads(3):
            other = laid.losses(backend)
        if backend in STEADY:
            assert_same_bits(other, losses)
        else:
            assert_close(other, losses, problem)


@given(contrasts())
def test_scores_give_what_embeddings_give(problem):
    wide = torch.float64 if problem.x.dtype == torch.float64 else torch.float32
    scores = problem.x.to(wide) @ problem.y.to(wide).T
    theirs, truth = (
        reference.contrastive_loss_from_scores(values, **problem.options, reduction="none")
        for values in (scores, scores.double())
    )
    settings = contrastive_settings(problem.kind, problem.temperature)._asdict()
    for backend in runnable("contrastive_loss_from_scores", scores, **settings, groups=problem.groups):
        losses = contrastive_loss_from_scores(scores, **problem.options, reduction="none", backend=backend)
        assert_as_good(losses, theirs, truth, 1e-5)
        for other in problem.backends():
            assert_close(problem.losses(other), losses, problem)
