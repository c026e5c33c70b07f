"""Pair losses and mixtures as ops."""

from __future__ import annotations

import torch

from pcsr_fast import ops, reference


def test_pair_losses_are_the_references():
    x, y = torch.randn(20, 4), torch.randn(20, 4)
    order, groups = torch.randperm(20).int(), torch.arange(20) // 2
    ours = ops.pair_losses(x, y, batch_size=6, order=order, groups=groups, margin=0.3)
    truth = reference.pair_losses(x, y, batch_size=6, order=order.long(), groups=groups, margin=0.3)
    assert torch.equal(ours.losses, truth.losses)
    assert ours.statistics == truth.statistics


def test_pair_losses_of_the_whole_set_do_not_depend_on_the_chunk():
    x, y = torch.randn(100, 8, dtype=torch.float64), torch.randn(100, 8, dtype=torch.float64)
    whole = ops.pair_losses(x, y)
    torch.testing.assert_close(ops.pair_losses(x, y, chunk=7).losses, whole.losses)


def test_autocast_does_not_lower_the_precision():
    x, y = torch.randn(20, 64), torch.randn(20, 64)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = ops.pair_losses(x, y).losses
    assert torch.equal(inside, ops.pair_losses(x, y).losses)


def test_statistics_normalise_as_minmax_does():
    x, y = torch.randn(50, 8), torch.randn(50, 8)
    losses, statistics = ops.pair_losses(x, y)
    scaled = (losses.double() - statistics.minimum) / (statistics.maximum - statistics.minimum)
    torch.testing.assert_close(scaled, ops.minmax(losses).double())


def test_mixture_is_the_references():
    values = torch.cat([0.2 + 0.05 * torch.randn(60), 0.7 + 0.1 * torch.randn(40)])
    ours, truth = ops.fit_mixture(values, init="kmeans"), reference.fit_mixture(values, init="kmeans")
    assert torch.equal(ours.posterior(), truth.posterior())
    assert ours.n_iter == truth.n_iter
