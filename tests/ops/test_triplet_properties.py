"""Triplet losses over random problems: float64, and what a change of the problem does to the losses."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pcsr_fast import reference
from pcsr_fast.ops import triplet_loss_from_scores
from tests.ops.tools import (
    LAYOUTS,
    STEADY,
    assert_as_good,
    assert_same,
    merged,
    reversed_ids,
    runnable,
    threads,
)
from tests.ops.triplets import Triplets, check_against_float64, triplets

POWERS = st.integers(-3, 3)
MIRRORED = {"scalar": "scalar", "anchor": "anchor", "row": "col", "col": "row", "matrix": "matrix"}


def reindexed(problem: Triplets, pick: torch.Tensor) -> Triplets:
    """The problem of the pairs `pick`, in that order."""
    margin, groups = problem.margin, problem.groups
    if margin.ndim == 1:
        margin = margin[pick]
    elif margin.ndim == 2:
        margin = margin[pick][:, pick]
    groups = None if groups is None else groups[pick]
    return problem._replace(x=problem.x[pick], y=problem.y[pick], margin=margin, groups=groups)


@given(triplets())
def test_values_and_gradients_follow_float64(problem):
    check_against_float64(problem)


@given(triplets(), st.randoms(use_true_random=False))
def test_permuted_pairs_have_permuted_losses(problem, random):
    order = list(range(problem.x.shape[0]))
    random.shuffle(order)
    pick = torch.tensor(order)
    for backend in problem.backends():
        bits = problem.exact_losses or (backend in STEADY and problem.negatives == "hardest")
        expected = problem.losses(backend)[pick]
        assert_same(reindexed(problem, pick).losses(backend), expected, bits=bits, dtype=problem.x.dtype)


@given(triplets(negatives=("hardest", "mean", "sum")))
def test_merged_groups_never_raise_a_loss(problem):
    """Merging takes negatives away. Of the top k it may not: with a small hinge gone, the mean of the rest rises."""
    coarser = problem._replace(groups=merged(problem.groups, problem.x.shape[0]))
    for backend in problem.backends():
        fine, coarse = problem.losses(backend), coarser.losses(backend)
        assert (coarse <= fine * (1 + 1e-5)).all() if problem.negatives != "hardest" else (coarse <= fine).all()


@given(triplets(kinds=("integers", "unit")), st.integers(1, 80))
def test_blocks_and_threads_do_not_matter_to_the_bit(problem, block):
    for backend in problem.backends():
        if not problem.exact and backend not in STEADY:
            continue
        whole = problem.losses(backend)
        with pytest.MonkeyPatch.context() as patch, threads(3):
            patch.setattr("pcsr_fast.ops.lean.BLOCK", block)
            assert torch.equal(problem.losses(backend), whole)


@given(triplets(negatives=("hardest",)), st.data())
def test_a_copy_of_a_pair_changes_no_other_loss(problem, data):
    """The copy shares its original's group, and is a negative wherever the original is one already."""
    size = problem.x.shape[0]
    copied = data.draw(st.integers(0, size - 1))
    pick = torch.tensor([*range(size), copied])
    ids = torch.arange(size) if problem.groups is None else problem.groups
    for backend in problem.backends():
        doubled = reindexed(problem._replace(groups=ids), pick).losses(backend)
        expected = problem.losses(backend)[pick]
        assert_same(doubled, expected, bits=problem.exact or backend in STEADY, dtype=problem.x.dtype)


@given(triplets(), POWERS, POWERS)
def test_powers_of_two_scale_losses_exactly(problem, of_x, of_y):
    factor = 2.0 ** (of_x + of_y)
    scaled = problem._replace(x=problem.x * 2.0**of_x, y=problem.y * 2.0**of_y, margin=problem.margin * factor)
    for backend in problem.backends():
        expected = problem.losses(backend) * factor
        exactly = problem.x.dtype != torch.float16
        assert_same(scaled.losses(backend), expected, bits=exactly, dtype=problem.x.dtype)


@given(triplets())
def test_sides_can_be_exchanged(problem):
    mirrored = problem._replace(
        x=problem.y, y=problem.x, margin=problem.margin.t(), margin_mode=MIRRORED[problem.margin_mode]
    )
    for backend in problem.backends():
        expected = problem.losses(backend)
        assert_same(mirrored.losses(backend), expected, bits=problem.exact_losses, dtype=problem.x.dtype)


@given(triplets(), st.sampled_from(LAYOUTS), st.sampled_from(LAYOUTS))
def test_layout_in_memory_does_not_matter(problem, of_x, of_y):
    margin = of_x(problem.margin) if problem.margin.ndim == 2 else problem.margin
    groups = reversed_ids(problem.groups)
    laid = problem._replace(x=of_x(problem.x), y=of_y(problem.y), margin=margin, groups=groups)
    for backend in problem.backends():
        bits = problem.exact or backend in STEADY
        assert_same(laid.losses(backend), problem.losses(backend), bits=bits, dtype=problem.x.dtype)


@given(triplets(), st.booleans())
def test_scores_give_what_embeddings_give(problem, strided):
    wide = torch.float64 if problem.x.dtype == torch.float64 else torch.float32
    scores = problem.x.to(wide) @ problem.y.to(wide).T
    scores = scores.T.contiguous().T if strided else scores
    theirs, truth = (
        reference.triplet_loss_from_scores(values, **problem.options, reduction="none")
        for values in (scores, scores.double())
    )
    for backend in runnable("triplet_loss_from_scores", scores, **problem.options):
        losses = triplet_loss_from_scores(scores, **problem.options, reduction="none", backend=backend)
        assert_as_good(losses, theirs, truth, 1e-5)
        for other in problem.backends():
            assert_same(problem.losses(other), losses, bits=problem.exact_losses, dtype=wide)
