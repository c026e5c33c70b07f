"""Normalisation, masks and initialisation."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pcsr_fast.models.layers import Dropout, l2norm, length_mask, xavier_linear


@settings(deadline=None)
@given(st.lists(st.floats(-1e3, 1e3).filter(lambda v: v == 0 or abs(v) > 1e-9), min_size=1, max_size=6))
def test_l2norm_keeps_epsilon_outside_the_root(values: list[float]):
    x = torch.tensor(values, dtype=torch.float64)
    expected = x / (x.square().sum().sqrt() + 1e-8)
    torch.testing.assert_close(l2norm(x), expected, rtol=1e-14, atol=0)


def test_l2norm_of_nothing_is_nothing_and_has_no_gradient():
    x = torch.tensor([[0.0, 0.0], [3.0, 4.0]], requires_grad=True)
    y = l2norm(x)
    (y * torch.tensor([[1.0, 2.0], [1.0, 0.0]])).sum().backward()
    torch.testing.assert_close(y.detach(), torch.tensor([[0.0, 0.0], [0.6, 0.8]]))
    torch.testing.assert_close(x.grad, torch.tensor([[0.0, 0.0], [0.128, -0.096]]))


def test_l2norm_gradient_and_dim():
    x = torch.randn(3, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0), requires_grad=True)
    assert torch.autograd.gradcheck(lambda v: l2norm(v, dim=0), [x])
    torch.testing.assert_close(l2norm(x, dim=0), l2norm(x.T).T)


def test_length_mask():
    expected = torch.tensor([[True, False, False], [True, True, True], [False, False, False]])
    assert torch.equal(length_mask(torch.tensor([1, 3, 0]), 3), expected)


def test_linear_layers_start_inside_the_xavier_bound_without_bias():
    layer = xavier_linear(40, 20)
    assert float(layer.weight.abs().max()) <= (6 / 60) ** 0.5
    assert float(layer.weight.abs().max()) > 0.95 * (6 / 60) ** 0.5
    assert not layer.bias.any()


@pytest.mark.parametrize(("p", "expected"), [(0.0, [1]), (0.1, [0, 10 / 9]), (0.4, [0, 5 / 3]), (1.0, [0])])
def test_dropout_keeps_the_mean_and_gives_the_gradient_to_what_it_keeps(p: float, expected: list[float]):
    x = torch.ones(301, 997, requires_grad=True)
    kept = Dropout(p)(x)
    share = float((kept != 0).float().mean())
    assert share == pytest.approx(1 - p, abs=4e-3)
    (gradient,) = torch.autograd.grad(kept.sum(), x)
    assert torch.equal(gradient, kept)
    assert kept.detach().unique().tolist() == pytest.approx(expected, rel=1e-4)


def test_dropout_draws_from_the_default_generator_and_rests_in_evaluation():
    x = torch.randn(3, 5)
    layer = Dropout(0.5)
    torch.manual_seed(3)
    first = layer(x)
    second = layer(x)
    torch.manual_seed(3)
    assert torch.equal(layer(x), first)
    assert not torch.equal(first, second)
    assert layer.eval()(x) is x
