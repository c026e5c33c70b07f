"""Losses of every pair of a set over random problems: float64, and what a change of the problem does to them."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from pcsr_fast import reference
from pcsr_fast.ops import pair_losses, triplet_loss
from pcsr_fast.reference.pairs import PairLosses, pair_statistics
from tests.ops.tools import (
    DTYPES,
    FORWARD,
    LAYOUTS,
    SEEDS,
    STEADY,
    Pairs,
    assert_as_good,
    assert_same,
    assert_same_bits,
    merged,
    pairs,
    reversed_ids,
    runnable,
    threads,
)

POWERS = st.integers(-3, 3)


class Pool(NamedTuple):
    """A set of pairs, its margin, and the block size of its negatives (None: the whole set) with an order."""

    pairs: Pairs
    margin: float
    batch_size: int | None
    order: Tensor | None

    def backends(self) -> list[str]:
        x, y, groups, _ = self.pairs
        return runnable("pair_losses", x, y, margin=self.margin, batch_size=self.batch_size, groups=groups)

    def found(self, backend: str, **options: Any) -> PairLosses:
        x, y, groups, _ = self.pairs
        options = {"margin": self.margin, "batch_size": self.batch_size, "order": self.order} | options
        return pair_losses(x, y, groups=groups, backend=backend, **options)


@st.composite
def pools(draw: st.DrawFn, dtypes: tuple[torch.dtype, ...] = DTYPES, blocks: bool = True) -> Pool:
    """Sets of every size, dtype, kind and grouping, whole or in blocks."""
    made, margin = draw(pairs(dtypes)), draw(st.sampled_from((0.25, 0.5, 0.0, 2.0)))
    batch_size = draw(st.sampled_from((None, 2, 7, 16, 33, 128))) if blocks else None
    shuffled = batch_size is not None and draw(st.booleans())
    generator = torch.Generator().manual_seed(draw(SEEDS))
    return Pool(made, margin, batch_size, torch.randperm(made.x.shape[0], generator=generator) if shuffled else None)


@given(pools())
def test_losses_and_statistics_follow_float64(pool):
    x, y, groups, _ = pool.pairs
    options = {"margin": pool.margin, "batch_size": pool.batch_size, "order": pool.order, "groups": groups}
    theirs, truth = (reference.pair_losses(*sides, **options) for sides in ((x, y), (x.double(), y.double())))
    for backend in pool.backends():
        losses, statistics = pool.found(backend)
        assert_as_good(losses, theirs.losses, truth.losses, FORWARD[x.dtype])
        own = pair_statistics(losses)
        assert (statistics.minimum, statistics.maximum) == (own.minimum, own.maximum)
        for value, expected in zip(statistics, own, strict=True):
            torch.testing.assert_close(value, expected, rtol=1e-9, atol=1e-12)


@given(pools(), st.integers(1, 300))
def test_chunks_and_threads_do_not_matter_to_the_bit(pool, chunk):
    for backend in pool.backends():
        whole = pool.found(backend)
        with threads(3):
            cut = pool.found(backend, chunk=chunk)
        assert_same(cut.losses, whole.losses, bits=backend in STEADY, dtype=pool.pairs.x.dtype)
        if backend in STEADY:
            assert_same_bits(torch.stack(cut.statistics), torch.stack(whole.statistics))


@given(pools(), st.randoms(use_true_random=False))
def test_an_order_is_a_permutation_of_the_pairs(pool, random):
    """Cutting blocks from an order gives what the pairs laid in that order give."""
    x, y, groups, _ = pool.pairs
    order = list(range(x.shape[0]))
    random.shuffle(order)
    pick = torch.tensor(order)
    laid = pool.pairs._replace(x=x[pick], y=y[pick], groups=None if groups is None else groups[pick])
    for backend in pool.backends():
        expected = pool.found(backend, order=None if pool.batch_size is None else pick)
        permuted = pool._replace(pairs=laid, order=None).found(backend)
        assert_same(permuted.losses, expected.losses[pick], bits=False, dtype=x.dtype)


@given(pools())
def test_merged_groups_never_raise_a_loss(pool):
    x, _, groups, _ = pool.pairs
    coarser = pool._replace(pairs=pool.pairs._replace(groups=merged(groups, x.shape[0])))
    for backend in pool.backends():
        fine, coarse = pool.found(backend).losses, coarser.found(backend).losses
        assert (coarse <= fine * (1 + 1e-5)).all()


@given(pools(blocks=False))
def test_the_whole_set_is_one_batch_of_the_triplet_loss(pool):
    x, y, groups, _ = pool.pairs
    options = {"margin": pool.margin, "groups": groups, "negatives": "mean", "reduction": "none"}
    for backend in pool.backends():
        expected = triplet_loss(x, y, **options, backend="reference")
        assert_same(pool.found(backend).losses, expected, bits=False, dtype=x.dtype)


@given(pools(dtypes=(torch.float32, torch.float64, torch.bfloat16)), POWERS, POWERS)
def test_powers_of_two_scale_losses_exactly(pool, of_x, of_y):
    factor = 2.0 ** (of_x + of_y)
    x, y, _, _ = pool.pairs
    scaled = pool._replace(pairs=pool.pairs._replace(x=x * 2.0**of_x, y=y * 2.0**of_y), margin=pool.margin * factor)
    for backend in pool.backends():
        assert torch.equal(scaled.found(backend).losses, pool.found(backend).losses * factor)


@given(pools(), st.sampled_from(LAYOUTS), st.sampled_from(LAYOUTS))
def test_layout_in_memory_does_not_matter(pool, of_x, of_y):
    x, y, groups, exact = pool.pairs
    laid = pool._replace(pairs=Pairs(of_x(x), of_y(y), reversed_ids(groups), exact))
    for backend in pool.backends():
        assert_same(laid.found(backend).losses, pool.found(backend).losses, bits=backend in STEADY, dtype=x.dtype)
