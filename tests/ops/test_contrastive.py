"""Contrastive ops: value, gradient, edges, determinism, torch.library."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from pcsr_fast import reference
from pcsr_fast.ops import contrastive_loss, contrastive_loss_from_scores
from pcsr_fast.reference.contrastive_terms import KINDS

SEEDS = st.integers(0, 2**31 - 1)
FORWARD = {torch.float64: 1e-12, torch.float32: 1e-4, torch.float16: 1e-3, torch.bfloat16: 1e-2}


def problem(
    seed: int, size: int, width: int, dtype: torch.dtype = torch.float64, grouped: bool = False
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Unit embeddings and group ids drawn from `seed`."""
    generator = torch.Generator().manual_seed(seed)
    x, y = (
        torch.nn.functional.normalize(torch.randn(size, width, generator=generator, dtype=torch.float64), dim=1)
        for _ in range(2)
    )
    groups = torch.randint(0, max(1, size // 2), (size,), generator=generator) if grouped else None
    return x.to(dtype), y.to(dtype), groups


def gradients(loss: Tensor, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """Gradients under a per-sample upstream that is not uniform."""
    upstream = torch.linspace(-1, 2, loss.shape[0], dtype=loss.dtype)
    return torch.autograd.grad(loss @ upstream, inputs, retain_graph=True)


@given(SEEDS, st.integers(1, 9), st.integers(1, 6), st.sampled_from(KINDS), st.booleans())
def test_value_and_gradient_are_the_references(seed, size, width, kind, grouped):
    x, y, groups = problem(seed, size, width, grouped=grouped)
    inputs = (x.requires_grad_(), y.requires_grad_())
    options = {"kind": kind, "groups": groups, "reduction": "none"}
    ours, truth = contrastive_loss(x, y, **options), reference.contrastive_loss(x, y, **options)
    torch.testing.assert_close(ours, truth)
    torch.testing.assert_close(gradients(ours, inputs), gradients(truth, inputs), rtol=1e-6, atol=1e-6)
    scores = (x @ y.T).detach().requires_grad_()
    ours = contrastive_loss_from_scores(scores, **options)
    truth = reference.contrastive_loss_from_scores(scores, **options)
    torch.testing.assert_close(ours, truth)
    torch.testing.assert_close(gradients(ours, (scores,)), gradients(truth, (scores,)), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("dtype", FORWARD)
@pytest.mark.parametrize("kind", KINDS)
def test_precision_against_float64(dtype, kind):
    x, y, groups = problem(7, 63, 40, dtype, grouped=True)
    inputs = (x.requires_grad_(), y.requires_grad_())
    wide = tuple(value.detach().double().requires_grad_() for value in inputs)
    options = {"kind": kind, "groups": groups, "reduction": "none"}
    ours, truth = contrastive_loss(*inputs, **options), reference.contrastive_loss(*wide, **options)
    assert ours.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
    torch.testing.assert_close(ours.double(), truth, rtol=FORWARD[dtype], atol=FORWARD[dtype])
    for mine, exact in zip(gradients(ours, inputs), gradients(truth, wide), strict=True):
        assert mine.dtype == dtype
        scale = float(exact.abs().max())
        torch.testing.assert_close(mine.double(), exact, rtol=FORWARD[dtype], atol=FORWARD[dtype] * max(1.0, scale))


@pytest.mark.parametrize("kind", KINDS)
def test_one_pair_and_one_group_have_no_loss(kind):
    for size, groups in ((1, None), (5, torch.zeros(5, dtype=torch.int32))):
        x, y, _ = problem(0, size, 3)
        inputs = (x.requires_grad_(), y.requires_grad_())
        losses = contrastive_loss(x, y, kind=kind, groups=groups, reduction="none")
        torch.testing.assert_close(losses, torch.zeros_like(losses))
        for gradient in gradients(losses, inputs):
            torch.testing.assert_close(gradient, torch.zeros_like(gradient))


@pytest.mark.parametrize("kind", KINDS)
def test_strided_inputs_are_the_contiguous_ones_and_repeat_to_the_bit(kind):
    x, y, groups = problem(1, 63, 16, grouped=True)
    plain = (x.clone().requires_grad_(), y.clone().requires_grad_())
    strided = tuple(torch.stack([value, -value], dim=-1)[..., 0].requires_grad_() for value in (x, y))
    options = {"kind": kind, "groups": groups, "reduction": "none"}
    expected = contrastive_loss(*plain, **options)
    torch.testing.assert_close(contrastive_loss(*strided, **options), expected)
    torch.testing.assert_close(
        gradients(contrastive_loss(*strided, **options), strided), gradients(expected, plain), rtol=1e-6, atol=1e-6
    )
    again = contrastive_loss(*plain, **options)
    assert torch.equal(again, expected)
    assert all(torch.equal(a, b) for a, b in zip(gradients(again, plain), gradients(expected, plain), strict=True))


@pytest.mark.parametrize("kind", KINDS)
def test_certain_mistakes_have_finite_gradients_in_float32(kind):
    scores = torch.zeros(3, 3)
    scores[0, 1] = 40.0
    scores.requires_grad_()
    losses = contrastive_loss_from_scores(scores, kind=kind, temperature=0.05, reduction="none")
    wide = scores.detach().double().requires_grad_()
    truth = reference.contrastive_loss_from_scores(wide, kind=kind, temperature=0.05, reduction="none")
    torch.testing.assert_close(losses.double(), truth, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(
        gradients(losses, (scores,))[0].double(), gradients(truth, (wide,))[0], rtol=1e-5, atol=1e-5
    )


@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_reductions(reduction):
    x, y, _ = problem(5, 8, 4)
    each = contrastive_loss(x, y, kind="infonce", reduction="none")
    expected = each.mean() if reduction == "mean" else each.sum()
    torch.testing.assert_close(contrastive_loss(x, y, kind="infonce", reduction=reduction), expected)


def test_infonce_is_two_cross_entropies():
    x, y, _ = problem(6, 12, 8)
    z, target = x @ y.T / 0.07, torch.arange(12)
    expected = (torch.nn.functional.cross_entropy(z, target) + torch.nn.functional.cross_entropy(z.T, target)) / 2
    torch.testing.assert_close(contrastive_loss(x, y, kind="infonce", temperature=0.07), expected)


def test_a_learned_temperature_scales_the_scores():
    x, y, _ = problem(6, 12, 8)
    scale = torch.tensor(20.0, dtype=torch.float64, requires_grad=True)
    loss = contrastive_loss(scale * x, y, kind="infonce", temperature=1.0)
    torch.testing.assert_close(loss, contrastive_loss(x, y, kind="infonce", temperature=0.05))
    (gradient,) = torch.autograd.grad(loss, scale)
    truth = reference.contrastive_loss(scale * x, y, kind="infonce", temperature=1.0)
    torch.testing.assert_close(gradient, torch.autograd.grad(truth, scale)[0])


@pytest.mark.parametrize("kind", ["infonce", "ccl_gce"])
def test_opcheck(kind):
    x, y, groups = problem(2, 6, 4, torch.float32, grouped=True)
    options = (kind, 0.1, 0.5, 0.1, groups, "")
    torch.library.opcheck(torch.ops.pcsr_fast.contrastive.default, (x.requires_grad_(), y.requires_grad_(), *options))
    scores = (x @ y.T).detach().requires_grad_()
    torch.library.opcheck(torch.ops.pcsr_fast.contrastive_from_scores.default, (scores, *options))


def test_compiles_without_a_break():
    def step(x: Tensor, y: Tensor, groups: Tensor) -> Tensor:
        total = x.new_zeros(())
        for kind in KINDS:
            total = total + contrastive_loss(x, y, kind=kind, groups=groups)
            total = total + contrastive_loss_from_scores(x @ y.T, kind=kind)
        return total

    compiled = torch.compile(step, fullgraph=True, backend="aot_eager")
    x, y, groups = problem(8, 7, 4, grouped=True)
    inputs = (x.requires_grad_(), y.requires_grad_())
    ours, truth = compiled(*inputs, groups), step(*inputs, groups)
    torch.testing.assert_close(ours, truth)
    torch.testing.assert_close(torch.autograd.grad(ours, inputs), torch.autograd.grad(truth, inputs))
