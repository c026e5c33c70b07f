"""Triplet ops: value, gradient, edges, determinism, torch.library."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from pcsr_fast import reference
from pcsr_fast.ops import triplet_loss, triplet_loss_from_scores

MODES = ("scalar", "anchor", "row", "col", "matrix")
NEGATIVES = ("hardest", "mean", "sum", "topk:3")
CASES = [(mode, negatives, "reference") for mode in MODES for negatives in NEGATIVES]
CASES += [(mode, "hardest", "torch") for mode in MODES]
SEEDS = st.integers(0, 2**31 - 1)
FORWARD = {torch.float64: 1e-12, torch.float32: 1e-5, torch.float16: 1e-3, torch.bfloat16: 1e-2}
BACKWARD = {torch.float64: 1e-12, torch.float32: 5e-4, torch.float16: 1e-3, torch.bfloat16: 1e-2}


def problem(
    seed: int, size: int, width: int, mode: str, dtype: torch.dtype = torch.float64, grouped: bool = False
) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
    """Unit embeddings, a margin of the mode's shape and group ids drawn from `seed`."""
    generator = torch.Generator().manual_seed(seed)
    x, y = (
        torch.nn.functional.normalize(torch.randn(size, width, generator=generator, dtype=torch.float64), dim=1)
        for _ in range(2)
    )
    shape = {"scalar": (), "matrix": (size, size)}.get(mode, (size,))
    margin = 0.5 * torch.rand(shape, generator=generator, dtype=torch.float64)
    groups = torch.randint(0, max(1, size // 2), (size,), generator=generator) if grouped else None
    return x.to(dtype), y.to(dtype), margin.to(dtype), groups


def gradients(loss: Tensor, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """Gradients under a per-sample upstream that is not uniform."""
    upstream = torch.linspace(-1, 2, loss.shape[0], dtype=loss.dtype)
    return torch.autograd.grad(loss @ upstream, inputs, retain_graph=True)


@given(SEEDS, st.integers(1, 9), st.integers(1, 6), st.sampled_from(CASES), st.booleans())
def test_value_and_gradient_are_the_references(seed, size, width, case, grouped):
    mode, negatives, backend = case
    x, y, margin, groups = problem(seed, size, width, mode, grouped=grouped)
    inputs = tuple(value.requires_grad_() for value in (x, y, margin))
    options = {"margin": margin, "margin_mode": mode, "negatives": negatives, "groups": groups, "reduction": "none"}
    ours, truth = triplet_loss(x, y, **options, backend=backend), reference.triplet_loss(x, y, **options)
    torch.testing.assert_close(ours, truth)
    torch.testing.assert_close(gradients(ours, inputs), gradients(truth, inputs))


@given(SEEDS, st.integers(1, 9), st.sampled_from(CASES), st.booleans())
def test_scores_value_and_gradient_are_the_references(seed, size, case, grouped):
    mode, negatives, backend = case
    x, y, margin, groups = problem(seed, size, 5, mode, grouped=grouped)
    scores = (x @ y.T).requires_grad_()
    inputs = (scores, margin.requires_grad_())
    options = {"margin": margin, "margin_mode": mode, "negatives": negatives, "groups": groups, "reduction": "none"}
    ours = triplet_loss_from_scores(scores, **options, backend=backend)
    truth = reference.triplet_loss_from_scores(scores, **options)
    torch.testing.assert_close(ours, truth)
    torch.testing.assert_close(gradients(ours, inputs), gradients(truth, inputs))


@pytest.mark.parametrize("dtype", FORWARD)
@pytest.mark.parametrize(("mode", "negatives", "backend"), CASES)
def test_precision_against_float64(dtype, mode, negatives, backend):
    """The gradient is compared where both precisions choose the same negatives and hinges, away from ties."""
    x, y, margin, groups = problem(7, 63, 40, mode, dtype, grouped=True)
    options = {"margin_mode": mode, "negatives": negatives, "groups": groups, "reduction": "none"}
    inputs = tuple(value.clone().requires_grad_() for value in (x, y, margin))
    wide = tuple(value.double().requires_grad_() for value in (x, y, margin))
    ours = triplet_loss(*inputs[:2], margin=inputs[2], **options, backend=backend)
    truth = reference.triplet_loss(*wide[:2], margin=wide[2], **options)
    assert ours.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
    torch.testing.assert_close(ours.double(), truth, rtol=FORWARD[dtype], atol=FORWARD[dtype])
    for mine, exact, value in zip(gradients(ours, inputs), gradients(truth, wide), inputs, strict=True):
        assert mine.dtype == value.dtype
        torch.testing.assert_close(mine.double(), exact, rtol=BACKWARD[dtype], atol=BACKWARD[dtype])


@pytest.mark.parametrize("backend", ["reference", "torch"])
def test_ties_go_to_the_lowest_index(backend):
    x = torch.ones(4, 2, dtype=torch.float64, requires_grad=True)
    y = torch.ones(4, 2, dtype=torch.float64, requires_grad=True)
    triplet_loss(x, y, reduction="none", backend=backend)[2].backward()
    assert x.grad[:, 0].tolist() == [1.0, 0.0, -1.0, 0.0]
    assert y.grad[:, 0].tolist() == [1.0, 0.0, -1.0, 0.0]


def test_a_hub_collects_every_gradient():
    """Caption 2 is the hardest negative of images 0 and 1, and image 0 is caption 2's own."""
    x, y = torch.eye(3, dtype=torch.float64), torch.zeros(3, 3, dtype=torch.float64)
    y[2] = 4.0
    triplet_loss(x, y.requires_grad_(), reduction="sum").backward()
    torch.testing.assert_close(y.grad[2], 2 * x[0] + x[1] - x[2])


@pytest.mark.parametrize(("mode", "negatives", "backend"), CASES)
def test_one_pair_and_one_group_have_no_loss(mode, negatives, backend):
    for size, groups in ((1, None), (5, torch.zeros(5, dtype=torch.int32))):
        x, y, margin, _ = problem(0, size, 3, mode)
        inputs = tuple(value.requires_grad_() for value in (x, y, margin))
        options = {"margin": margin, "margin_mode": mode, "negatives": negatives, "groups": groups}
        losses = triplet_loss(x, y, **options, reduction="none", backend=backend)
        assert losses.tolist() == [0.0] * size
        assert not any(gradient.any() for gradient in gradients(losses, inputs))


@pytest.mark.parametrize("backend", ["reference", "torch"])
@pytest.mark.parametrize("size", [2, 63, 100, 127])
def test_strided_inputs_are_the_contiguous_ones(backend, size):
    x, y, margin, _ = problem(1, size, 16, "anchor")
    strided = [torch.stack([value, -value], dim=-1)[..., 0].requires_grad_() for value in (x, y)]
    transposed = [value.T.contiguous().T.requires_grad_() for value in (x, y)]
    plain = [value.clone().requires_grad_() for value in (x, y)]
    expected = triplet_loss(*plain, margin=margin, reduction="none", backend=backend)
    for inputs in (strided, transposed):
        assert not inputs[0].is_contiguous()
        losses = triplet_loss(*inputs, margin=margin, reduction="none", backend=backend)
        torch.testing.assert_close(losses, expected)
        torch.testing.assert_close(gradients(losses, tuple(inputs)), gradients(expected, tuple(plain)))


def test_one_tensor_on_both_sides():
    x = torch.randn(6, 4, dtype=torch.float64, requires_grad=True)
    (ours,) = gradients(triplet_loss(x, x, reduction="none"), (x,))
    (truth,) = gradients(reference.triplet_loss(x, x, reduction="none"), (x,))
    torch.testing.assert_close(ours, truth)


@pytest.mark.parametrize("backend", ["reference", "torch"])
def test_repeats_to_the_bit(backend):
    x, y, margin, groups = problem(3, 100, 32, "anchor", torch.float32, grouped=True)
    results = []
    for _ in range(3):
        inputs = (x.clone().requires_grad_(), y.clone().requires_grad_())
        losses = triplet_loss(*inputs, margin=margin, groups=groups, reduction="none", backend=backend)
        results.append((losses, *gradients(losses, inputs)))
    for other in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(results[0], other, strict=True))


def test_blocks_of_the_lean_search_do_not_matter(monkeypatch):
    for mode in MODES:
        x, y, margin, groups = problem(4, 50, 8, mode, grouped=True)
        options = {"margin": margin, "margin_mode": mode, "groups": groups, "reduction": "none", "backend": "torch"}
        monkeypatch.setattr("pcsr_fast.ops.lean.BLOCK", 2048)
        whole, whole_scores = triplet_loss(x, y, **options), triplet_loss_from_scores(x @ y.T, **options)
        monkeypatch.setattr("pcsr_fast.ops.lean.BLOCK", 7)
        torch.testing.assert_close(triplet_loss(x, y, **options), whole, rtol=1e-12, atol=1e-12)
        assert torch.equal(triplet_loss_from_scores(x @ y.T, **options), whole_scores)


@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_reductions(reduction):
    x, y, margin, _ = problem(5, 8, 4, "anchor")
    each = triplet_loss(x, y, margin=margin, reduction="none")
    expected = each.mean() if reduction == "mean" else each.sum()
    torch.testing.assert_close(triplet_loss(x, y, margin=margin, reduction=reduction), expected)
    torch.testing.assert_close(triplet_loss_from_scores(x @ y.T, margin=margin, reduction=reduction), expected)


def test_autocast_does_not_lower_the_precision():
    x, y, _, _ = problem(6, 40, 64, "scalar", torch.float32)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = triplet_loss(x, y, reduction="none")
    assert inside.dtype == torch.float32
    torch.testing.assert_close(inside, triplet_loss(x, y, reduction="none"), rtol=0, atol=0)


OPCHECKED = [("anchor", negatives, "reference") for negatives in NEGATIVES]
OPCHECKED += [("anchor", "hardest", "torch"), ("row", "hardest", "reference"), ("matrix", "hardest", "reference")]


@pytest.mark.parametrize(("mode", "negatives", "backend"), OPCHECKED)
def test_opcheck(mode, negatives, backend):
    x, y, margin, groups = problem(2, 6, 4, mode, torch.float32, grouped=True)
    inputs = tuple(value.requires_grad_() for value in (x, y, margin))
    torch.library.opcheck(torch.ops.pcsr_fast.triplet.default, (*inputs, mode, negatives, groups, backend))


@pytest.mark.parametrize("negatives", ["hardest", "mean"])
def test_opcheck_from_scores(negatives):
    x, y, margin, _ = problem(2, 6, 4, "matrix", torch.float32)
    inputs = ((x @ y.T).requires_grad_(), margin.requires_grad_())
    op = torch.ops.pcsr_fast.triplet_from_scores.default
    torch.library.opcheck(op, (*inputs, "matrix", negatives, None, ""))


def test_compiles_without_a_break():
    def step(x: Tensor, y: Tensor, margin: Tensor, groups: Tensor) -> Tensor:
        total = triplet_loss(x, y, margin=margin, groups=groups)
        for negatives in NEGATIVES:
            total = total + triplet_loss_from_scores(x @ y.T, margin=0.1, negatives=negatives, reduction="sum")
        return total

    compiled = torch.compile(step, fullgraph=True, backend="aot_eager")
    for size in (6, 9):
        x, y, margin, groups = problem(8, size, 4, "anchor", grouped=True)
        inputs = tuple(value.requires_grad_() for value in (x, y, margin))
        ours, truth = compiled(*inputs, groups), step(*inputs, groups)
        torch.testing.assert_close(ours, truth)
        torch.testing.assert_close(torch.autograd.grad(ours, inputs), torch.autograd.grad(truth, inputs))
