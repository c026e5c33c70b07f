"""The packed GRU against torch's own, which is the truth here."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence

from pcsr_fast.ops.gru import bidirectional_gru
from tests.ops.tools import SEEDS


def problem(seed: int, lengths: list[int], width: int, size: int, layers: int) -> tuple[nn.GRU, PackedSequence]:
    """A GRU and a packed sequence in float64 that asks for its gradient."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        gru = nn.GRU(width, size, layers, batch_first=True, bidirectional=True).double()
        values = torch.randn(len(lengths), max(lengths), width, dtype=torch.float64)
    packed = pack_padded_sequence(values, torch.tensor(lengths), batch_first=True, enforce_sorted=False)
    return gru, packed._replace(data=packed.data.requires_grad_())


def mean_of_directions(gru: nn.GRU, packed: PackedSequence) -> Tensor:
    """What torch gives."""
    return torch.stack(gru(packed)[0].data.chunk(2, dim=1)).mean(0)


def gradients(found: Tensor, upstream: Tensor, gru: nn.GRU, packed: PackedSequence) -> tuple[Tensor, ...]:
    """Of the input and all weights."""
    return torch.autograd.grad((found * upstream).sum(), [packed.data, *gru.parameters()])


@given(
    seed=SEEDS,
    lengths=st.lists(st.integers(1, 6), min_size=1, max_size=5),
    width=st.integers(1, 5),
    size=st.integers(1, 5),
    layers=st.integers(1, 3),
)
def test_values_and_gradients_are_those_of_torch(seed: int, lengths: list[int], width: int, size: int, layers: int):
    gru, packed = problem(seed, lengths, width, size, layers)
    found, truth = bidirectional_gru(gru, packed), mean_of_directions(gru, packed)
    torch.testing.assert_close(found, truth, rtol=0, atol=1e-12)
    upstream = torch.randn_like(truth)
    for got, expected in zip(
        gradients(found, upstream, gru, packed), gradients(truth, upstream, gru, packed), strict=True
    ):
        torch.testing.assert_close(got, expected, rtol=1e-10, atol=1e-11)


def test_autocast_rounds_products_alone():
    gru, packed = problem(0, [7, 3, 5, 7], 16, 32, 2)
    gru, packed = gru.float(), packed._replace(data=packed.data.detach().float().requires_grad_())
    truth = mean_of_directions(gru, packed)
    with torch.autocast("cpu", torch.bfloat16):
        found = bidirectional_gru(gru, packed)
    assert found.dtype == torch.float32
    assert not torch.equal(found, truth)
    torch.testing.assert_close(found, truth, rtol=0, atol=2e-2)
    for got, expected in zip(
        gradients(found, torch.ones_like(truth), gru, packed),
        gradients(truth, torch.ones_like(truth), gru, packed),
        strict=True,
    ):
        assert got.dtype == torch.float32
        assert float((got - expected).norm()) <= 2e-2 * float(expected.norm())


def test_frozen_weights_and_constant_inputs_get_no_gradient():
    gru, packed = problem(1, [3, 2], 3, 4, 1)
    gru.weight_hh_l0.requires_grad_(False)
    packed = packed._replace(data=packed.data.detach())
    bidirectional_gru(gru, packed).sum().backward()
    truth = {name: value.grad for name, value in gru.named_parameters()}
    gru.zero_grad()
    mean_of_directions(gru, packed).sum().backward()
    for name, value in gru.named_parameters():
        assert (truth[name] is None) == (value.grad is None)
        if value.grad is not None:
            torch.testing.assert_close(truth[name], value.grad, rtol=1e-10, atol=1e-12)


def test_a_second_derivative_is_refused():
    gru, packed = problem(2, [2], 2, 2, 1)
    (first,) = torch.autograd.grad(bidirectional_gru(gru, packed).square().sum(), packed.data, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        first.sum().backward()
