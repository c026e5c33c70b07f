"""Oscillation, text replacement and consistency as ops."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from pcsr_fast import reference
from pcsr_fast.ops import match_texts, prediction_oscillation, similarity, vote_consistency

SEEDS = st.integers(0, 2**31 - 1)


def predictions(seed: int, rows: int, classes: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return (2 * torch.randn(rows, classes, generator=generator, dtype=torch.float64)).softmax(1)


@given(SEEDS, st.integers(1, 8), st.integers(1, 6))
def test_oscillation_value_and_gradient_are_the_references(seed, rows, classes):
    now, bank = predictions(seed, rows, classes).requires_grad_(), predictions(seed + 1, rows, classes).requires_grad_()
    with torch.no_grad():
        now[0, 0] = 0.0
        bank[0, -1] = 0.0
    ours, truth = prediction_oscillation(now, bank), reference.prediction_oscillation(now, bank)
    torch.testing.assert_close(ours, truth)
    upstream = torch.linspace(-1, 2, rows, dtype=torch.float64)
    mine, exact = (torch.autograd.grad(value @ upstream, (now, bank)) for value in (ours, truth))
    torch.testing.assert_close(mine, exact)


def test_oscillation_takes_a_half_precision_bank():
    now, bank = predictions(0, 5, 4).float(), predictions(1, 5, 4).half()
    values = prediction_oscillation(now, bank)
    assert values.dtype == torch.float32
    torch.testing.assert_close(values, reference.prediction_oscillation(now, bank.float()))


@given(SEEDS, st.integers(1, 8), st.integers(1, 8), st.integers(1, 5))
def test_match_value_and_gradient_are_the_references(seed, noisy, clean, classes):
    p, q = predictions(seed, noisy, classes).requires_grad_(), predictions(seed + 1, clean, classes).requires_grad_()
    ours, truth = match_texts(p, q), reference.match_texts(p, q)
    assert torch.equal(ours[0], truth[0])
    torch.testing.assert_close(ours[1], truth[1])
    mine, exact = (torch.autograd.grad(value.square().sum(), (p, q)) for value in (ours[1], truth[1]))
    torch.testing.assert_close(mine, exact)


def test_match_takes_half_precision():
    p = predictions(2, 6, 5)
    index, cosine = match_texts(p.half(), p.half())
    assert index.tolist() == list(range(6))
    assert cosine.dtype == torch.float32


def test_votes_are_the_references():
    counts = torch.randint(0, 9, (20, 7), dtype=torch.int16)
    for score in ("gap", "gap_ratio", "majority", "neg_entropy"):
        assert torch.equal(vote_consistency(counts, score), reference.vote_consistency(counts, score))
    assert vote_consistency(counts[:0]).shape == (0,)


@given(SEEDS, st.integers(1, 6), st.integers(1, 6), st.booleans())
def test_similarity_is_the_cosine_or_the_product(seed, rows, columns, normalize):
    x, y = predictions(seed, rows, 4) - 0.25, predictions(seed + 1, columns, 4) - 0.25
    expected = torch.nn.functional.cosine_similarity(x[:, None], y[None], dim=2) if normalize else x @ y.T
    torch.testing.assert_close(similarity(x, y, normalize), expected, rtol=1e-5, atol=1e-6)


def test_similarity_of_a_zero_row_is_zero_and_keeps_the_type():
    x = torch.zeros(2, 3, dtype=torch.bfloat16, requires_grad=True)
    S = similarity(x, torch.ones(4, 3, dtype=torch.bfloat16))
    S.sum().backward()
    assert S.dtype == torch.bfloat16
    assert not S.any()
    assert torch.isfinite(x.grad).all()


def test_opcheck():
    now, bank = predictions(0, 4, 3).requires_grad_(), predictions(1, 4, 3).requires_grad_()
    torch.library.opcheck(torch.ops.pcsr_fast.prediction_oscillation.default, (now, bank, ""))
    torch.library.opcheck(torch.ops.pcsr_fast.match_texts.default, (now.detach(), bank.detach(), ""))


def test_compiles_without_a_break():
    def both(now: Tensor, bank: Tensor) -> Tensor:
        index, cosine = match_texts(now, bank)
        return cosine.sum() + prediction_oscillation(now, bank[index]).sum() + similarity(now, bank).sum()

    compiled = torch.compile(both, fullgraph=True, backend="aot_eager")
    now, bank = predictions(0, 4, 3).requires_grad_(), predictions(1, 4, 3)
    torch.testing.assert_close(compiled(now, bank), both(now, bank))
    (ours,) = torch.autograd.grad(compiled(now, bank), now)
    torch.testing.assert_close(ours, torch.autograd.grad(both(now, bank), now)[0])


@pytest.mark.parametrize("op", [prediction_oscillation, match_texts])
def test_autocast_does_not_lower_the_precision(op):
    now, bank = predictions(0, 9, 8).float(), predictions(1, 9, 8).float()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = op(now, bank)
    outside = op(now, bank)
    for a, b in zip(torch.atleast_2d(inside), torch.atleast_2d(outside), strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=0)
