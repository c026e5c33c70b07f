"""Per-sample losses of a whole set against the batch loss, and how it is cut into blocks."""

from __future__ import annotations

import itertools

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pcsr_fast.reference import pair_losses, triplet_loss
from pcsr_fast.reference.pairs import block_edges

SEEDS = st.integers(0, 2**31 - 1)


def embeddings(seed: int, count: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return tuple(torch.randn(count, 4, generator=generator, dtype=torch.float64) for _ in range(2))


@given(SEEDS, st.integers(1, 30), st.integers(1, 40), st.booleans())
def test_whole_set_is_the_mean_hinge_over_all_pairs(seed, count, chunk, grouped):
    x, y = embeddings(seed, count)
    groups = torch.arange(count) // 3 if grouped else None
    losses, statistics = pair_losses(x, y, groups=groups, chunk=chunk)
    expected = triplet_loss(x, y, negatives="mean", groups=groups, reduction="none")
    torch.testing.assert_close(losses, expected)
    found = torch.stack(list(statistics))
    truth = torch.stack([expected.min(), expected.max(), expected.mean(), expected.var(correction=0)])
    torch.testing.assert_close(found, truth)


@given(SEEDS, st.integers(1, 30), st.integers(2, 12), st.booleans())
def test_blocks_are_batches_of_the_given_order(seed, count, batch_size, grouped):
    x, y = embeddings(seed, count)
    groups = torch.arange(count) // 3 if grouped else None
    order = torch.randperm(count, generator=torch.Generator().manual_seed(seed))
    losses = pair_losses(x, y, batch_size=batch_size, order=order, groups=groups).losses
    edges = block_edges(count, batch_size)
    for first, last in itertools.pairwise(edges):
        pick = order[first:last]
        ids = None if groups is None else groups[pick]
        expected = triplet_loss(x[pick], y[pick], negatives="mean", groups=ids, reduction="none")
        torch.testing.assert_close(losses[pick], expected)


@given(st.integers(1, 500), st.integers(2, 60))
def test_no_block_is_a_single_pair(count, batch_size):
    edges = block_edges(count, batch_size)
    sizes = [last - first for first, last in itertools.pairwise(edges)]
    assert (edges[0], edges[-1]) == (0, count)
    assert max(sizes) - min(sizes) <= 1
    assert min(sizes) >= min(2, count)
    assert max(sizes) <= batch_size + 1


def test_a_larger_batch_changes_no_block_of_the_same_size():
    assert block_edges(10, None) == [0, 10]
    assert block_edges(10, 10) == [0, 10]
    assert block_edges(11, 10) == [0, 5, 11]
    assert block_edges(3, 2) == [0, 3]


def test_not_differentiable_and_half_precision_widens():
    x = torch.randn(4, 3, dtype=torch.bfloat16, requires_grad=True)
    losses = pair_losses(x, x).losses
    assert losses.dtype == torch.float32
    assert not losses.requires_grad


@pytest.mark.parametrize("batch_size", [None, 2])
def test_one_pair_has_no_loss(batch_size):
    x, y = embeddings(0, 1)
    assert pair_losses(x, y, batch_size=batch_size).losses.tolist() == [0.0]
